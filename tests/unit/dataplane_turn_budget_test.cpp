// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "dataplane/turn_budget.h"

namespace vmlane::dataplane {
namespace {

constexpr unsigned kMost = 32;

TEST(TurnBudget, CheapFramesComeInFullBursts) {
  TurnBudget budget(kMost);
  EXPECT_EQ(budget.frames(), kMost);
  for (int i = 0; i < 1000; i++) budget.spent(kMost, kMost * std::uint64_t{200});
  EXPECT_EQ(budget.frames(), kMost);
}

TEST(TurnBudget, ATurnOfCostlyFramesIsSoonAsLongAsItMayBe) {
  constexpr std::uint64_t kCost = 10'000;
  TurnBudget budget(kMost);
  std::uint64_t turns = 0;
  for (; budget.frames() * kCost > TurnBudget::kTurn && turns < 100; turns++)
    budget.spent(budget.frames(), budget.frames() * kCost);
  EXPECT_LE(turns, 10U);
  EXPECT_EQ(budget.frames(), TurnBudget::kTurn / kCost);
}

TEST(TurnBudget, AFrameThatTakesLongerThanATurnStillComes) {
  TurnBudget budget(kMost);
  for (int i = 0; i < 100; i++) budget.spent(1, 10 * TurnBudget::kTurn);
  EXPECT_EQ(budget.frames(), 1U);
}

TEST(TurnBudget, OneLongPauseCostsNothingAndThePastIsForgotten) {
  TurnBudget budget(kMost);
  for (int i = 0; i < 100; i++) budget.spent(kMost, kMost * std::uint64_t{200});
  budget.spent(kMost, 16'000'000);
  EXPECT_EQ(budget.frames(), kMost);
  for (int i = 0; i < 100; i++) budget.spent(1, 20'000);
  ASSERT_EQ(budget.frames(), 1U);
  for (int i = 0; i < 100; i++) budget.spent(1, 200);
  EXPECT_EQ(budget.frames(), kMost);
}

}  // namespace
}  // namespace vmlane::dataplane
