// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "netlink/vlan.h"

namespace vmlane::netlink {
namespace {

using List = std::vector<PortVlans>;

TEST(PortVlansList, NeighboursOfOneMannerAreJoined) {
  EXPECT_EQ(normalized({}), List{});
  EXPECT_EQ(normalized({{.first = 7, .last = 7}, {.first = 5, .last = 6}, {.first = 9, .last = 9}}),
            (List{{.first = 5, .last = 7}, {.first = 9, .last = 9}}));
  EXPECT_EQ(normalized({{.first = 1, .last = 4094}}), (List{{.first = 1, .last = 4094}}));
  EXPECT_EQ(normalized({{.first = 5, .last = 5, .untagged = true}, {.first = 6, .last = 6}}),
            (List{{.first = 5, .last = 5, .untagged = true}, {.first = 6, .last = 6}}));
}

TEST(PortVlansList, LaterEntryCounts) {
  EXPECT_EQ(normalized({{.first = 5, .last = 9}, {.first = 7, .last = 7, .pvid = true, .untagged = true}}),
            (List{{.first = 5, .last = 6},
                  {.first = 7, .last = 7, .pvid = true, .untagged = true},
                  {.first = 8, .last = 9}}));
}

}  // namespace
}  // namespace vmlane::netlink
