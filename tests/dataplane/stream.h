// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <thread>
#include <vector>

#include "tests/dataplane/switch_test.h"

namespace vmlane::test {

// Numbered frames from one guest to another at an even rate, sent and received by a thread each. A frame that
// the sender's ring has no room for waits, as in a guest's own queue.
class Stream {
 public:
  struct Outcome {
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;
    std::uint64_t repeated = 0;
    double longest_gap_ms = 0;  // between two frames that came
  };

  // `rate` in frames a second.
  Stream(Nic& from, Nic& to, unsigned rate);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Waits until a few hundred more frames have come.
  bool runs() const;
  // Ends it, and waits for what is on its way.
  Outcome finish();

 private:
  void send(Nic& from, const Nic& to, std::chrono::nanoseconds interval);
  void receive(Nic& to);

  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> sent_ = 0;
  std::atomic<std::uint64_t> received_ = 0;
  std::vector<std::uint32_t> seen_;  // how often, by number
  double longest_gap_ms_ = 0;
  std::thread sender_;
  std::thread receiver_;
};

std::ostream& operator<<(std::ostream& out, const Stream::Outcome& outcome);

}  // namespace vmlane::test
