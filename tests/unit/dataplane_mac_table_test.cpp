// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/flood_limit.h"
#include "dataplane/mac_table.h"

namespace vmlane::dataplane {
namespace {

MacAddress mac(unsigned number) {
  constexpr unsigned kByte = 8;
  return {.bytes = {0x02, 0, static_cast<std::uint8_t>(number >> 3 * kByte),
                    static_cast<std::uint8_t>(number >> 2 * kByte),
                    static_cast<std::uint8_t>(number >> kByte), static_cast<std::uint8_t>(number)}};
}

TEST(MacTable, FindsWhatWasLearnedUntilItAges) {
  MacTable table;
  EXPECT_EQ(table.find(mac(1), 0), std::nullopt);
  EXPECT_TRUE(table.learn(mac(1), 7, 1000));
  EXPECT_EQ(table.find(mac(1), 1000 + MacTable::kAge), 7);
  EXPECT_EQ(table.find(mac(1), 1001 + MacTable::kAge), std::nullopt);
}

TEST(MacTable, FollowsAMacThatMoves) {
  MacTable table;
  table.learn(mac(1), 7, 1000);
  table.learn(mac(1), 8, 2000);
  EXPECT_EQ(table.find(mac(1), 2000), 8);
}

TEST(MacTable, LetsNobodyLearnAFixedMacElsewhere) {
  MacTable table;
  table.fix(mac(1), 3);
  EXPECT_TRUE(table.learn(mac(1), 3, 1000)) << "it is where it belongs";
  EXPECT_FALSE(table.learn(mac(1), 4, 1000));
  EXPECT_EQ(table.find(mac(1), 1000 + 2 * MacTable::kAge), 3) << "it does not age";
}

TEST(MacTable, ForgetsAPortWithAllItsMacs) {
  MacTable table;
  table.fix(mac(1), 3);
  table.learn(mac(2), 3, 1000);
  table.learn(mac(3), 4, 1000);
  table.forget(3);
  EXPECT_EQ(table.find(mac(1), 1000), std::nullopt);
  EXPECT_EQ(table.find(mac(2), 1000), std::nullopt);
  EXPECT_EQ(table.find(mac(3), 1000), 4);
}

TEST(MacTable, KeepsFixedMacsWhenAGuestFloodsItWithSources) {
  MacTable table;
  constexpr unsigned kFixed = 500;
  for (unsigned i = 0; i < kFixed; i++) table.fix(mac(i), static_cast<PortId>(i));
  for (unsigned i = 0; i < 100'000; i++) table.learn(mac(1'000'000 + i), 1, 1000 + i);
  for (unsigned i = 0; i < kFixed; i++) EXPECT_EQ(table.find(mac(i), 200'000), static_cast<PortId>(i));
  EXPECT_EQ(table.find(mac(1'000'000 + 99'999), 200'000), 1) << "the newest are the ones that stay";
  EXPECT_LE(table.entries(200'000).size(), kFixed + MacTable::kSets * MacTable::kWays);
}

TEST(MacTable, ListsMacsAsTheyAre) {
  MacTable table;
  table.fix(mac(0x010203), 3);
  table.learn(mac(2), 4, 1000);
  auto entries = table.entries(1000);
  ASSERT_EQ(entries.size(), 2U);
  const auto fixed = std::ranges::find(entries, true, &MacTable::Entry::fixed);
  EXPECT_EQ(fixed->mac, mac(0x010203));
  EXPECT_EQ(fixed->port, 3);
}

TEST(FloodLimit, LetsABurstPassAndThenItsRate) {
  FloodLimit limit;
  std::uint64_t now = 1'000'000'000;
  unsigned passed = 0;
  for (int i = 0; i < 10'000; i++) passed += limit.allows(now) ? 1 : 0;
  EXPECT_EQ(passed, FloodLimit::kBurst);
  passed = 0;
  constexpr std::uint64_t kStep = 10'000;  // ten times the rate
  for (int i = 0; i < 100'000; i++) passed += limit.allows(now += kStep) ? 1 : 0;
  EXPECT_NEAR(passed, FloodLimit::kRate, 2);
}

}  // namespace
}  // namespace vmlane::dataplane
