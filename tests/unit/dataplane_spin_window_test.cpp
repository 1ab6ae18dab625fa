// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "dataplane/spin_window.h"

namespace vmlane::dataplane {
namespace {

constexpr std::uint64_t kMicrosecond = 1000;
constexpr std::uint64_t kMillisecond = 1000 * kMicrosecond;
constexpr unsigned kNoCap = 100;

SpinWindow after(unsigned budget, std::initializer_list<std::uint64_t> gaps) {
  SpinWindow window(budget);
  for (int i = 0; i < 1000; i++) {
    for (const std::uint64_t gap : gaps) window.arrived(gap);
  }
  return window;
}

TEST(SpinWindow, CoversGapsThatAreShorterThanAWakeUpIsWorth) {
  EXPECT_GE(after(kNoCap, {20 * kMicrosecond}).window(), 20 * kMicrosecond);
  EXPECT_GE(after(kNoCap, {50 * kMicrosecond}).window(), 50 * kMicrosecond);
  EXPECT_LE(after(kNoCap, {3 * kMicrosecond}).window(), 8 * kMicrosecond) << "and no more than it takes";
}

TEST(SpinWindow, IsNothingWhenTheNextFrameIsFarAway) {
  EXPECT_EQ(after(kNoCap, {kMillisecond}).window(), 0U);
  EXPECT_EQ(after(kNoCap, {100 * kMillisecond}).window(), 0U);
  EXPECT_EQ(SpinWindow(kNoCap).window(), 0U) << "nobody knows yet";
}

TEST(SpinWindow, CoversTheAnswerButNotTheWaitForTheNextQuestion) {
  const SpinWindow window = after(kNoCap, {10 * kMicrosecond, 10 * kMillisecond});
  EXPECT_GE(window.window(), 10 * kMicrosecond);
  EXPECT_LT(window.window(), 100 * kMicrosecond);
}

TEST(SpinWindow, ForgetsThePastWhenTrafficChanges) {
  SpinWindow window = after(kNoCap, {10 * kMicrosecond});
  ASSERT_GT(window.window(), 0U);
  for (int i = 0; i < 20'000; i++) window.arrived(5 * kMillisecond);
  EXPECT_EQ(window.window(), 0U);
}

TEST(SpinWindow, KeepsToItsBudget) {
  constexpr unsigned kBudget = 20;
  SpinWindow window = after(kBudget, {50 * kMicrosecond});
  // Spins whenever it may; the share of that in all time is the budget's.
  std::uint64_t spun = 0;
  std::uint64_t elapsed = 0;
  constexpr std::uint64_t kStep = 10 * kMicrosecond;
  while (elapsed < 10'000 * kMillisecond) {
    const bool spins = window.window() > 0;
    window.spent(spins ? kStep : 0, kStep);
    spun += spins ? kStep : 0;
    elapsed += kStep;
  }
  EXPECT_NEAR(static_cast<double>(spun) / static_cast<double>(elapsed), 0.20, 0.02);
}

}  // namespace
}  // namespace vmlane::dataplane
