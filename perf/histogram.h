// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace vmlane::perf {

// Counts of durations in nanoseconds, in buckets no wider than 1/128 of their value (HdrHistogram's layout:
// linear within each power of two), from 1 ns to about 68 s; longer ones count as the longest. Histograms of
// one kind can be merged, percentiles cannot be averaged: whoever needs a percentile of several runs merges
// first. Recording takes a few nanoseconds and no memory.
class Histogram {
 public:
  Histogram();

  void record(std::uint64_t nanoseconds);
  void merge(const Histogram& other);

  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  std::uint64_t sum() const { return sum_; }
  // The lowest value that `fraction` (0 to 1) of all samples do not exceed, as the upper end of its bucket
  // and never above max(); 0 of an empty histogram.
  std::uint64_t percentile(double fraction) const;

  // {"counts": [[value, count], ...], "max": ns, "sum": ns} with the non-empty buckets by their highest
  // value.
  Json to_json() const;
  // Code::kDecode naming the key, after `what` (its place in the file, with a dot at the end). What recording
  // cannot have made, as a maximum outside the last bucket, is refused: percentiles would be wrong in
  // silence.
  static Result<Histogram> from_json(const Json& json, const std::string& what = "histogram.");

  // Upper ends and counts of the non-empty buckets, in order.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> buckets() const;

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
  std::uint64_t sum_ = 0;
};

}  // namespace vmlane::perf
