// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cni/tap/labelled_tap.h"

namespace vmlane::cni {
namespace {

TEST(SelinuxContext, HasThreePartsAndALevelWithColonsOfItsOwn) {
  for (const char* context : {"system_u:system_r:container_t", "system_u:system_r:container_t:s0",
                              "a:b:c:s0-s15:c0.c1023", "system_u:system_r:svirt_t:s0:c1,c2"}) {
    EXPECT_TRUE(check_selinux_context(context)) << context;
  }
  for (const char* context : {"", "container_t", "a:b", "a:b:", "a::c", ":b:c", "a:b:c:", "a:b:c d",
                              "a:b:c\n", "a:b:c:s0 c1", "a,b:b:c"}) {
    const auto checked = check_selinux_context(context);
    ASSERT_FALSE(checked) << context;
    EXPECT_EQ(checked.error().code, Code::kInvalidConfig);
    EXPECT_NE(checked.error().message.find("selinuxContext"), std::string::npos);
  }
}

TEST(SelinuxContext, IsTheKeysWhereSelinuxIsAndContainersWhereItEnforces) {
  EXPECT_EQ(selinux_context(SelinuxMode::kAbsent, ""), std::nullopt);
  EXPECT_EQ(selinux_context(SelinuxMode::kAbsent, "a:b:c"), std::nullopt);
  EXPECT_EQ(selinux_context(SelinuxMode::kPermissive, ""), std::nullopt);
  EXPECT_EQ(selinux_context(SelinuxMode::kPermissive, "a:b:c"), "a:b:c");
  EXPECT_EQ(selinux_context(SelinuxMode::kEnforcing, "a:b:c"), "a:b:c");
  EXPECT_EQ(selinux_context(SelinuxMode::kEnforcing, ""), "system_u:system_r:container_t:s0");
}

}  // namespace
}  // namespace vmlane::cni
