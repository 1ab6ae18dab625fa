// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <time.h>

#include <cstdint>

namespace vmlane::perf {

inline std::uint64_t read_clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

// Of the monotonic clock that no one steers: differences are what an oscillator counted.
inline std::uint64_t now_ns() {
  return read_clock_ns(CLOCK_MONOTONIC_RAW);
}

}  // namespace vmlane::perf
