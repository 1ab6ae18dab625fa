// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "perf/histogram.h"
#include "perf/statistics.h"

namespace vmlane::perf {
namespace {

TEST(HistogramTest, PercentilesAreThoseOfTheSortedSamplesWithinABucket) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> times(11, 1.5);
  Histogram histogram;
  std::vector<std::uint64_t> samples;
  for (int i = 0; i < 20'000; i++) {
    samples.push_back(static_cast<std::uint64_t>(times(random)) + 1);
    histogram.record(samples.back());
  }
  std::ranges::sort(samples);
  EXPECT_EQ(histogram.count(), samples.size());
  EXPECT_EQ(histogram.max(), samples.back());
  for (const double fraction : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(samples.size())));
    const auto exact = static_cast<double>(samples[std::max<std::size_t>(rank, 1) - 1]);
    const auto found = static_cast<double>(histogram.percentile(fraction));
    EXPECT_GE(found, exact) << fraction;
    EXPECT_LE(found, exact * (1 + 1.0 / 128) + 1) << fraction;
  }
}

TEST(HistogramTest, ShortAndLongEndsOfItsRange) {
  Histogram histogram;
  EXPECT_EQ(histogram.percentile(0.5), 0U) << "of nothing";
  histogram.record(0);
  histogram.record(~std::uint64_t{0});
  EXPECT_EQ(histogram.count(), 2U);
  EXPECT_EQ(histogram.percentile(0.5), 0U);
  EXPECT_EQ(histogram.percentile(1), histogram.max());
  EXPECT_GT(histogram.max(), std::uint64_t{60'000'000'000}) << "a minute fits";
}

TEST(HistogramTest, EveryValueFallsIntoABucketNoWiderThanPromised) {
  for (std::uint64_t value = 1; value < (std::uint64_t{1} << 36); value += 1 + value / 97) {
    Histogram histogram;
    histogram.record(value);
    const auto buckets = histogram.buckets();
    ASSERT_EQ(buckets.size(), 1U);
    ASSERT_GE(buckets[0].first, value);
    ASSERT_LE(buckets[0].first - value, value / 128 + 1) << value;
  }
}

TEST(HistogramTest, MergingIsRecordingBoth) {
  Histogram a;
  Histogram b;
  Histogram both;
  for (std::uint64_t i = 1; i < 5000; i++) {
    (i % 3 == 0 ? a : b).record(i * 37);
    both.record(i * 37);
  }
  a.merge(b);
  EXPECT_EQ(a.buckets(), both.buckets());
  EXPECT_EQ(a.sum(), both.sum());
  EXPECT_EQ(a.max(), both.max());
}

TEST(HistogramTest, JsonRoundTripAndWrongJson) {
  Histogram histogram;
  for (std::uint64_t i = 1; i < 3000; i++) histogram.record(i * i);
  const auto back = Histogram::from_json(Json::parse(histogram.to_json().dump()));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->buckets(), histogram.buckets());
  EXPECT_EQ(back->max(), histogram.max());
  EXPECT_EQ(back->sum(), histogram.sum());
  for (const char* text :
       {R"({"max":1,"sum":1})", R"({"counts":7,"max":1,"sum":1})", R"({"counts":[[1]],"max":1,"sum":1})",
        R"({"counts":[[1,-1]],"max":1,"sum":1})", R"({"counts":[[99999999999999,1]],"max":1,"sum":1})"}) {
    const auto wrong = Histogram::from_json(Json::parse(text));
    ASSERT_FALSE(wrong) << text;
    EXPECT_NE(wrong.error().message.find("counts"), std::string::npos) << wrong.error().text();
  }
  EXPECT_TRUE(Histogram::from_json(Histogram().to_json())) << "of nothing";
}

// Read as they stand, these would give percentiles above the maximum, or of a count that wrapped round.
TEST(HistogramTest, WhatRecordingCannotHaveMadeIsRefused) {
  for (const auto& [text, key] : {
           std::pair(R"({"counts":[[5,1],[900,1]],"max":5,"sum":905})", "max"),
           std::pair(R"({"counts":[[5,1]],"max":900,"sum":5})", "max"),
           std::pair(R"({"counts":[],"max":900,"sum":0})", "max"),
           std::pair(R"({"counts":[[5,1]],"sum":5})", "max"),
           std::pair(R"({"counts":[[5,1]],"max":5})", "sum"),
           std::pair(R"({"counts":[[5,0]],"max":5,"sum":0})", "counts"),
           std::pair(R"({"counts":[[5,9223372036854775807],[9,1]],"max":9,"sum":1})", "counts"),
       }) {
    const auto wrong = Histogram::from_json(Json::parse(text), "here.");
    ASSERT_FALSE(wrong) << text;
    EXPECT_NE(wrong.error().message.find("\"here." + std::string(key) + "\""), std::string::npos)
        << wrong.error().text();
  }
}

// Epochs that each have their own level, as set-ups do.
Epochs draw(std::mt19937_64& random, double level, double between, double within, int epochs = 5,
            int each = 4) {
  std::normal_distribution<double> epoch_level(level, between);
  Epochs out;
  for (int i = 0; i < epochs; i++) {
    std::normal_distribution<double> value(epoch_level(random), within);
    out.emplace_back();
    for (int k = 0; k < each; k++) out.back().push_back(value(random));
  }
  return out;
}

TEST(StatisticsTest, MedianOfOddEvenAndNone) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(overall_median({{5, 1}, {}, {3}}), 3);
}

TEST(StatisticsTest, IntervalsCoverTheTruthAboutAsOftenAsTheySay) {
  std::mt19937_64 random(3);
  int covered = 0;
  for (int i = 0; i < 200; i++) {
    const Estimate estimate = bootstrap(draw(random, 1, 0.01, 0.03, 8, 4));
    EXPECT_LE(estimate.low, estimate.median);
    EXPECT_GE(estimate.high, estimate.median);
    covered += estimate.low <= 1 && estimate.high >= 1 ? 1 : 0;
  }
  EXPECT_GE(covered, 180) << "of 200, at 95 %";
  EXPECT_LE(covered, 199) << "an interval that is never wrong says nothing";
}

TEST(StatisticsTest, TheSameInputGivesTheSameInterval) {
  std::mt19937_64 random(4);
  const Epochs epochs = draw(random, 2, 0.1, 0.2);
  const Estimate a = bootstrap(epochs);
  const Estimate b = bootstrap(epochs);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
}

// Tables of Student's distribution have these.
TEST(StatisticsTest, StudentQuantiles) {
  EXPECT_NEAR(student_quantile(0.95, 1), 12.706, 0.01);
  EXPECT_NEAR(student_quantile(0.95, 4), 2.776, 0.001);
  EXPECT_NEAR(student_quantile(0.99, 8), 3.355, 0.001);
  EXPECT_NEAR(student_quantile(0.999, 10), 4.587, 0.001);
  EXPECT_NEAR(student_quantile(0.95, 1e4), 1.960, 0.001);
}

TEST(StatisticsTest, FactorBetweenTwoRuns) {
  std::mt19937_64 random(5);
  const auto factor = factor_between(draw(random, 1, 0.01, 0.02), draw(random, 1.2, 0.01, 0.02), 0.99);
  ASSERT_TRUE(factor);
  EXPECT_NEAR(factor->median, 1.2, 0.05);
  EXPECT_GT(factor->low, 1.1);
  EXPECT_LT(factor->high, 1.3);
  EXPECT_FALSE(factor_between({}, {{1}, {1}}, 0.99));
  EXPECT_FALSE(factor_between({{1}}, {{1}, {1}}, 0.99)) << "one set-up shows no spread";
  EXPECT_FALSE(factor_between({{0}, {0}}, {{1}, {1}}, 0.99)) << "from nothing";
  const auto to_nothing = factor_between({{2}, {2}}, {{0}, {}, {0}}, 0.99);
  ASSERT_TRUE(to_nothing);
  EXPECT_EQ(to_nothing->median, 0);
  EXPECT_EQ(to_nothing->high, 0);
}

TEST(StatisticsTest, FactorsOfTheSameAreWrongAboutAsOftenAsTheySay) {
  std::mt19937_64 random(6);
  int wrong = 0;
  for (int i = 0; i < 400; i++) {
    const auto factor =
        factor_between(draw(random, 1, 0.05, 0.08, 3, 2), draw(random, 1, 0.05, 0.08, 3, 2), 0.95);
    wrong += factor->low > 1 || factor->high < 1 ? 1 : 0;
  }
  EXPECT_LE(wrong, 32) << "of 400, at 95 %";
  EXPECT_GE(wrong, 4) << "an interval that is never wrong says nothing";
}

}  // namespace
}  // namespace vmlane::perf
