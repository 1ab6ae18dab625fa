// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmlane::dataplane {

// How many frames a port may send to many: each costs the switch a copy for every receiver, and every
// receiver a look. A token bucket: kRate a second, kBurst at once. That is far above what address resolution
// and announcements of any guest take.
class FloodLimit {
 public:
  static constexpr std::uint64_t kRate = 10'000;
  static constexpr std::uint64_t kBurst = 2'000;

  bool allows(std::uint64_t now_ns) {
    constexpr std::uint64_t kPerFrame = 1'000'000'000 / kRate;
    if (last_ == 0) last_ = now_ns;
    const std::uint64_t earned = (now_ns - last_) / kPerFrame;
    tokens_ = std::min(tokens_ + earned, kBurst);
    last_ += earned * kPerFrame;
    if (tokens_ == 0) return false;
    tokens_--;
    return true;
  }

 private:
  std::uint64_t tokens_ = kBurst;
  std::uint64_t last_ = 0;
};

}  // namespace vmlane::dataplane
