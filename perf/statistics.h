// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace vmlane::perf {

// A median with its 95 % confidence interval.
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

// Median of all observations, with an interval by bootstrap over epochs and then over observations in them
// (percentile method, 2000 resamples, from a fixed seed, so that a report can be rendered again).
Estimate bootstrap(const Epochs& epochs);

// median(b) / median(a) with its interval at `confidence` (0.95, 0.99 ...), both sides resampled. All 0 when
// there is no such factor: a side is empty or median(a) is 0. The upper end is infinite when a resampled a is
// 0 that often.
Estimate bootstrap_ratio(const Epochs& a, const Epochs& b, double confidence);

}  // namespace vmlane::perf
