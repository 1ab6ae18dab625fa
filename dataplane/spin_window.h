// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmlane::dataplane {

// How long a worker goes on looking for frames after the last one before it blocks. Learned from the gaps
// between frames: looking is worth its time when the next frame is likely to come before the wake-up that
// looking saves has paid for it. A budget caps the share of the CPU that may go into looking in vain.
//
// Times are nanoseconds. Pure: the caller has the clock.
class SpinWindow {
 public:
  // CPU time that a saved wake-up is worth. A wake-up of a sleeping thread costs a frame 5 to 130 us.
  static constexpr std::uint64_t kWorthOfWake = 200'000;
  // The window is one of 2^0 .. 2^kBuckets-1 us, or 0.
  static constexpr std::size_t kBuckets = 9;

  // `budget` in percent of one CPU, 1 to 100; 100 is no cap.
  explicit SpinWindow(unsigned budget) : budget_(budget) {}

  // A frame came `gap` after the one before it.
  void arrived(std::uint64_t gap);
  // `spun` of the last `elapsed` went into looking in vain.
  void spent(std::uint64_t spun, std::uint64_t elapsed);
  std::uint64_t window() const { return credit_ > 0 || budget_ == kNoCap ? window_ : 0; }

 private:
  static constexpr unsigned kNoCap = 100;
  void learn();

  unsigned budget_;
  std::int64_t credit_ = kMaxCredit;
  std::uint64_t window_ = 0;
  // Gaps up to 2^i us, the last those beyond any window; halved now and then, so that the past fades.
  struct Gaps {
    std::uint64_t count = 0;
    std::uint64_t sum = 0;
  };
  std::array<Gaps, kBuckets + 1> gaps_{};
  unsigned since_learned_ = 0;
  static constexpr std::int64_t kMaxCredit = 10'000'000;
};

}  // namespace vmlane::dataplane
