// SPDX-License-Identifier: Apache-2.0
#include "netlink/paced_write.h"

#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace vmlane::netlink {
namespace {

// A write that finds the lock free takes some microseconds. One that does not gets this long, then leaves the
// processor for longer.
constexpr timespec kTry{.tv_sec = 0, .tv_nsec = 200'000};
constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 1'000'000};

// Nothing else of ours or of our libraries uses a real-time signal.
int pacing_signal() {
  return SIGRTMIN;
}

timer_t pacing_timer;  // for the handler, which gets no argument

void arm() {
  const itimerspec once{.it_interval = {}, .it_value = kTry};
  ::timer_settime(pacing_timer, 0, &once, nullptr);
}

// Both calls are safe in a signal handler. The timer is not periodic: a signal already pending at the end of
// the pause would begin the next one before the write.
void pause_and_arm(int) {
  const int error = errno;
  ::nanosleep(&kPause, nullptr);
  arm();
  errno = error;
}

}  // namespace

ssize_t paced_write(int fd, std::string_view text) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = pacing_signal();
  struct sigaction action {};
  action.sa_handler = pause_and_arm;
  action.sa_flags = SA_RESTART;
  if (::timer_create(CLOCK_MONOTONIC, &event, &pacing_timer) != 0) return -1;
  ::sigaction(pacing_signal(), &action, nullptr);
  arm();
  const ssize_t wrote = ::write(fd, text.data(), text.size());
  const int error = errno;
  // The handler stays: a signal that is still on its way must not find the default action, which ends the
  // process.
  ::timer_delete(pacing_timer);
  errno = error;
  return wrote;
}

}  // namespace vmlane::netlink
