// SPDX-License-Identifier: Apache-2.0
#include "perf/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace vmlane::perf {
namespace {

// Values below 2^kLinearBits have a bucket each; every further power of two has 2^(kLinearBits-1) buckets.
constexpr unsigned kLinearBits = 8;
constexpr unsigned kValueBits = 36;
constexpr std::uint64_t kHalf = std::uint64_t{1} << (kLinearBits - 1);
constexpr std::uint64_t kMaxValue = (std::uint64_t{1} << kValueBits) - 1;

std::size_t bucket_of(std::uint64_t value) {
  const unsigned bits = static_cast<unsigned>(std::bit_width(value));
  const unsigned shift = bits > kLinearBits ? bits - kLinearBits : 0;
  return static_cast<std::size_t>(shift * kHalf + (value >> shift));
}

// The highest value of a bucket.
std::uint64_t top_of(std::size_t bucket) {
  if (bucket < 2 * kHalf) return bucket;
  const std::uint64_t shift = bucket / kHalf - 1;
  const std::uint64_t head = bucket - shift * kHalf;
  return ((head + 1) << shift) - 1;
}

}  // namespace

Histogram::Histogram() : counts_(bucket_of(kMaxValue) + 1) {}

void Histogram::record(std::uint64_t nanoseconds) {
  const std::uint64_t value = std::min(nanoseconds, kMaxValue);
  counts_[bucket_of(value)]++;
  count_++;
  sum_ += value;
  max_ = std::max(max_, value);
}

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < counts_.size(); i++) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

std::uint64_t Histogram::percentile(double fraction) const {
  const auto rank = std::max<std::uint64_t>(
      1, static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); i++) {
    seen += counts_[i];
    if (count_ > 0 && seen >= rank) return std::min(top_of(i), max_);
  }
  return max_;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> Histogram::buckets() const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
  for (std::size_t i = 0; i < counts_.size(); i++) {
    if (counts_[i] > 0) found.emplace_back(top_of(i), counts_[i]);
  }
  return found;
}

Json Histogram::to_json() const {
  Json counts = Json::array();
  for (const auto& [value, count] : buckets()) counts.push_back({value, count});
  return {{"counts", std::move(counts)}, {"max", max_}, {"sum", sum_}};
}

Result<Histogram> Histogram::from_json(const Json& json, const std::string& what) {
  constexpr auto kLarge = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  Histogram histogram;
  ObjectReader reader(json, what, Code::kDecode);
  VMLANE_ASSIGN(const Json* counts, reader.array("counts"));
  const auto wrong = [&] { return reader.wrong("counts", "a list of pairs of a value in ns and a count"); };
  if (counts == nullptr) return wrong();
  std::size_t last = 0;
  for (const Json& pair : *counts) {
    const bool good =
        pair.is_array() && pair.size() == 2 && pair[0].is_number_unsigned() && pair[1].is_number_unsigned();
    if (!good || pair[0].get<std::uint64_t>() > kMaxValue) return wrong();
    const auto count = pair[1].get<std::uint64_t>();
    if (count == 0 || count > kLarge - histogram.count_) return wrong();
    const std::size_t bucket = bucket_of(pair[0].get<std::uint64_t>());
    histogram.counts_[bucket] += count;
    histogram.count_ += count;
    last = std::max(last, bucket);
  }
  VMLANE_ASSIGN(const auto max, reader.integer("max", 0, static_cast<std::int64_t>(kMaxValue)));
  VMLANE_ASSIGN(const auto sum, reader.integer("sum", 0, static_cast<std::int64_t>(kLarge)));
  if (!max || bucket_of(static_cast<std::uint64_t>(*max)) != last)
    return reader.wrong("max", "a value of the last bucket of \"counts\"");
  if (!sum) return reader.wrong("sum", "the sum of all values in ns");
  histogram.max_ = static_cast<std::uint64_t>(*max);
  histogram.sum_ = static_cast<std::uint64_t>(*sum);
  return histogram;
}

}  // namespace vmlane::perf
