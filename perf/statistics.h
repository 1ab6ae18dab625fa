// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

namespace vmlane::perf {

// A figure with its confidence interval, 95 % where nothing else is said.
struct Estimate {
  double median = 0;
  double low = 0;
  double high = 0;
};

// Observations in groups: an epoch is everything measured between one set-up and tear-down of the lanes, so
// that what a set-up happens to bring (placement of memory, of tasks) is one draw and not many.
using Epochs = std::vector<std::vector<double>>;

// 0 of nothing.
double median(std::vector<double> values);
// Of all observations together.
double overall_median(const Epochs& epochs);

// Median of all observations, with an interval by bootstrap over epochs and then over observations in them
// (percentile method, 2000 resamples, from a fixed seed, so that a report can be rendered again).
Estimate bootstrap(const Epochs& epochs);

// By which factor b differs from a: means of the epochs' medians, with Welch's interval (Student's t) at
// `confidence`. Epochs are the independent draws, so few of them give a wide interval, where a bootstrap over
// three would give one that is far too narrow. Logarithms are compared, unless there is a 0 among the
// medians. None with fewer than two epochs on a side, or when a is 0 on the mean.
std::optional<Estimate> factor_between(const Epochs& a, const Epochs& b, double confidence);

// What a draw from Student's distribution with `freedom` (more than 0) degrees lies within, in both
// directions, with the given probability (0 to below 1).
double student_quantile(double probability, double freedom);

}  // namespace vmlane::perf
