// SPDX-License-Identifier: Apache-2.0
#include "dataplane/keeper_link.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace vmlane::dataplane {

void KeeperLink::say(std::string_view word) const {
  [[maybe_unused]] const auto sent = ::send(link_.get(), word.data(), word.size(), MSG_NOSIGNAL);
}

std::string KeeperLink::hear() const {
  std::array<char, switch_words::kLongest> word;
  ssize_t got = 0;
  do got = ::recv(link_.get(), word.data(), word.size(), 0);
  while (got < 0 && errno == EINTR);
  return got > 0 ? std::string(word.data(), static_cast<std::size_t>(got)) : std::string();
}

bool KeeperLink::wait_for_turn(int stop) const {
  say(switch_words::kWarm);
  std::array<pollfd, 2> waiting = {
      {{.fd = stop, .events = POLLIN, .revents = 0}, {.fd = link_.get(), .events = POLLIN, .revents = 0}}};
  while (::poll(waiting.data(), waiting.size(), -1) < 0 && errno == EINTR) {
  }
  return waiting[0].revents == 0 && hear() == switch_words::kGo;
}

}  // namespace vmlane::dataplane
