// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "dataplane/ring_audit.h"

namespace vmlane::dataplane {
namespace {

constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kTable = 4;
constexpr std::uint64_t kGuest = 0x100000;

// A ring of 8 in two regions of 4 KiB that follow each other.
class RingAudit : public testing::Test {
 protected:
  RingAudit() {
    regions_ = {GuestRegion{kGuest, memory_.data(), 4096},
                GuestRegion{kGuest + 4096, memory_.data() + 8192, 4096}};
    for (auto& descriptor : descriptors_) descriptor = {.address = kGuest, .length = 64};
  }
  RingFault fault() {
    return RingView{.descriptors = descriptors_.data(),
                    .available = available_.data(),
                    .size = 8,
                    .taken = taken_,
                    .memory = regions_}
        .fault();
  }
  void offer(std::uint16_t head) {
    available_[2 + taken_ % 8] = head;
    available_[1] = static_cast<std::uint16_t>(taken_ + 1);
  }

  std::vector<std::uint8_t> memory_ = std::vector<std::uint8_t>(16384);
  std::array<GuestRegion, 2> regions_;
  std::array<RingView::Descriptor, 8> descriptors_;
  std::array<std::uint16_t, 10> available_{};
  std::uint16_t taken_ = 65535;  // the index is about to begin anew
};

TEST_F(RingAudit, FindsNothingWrongWithWhatDriversDo) {
  available_[1] = taken_;
  EXPECT_EQ(fault(), RingFault::kNone) << "an empty ring";
  offer(3);
  EXPECT_EQ(fault(), RingFault::kNone);
  descriptors_[3] = {.address = kGuest + 4000, .length = 2000, .flags = kNext, .next = 7};
  EXPECT_EQ(fault(), RingFault::kNone) << "a buffer in two regions, and another";
  available_[1] = static_cast<std::uint16_t>(taken_ + 8);
  EXPECT_EQ(fault(), RingFault::kNone) << "a full ring";
}

TEST_F(RingAudit, FindsAnIndexBeyondTheRing) {
  offer(0);
  available_[1] = static_cast<std::uint16_t>(taken_ + 9);
  EXPECT_EQ(fault(), RingFault::kIndex);
}

TEST_F(RingAudit, FindsAHeadOutsideOfTheTable) {
  offer(8);
  EXPECT_EQ(fault(), RingFault::kHead);
}

TEST_F(RingAudit, FindsChainsThatAreNone) {
  offer(0);
  descriptors_[0] = {.address = kGuest, .length = 1, .flags = kNext, .next = 8};
  EXPECT_EQ(fault(), RingFault::kChain) << "it leaves the table";
  descriptors_[0].next = 1;
  descriptors_[1] = {.address = kGuest, .length = 1, .flags = kNext, .next = 0};
  EXPECT_EQ(fault(), RingFault::kChain) << "it has no end";
}

TEST_F(RingAudit, FindsMemoryThatTheGuestDoesNotHave) {
  offer(0);
  for (const auto& [address, length] :
       std::vector<std::pair<std::uint64_t, std::uint32_t>>{{kGuest - 1, 1},
                                                            {kGuest + 8192, 1},
                                                            {kGuest + 8191, 2},
                                                            {UINT64_MAX, 2},
                                                            {0, 0},
                                                            {kGuest, UINT32_MAX}}) {
    descriptors_[0] = {.address = address, .length = length};
    EXPECT_EQ(fault(), RingFault::kAddress) << address << " " << length;
  }
}

TEST_F(RingAudit, LooksIntoTables) {
  offer(0);
  constexpr std::uint64_t kAt = 256;
  std::array<RingView::Descriptor, 300> table;
  const auto write = [&](std::size_t count) {
    descriptors_[0] = {
        .address = kGuest + kAt, .length = static_cast<std::uint32_t>(16 * count), .flags = kTable};
    std::memcpy(memory_.data() + kAt, table.data(), 16 * std::min<std::size_t>(count, 200));
  };
  table[0] = {.address = kGuest, .length = 10, .flags = kNext, .next = 1};
  table[1] = {.address = kGuest, .length = 10};
  write(2);
  EXPECT_EQ(fault(), RingFault::kNone);
  write(0);
  EXPECT_EQ(fault(), RingFault::kChain) << "an empty one";
  write(1);
  EXPECT_EQ(fault(), RingFault::kChain) << "the chain leaves it";
  table[1].flags = kTable;
  write(2);
  EXPECT_EQ(fault(), RingFault::kChain) << "a table in a table";
  table[1] = {.address = 1, .length = 10};
  write(2);
  EXPECT_EQ(fault(), RingFault::kAddress);
  descriptors_[0].address = kGuest + 8192 - 16;
  EXPECT_EQ(fault(), RingFault::kAddress) << "the table itself is not the guest's";
}

TEST_F(RingAudit, SaysWhatIsWrong) {
  for (const auto fault :
       {RingFault::kIndex, RingFault::kHead, RingFault::kChain, RingFault::kAddress, RingFault::kKicks})
    EXPECT_FALSE(text_of(fault).empty());
}

}  // namespace
}  // namespace vmlane::dataplane
