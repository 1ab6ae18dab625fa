// SPDX-License-Identifier: Apache-2.0
#include "lab/interrupt.h"

#include <signal.h>

#include <array>

namespace vmlane::lab {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

volatile sig_atomic_t interrupted = 0;

void set_action(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;  // without SA_RESTART: a poll is to return
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  interrupted = 0;
  set_action([](int) { interrupted = 1; });
}

Interrupt::~Interrupt() {
  set_action(SIG_DFL);
}

bool Interrupt::requested() {
  return interrupted != 0;
}

}  // namespace vmlane::lab
