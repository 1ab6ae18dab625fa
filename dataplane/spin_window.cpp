// SPDX-License-Identifier: Apache-2.0
#include "dataplane/spin_window.h"

#include <algorithm>

namespace vmlane::dataplane {
namespace {

constexpr std::uint64_t kMicrosecond = 1000;
constexpr unsigned kLearnEvery = 32;
constexpr std::uint64_t kMemory = 1024;  // gaps after which all weigh half

constexpr std::uint64_t bound(std::size_t bucket) {
  return kMicrosecond << bucket;
}

}  // namespace

void SpinWindow::arrived(std::uint64_t gap) {
  std::size_t bucket = 0;
  while (bucket < kBuckets && gap > bound(bucket)) bucket++;
  gaps_[bucket].count++;
  gaps_[bucket].sum += std::min(gap, bound(kBuckets));
  if (++since_learned_ < kLearnEvery) return;
  since_learned_ = 0;
  learn();
}

// Of each window: what the wake-ups that it saves are worth, less the time spent in it. The best one wins,
// none when all cost more than they bring.
void SpinWindow::learn() {
  std::uint64_t total = 0;
  for (const Gaps& gaps : gaps_) total += gaps.count;
  std::uint64_t caught = 0;
  std::uint64_t waited = 0;  // in the gaps that were caught
  std::int64_t best = 0;
  window_ = 0;
  for (std::size_t i = 0; i < kBuckets; i++) {
    caught += gaps_[i].count;
    waited += gaps_[i].sum;
    const std::uint64_t cost = waited + (total - caught) * bound(i);
    const auto gain = static_cast<std::int64_t>(caught * kWorthOfWake) - static_cast<std::int64_t>(cost);
    if (gain <= best) continue;
    best = gain;
    window_ = bound(i);
  }
  if (total < kMemory) return;
  for (Gaps& gaps : gaps_) {
    gaps.count /= 2;
    gaps.sum /= 2;
  }
}

void SpinWindow::spent(std::uint64_t spun, std::uint64_t elapsed) {
  const auto earned = static_cast<std::int64_t>(elapsed * budget_ / 100);
  credit_ = std::clamp(credit_ + earned - static_cast<std::int64_t>(spun), -kMaxCredit, kMaxCredit);
}

}  // namespace vmlane::dataplane
