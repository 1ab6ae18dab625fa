// SPDX-License-Identifier: Apache-2.0
#include "perf/statistics.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
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
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

std::vector<double> epoch_medians(const Epochs& epochs) {
  std::vector<double> medians;
  for (const auto& epoch : without_empty(epochs)) medians.push_back(median(epoch));
  return medians;
}

struct Sample {
  double mean = 0;
  double variance_of_mean = 0;
};

// Of two values or more.
Sample sample_of(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  Sample sample{.mean = std::accumulate(values.begin(), values.end(), 0.0) / count};
  for (const double value : values) sample.variance_of_mean += (value - sample.mean) * (value - sample.mean);
  sample.variance_of_mean /= (count - 1) * count;
  return sample;
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

double overall_median(const Epochs& epochs) {
  return median(flat(epochs));
}

Estimate bootstrap(const Epochs& epochs) {
  const Epochs kept = without_empty(epochs);
  if (kept.empty()) return {};
  std::mt19937_64 random(kSeed);
  std::vector<double> drawn(kResamples);
  for (double& value : drawn) value = resampled_median(kept, random);
  std::ranges::sort(drawn);
  constexpr double kTail = 0.025;
  return {median(flat(kept)), quantile(drawn, kTail), quantile(drawn, 1 - kTail)};
}

double student_quantile(double probability, double freedom) {
  // With t = sqrt(freedom) * tan(angle) the density becomes cos(angle)^(freedom - 1), which Simpson's rule
  // integrates well; the factor before it cancels out.
  const auto integral = [&](double angle) {
    constexpr int kSteps = 200;
    double sum = 0;
    for (int i = 0; i <= kSteps; i++) {
      const double value = std::pow(std::cos(angle * i / kSteps), freedom - 1);
      sum += value * (i == 0 || i == kSteps ? 1 : i % 2 == 1 ? 4 : 2);
    }
    return sum * angle / (3 * kSteps);
  };
  const double wanted = probability * std::beta(freedom / 2, 0.5) / 2;
  double low = 0;
  double high = std::numbers::pi / 2;
  for (int i = 0; i < 40; i++) {
    const double middle = (low + high) / 2;
    (integral(middle) < wanted ? low : high) = middle;
  }
  return std::sqrt(freedom) * std::tan(low);
}

std::optional<Estimate> factor_between(const Epochs& a, const Epochs& b, double confidence) {
  std::vector<double> before = epoch_medians(a);
  std::vector<double> after = epoch_medians(b);
  if (before.size() < 2 || after.size() < 2) return std::nullopt;
  const auto positive = [](double value) { return value > 0; };
  const bool logarithms = std::ranges::all_of(before, positive) && std::ranges::all_of(after, positive);
  if (logarithms) {
    for (auto* values : {&before, &after})
      for (double& value : *values) value = std::log(value);
  }
  const Sample from = sample_of(before);
  const Sample to = sample_of(after);
  if (!logarithms && from.mean == 0) return std::nullopt;
  const double variance = from.variance_of_mean + to.variance_of_mean;
  double reach = 0;
  if (variance > 0) {
    const double freedom =
        variance * variance /
        (from.variance_of_mean * from.variance_of_mean / static_cast<double>(before.size() - 1) +
         to.variance_of_mean * to.variance_of_mean / static_cast<double>(after.size() - 1));
    reach = student_quantile(confidence, freedom) * std::sqrt(variance);
  }
  const double change = to.mean - from.mean;
  if (logarithms) return Estimate{std::exp(change), std::exp(change - reach), std::exp(change + reach)};
  return Estimate{1 + change / from.mean, 1 + (change - reach) / from.mean, 1 + (change + reach) / from.mean};
}

}  // namespace vmlane::perf
