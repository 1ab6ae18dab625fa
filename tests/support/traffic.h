// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "core/address.h"

// Traffic between two network namespaces (paths; empty: the caller's).
namespace vmlane::test {

struct PingOptions {
  int count = 3;
  int payload = 56;            // bytes after the ICMP header
  bool dont_fragment = false;  // set DF and never fragment at the sender
};

struct PingResult {
  int sent = 0;
  int received = 0;
  std::string output;
  bool all() const { return sent > 0 && sent == received; }
};

// Sends echo requests 50 ms apart and waits a second for the last.
PingResult ping(const std::string& from_netns, const std::string& address, const PingOptions& options = {});
// The same until all of one series come back, for half a minute at most; the last series. For an address that
// was just set up: on a loaded machine the kernel takes its time to notice a carrier or to ask for a MAC
// again.
PingResult reach(const std::string& from_netns, const std::string& address, const PingOptions& options = {});

// Moves `bytes` of a pattern over one TCP connection and compares every byte at the receiver. Empty when all
// came intact, else the problem.
std::string tcp_transfer(const std::string& from_netns, const std::string& to_netns,
                         const std::string& address, std::uint64_t bytes);

// Sends one datagram and waits for its echo. Empty when it came back alike, else the problem.
std::string udp_exchange(const std::string& from_netns, const std::string& to_netns,
                         const std::string& address, const std::string& text);

}  // namespace vmlane::test
