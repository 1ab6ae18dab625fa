// SPDX-License-Identifier: Apache-2.0
#include "perf/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace vmlane::perf {
namespace {

constexpr int kResamples = 2000;
constexpr std::uint64_t kSeed = 20250101;

std::vector<double> flat(const Epochs& epochs) {
  std::vector<double> all;
  for (const auto& epoch : epochs) all.insert(all.end(), epoch.begin(), epoch.end());
  return all;
}

Epochs without_empty(const Epochs& epochs) {
  Epochs kept;
  std::ranges::copy_if(epochs, std::back_inserter(kept), [](const auto& epoch) { return !epoch.empty(); });
  return kept;
}

// The median of as many observations, drawn with replacement: first epochs, then observations in each.
double resampled_median(const Epochs& epochs, std::mt19937_64& random) {
  std::vector<double> drawn;
  for (std::size_t i = 0; i < epochs.size(); i++) {
    const auto& epoch = epochs[random() % epochs.size()];
    for (std::size_t k = 0; k < epoch.size(); k++) drawn.push_back(epoch[random() % epoch.size()]);
  }
  return median(std::move(drawn));
}

double quantile(const std::vector<double>& sorted, double fraction) {
  const double at = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  if (std::isinf(sorted[above])) return sorted[above];  // nothing lies between a number and infinity
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

template <class Draw>
Estimate interval(double middle, double confidence, Draw draw) {
  std::mt19937_64 random(kSeed);
  std::vector<double> drawn(kResamples);
  for (double& value : drawn) value = draw(random);
  std::ranges::sort(drawn);
  const double tail = (1 - confidence) / 2;
  return {middle, quantile(drawn, tail), quantile(drawn, 1 - tail)};
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const std::size_t half = values.size() / 2;
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(half));
  if (values.size() % 2 == 1) return values[half];
  const double lower = *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(half));
  return (lower + values[half]) / 2;
}

Estimate bootstrap(const Epochs& epochs) {
  const Epochs kept = without_empty(epochs);
  if (kept.empty()) return {};
  constexpr double kConfidence = 0.95;
  return interval(median(flat(kept)), kConfidence,
                  [&](std::mt19937_64& random) { return resampled_median(kept, random); });
}

Estimate bootstrap_ratio(const Epochs& a, const Epochs& b, double confidence) {
  const Epochs kept_a = without_empty(a);
  const Epochs kept_b = without_empty(b);
  const double middle_a = median(flat(kept_a));
  if (kept_a.empty() || kept_b.empty() || middle_a == 0) return {};
  return interval(median(flat(kept_b)) / middle_a, confidence, [&](std::mt19937_64& random) {
    const double below = resampled_median(kept_a, random);
    const double above = resampled_median(kept_b, random);
    // Nothing over nothing is no change; something over nothing is beyond every bound.
    if (below == 0) return above == 0 ? 1 : std::numeric_limits<double>::infinity();
    return above / below;
  });
}

}  // namespace vmlane::perf
