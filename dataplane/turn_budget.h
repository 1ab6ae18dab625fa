// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmlane::dataplane {

// How many frames a port may bring in one round: as many as the worker gets done in kTurn, by what the last
// ones took. Ports are served in turn, so this is how long one guest's flood keeps the next waiting: 32
// frames of 64 KiB that must be cut for their receiver would take a millisecond.
//
// Times are nanoseconds. Pure: the caller has the clock.
class TurnBudget {
 public:
  static constexpr std::uint64_t kTurn = 30'000;

  explicit TurnBudget(unsigned most) : most_(most) {}

  // Frames that the port may bring now: 1 to `most`.
  unsigned frames() const {
    return static_cast<unsigned>(
        std::clamp<std::uint64_t>(kTurn / std::max<std::uint64_t>(cost_, 1), 1, most_));
  }
  // `count` frames, at least one, took `time`. One that took long for other reasons, as when the worker lost
  // its CPU, weighs no more than twice the ones before it.
  void spent(unsigned count, std::uint64_t time) {
    const std::uint64_t sample = std::min(time / count, 2 * cost_ + kLeast);
    cost_ = sample > cost_ ? sample : cost_ - (cost_ - sample) / kForget;
  }

 private:
  static constexpr std::uint64_t kLeast = 100;
  static constexpr std::uint64_t kForget = 8;
  unsigned most_;
  std::uint64_t cost_ = 0;  // of a frame
};

}  // namespace vmlane::dataplane
