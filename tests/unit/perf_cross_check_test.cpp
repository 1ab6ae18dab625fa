// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "perf/cross_check.h"

namespace vmlane::perf {
namespace {

TEST(CrossCheckTest, FindsTheFigureInWhatGeneratorsPrint) {
  const auto stream = iperf3_gbps(R"({"end":{"sum_received":{"seconds":1,"bits_per_second":12.5e9}}})");
  ASSERT_TRUE(stream);
  EXPECT_DOUBLE_EQ(*stream, 12.5);
  const auto trip = sockperf_p50_us(
      "sockperf: ---> <MAX> observation =  801.5\n"
      "sockperf: ---> percentile 99.000 =   40.001\nsockperf: ---> percentile 50.000 =   21.250\n");
  ASSERT_TRUE(trip);
  EXPECT_DOUBLE_EQ(*trip, 21.25);
}

TEST(CrossCheckTest, QuotesWhatHasNoFigure) {
  for (const char* text :
       {"", "{", "[]", R"({"error":"unable to connect"})", R"({"end":{"sum_received":{}}})"}) {
    const auto wrong = iperf3_gbps(text);
    ASSERT_FALSE(wrong) << text;
    EXPECT_EQ(wrong.error().details, text);
  }
  for (const char* text : {"", "sockperf: no messages", "percentile 50.000 = none"})
    EXPECT_EQ(sockperf_p50_us(text).error().details, text);
}

}  // namespace
}  // namespace vmlane::perf
