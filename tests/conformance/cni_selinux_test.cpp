// SPDX-License-Identifier: Apache-2.0
// Key selinuxContext of the tap lane where there is no SELinux; tests/netns/labelled_tap_test.cpp has the
// rest.
#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class SelinuxTest : public LaneTest {};

TEST_P(SelinuxTest, WithoutSelinuxTheKeyIsLoggedAndWithoutEffect) {
  Pod& pod = make_pod("a");
  const Json conf = config({{"selinuxContext", "system_u:system_r:container_t:s0"}});
  const CniOutcome outcome = add(pod, conf);
  ASSERT_CNI_OK(outcome);
  EXPECT_NE(slurp(log_file()).find("no SELinux"), std::string::npos) << slurp(log_file());
  EXPECT_CNI_OK(check(pod, conf, *outcome.document));
}

TEST_P(SelinuxTest, WithoutTheKeyNothingIsSaid) {
  ASSERT_CNI_OK(add(make_pod("a"), config()));
  EXPECT_EQ(slurp(log_file()).find("SELinux"), std::string::npos);
}

TEST_P(SelinuxTest, WhatIsNoContextIsRefused) {
  make_pod("a");
  for (const Json& value : {Json("container_t"), Json("a:b:c d"), Json(7)}) {
    expect_refused(call("ADD", "/run/netns/a", config({{"selinuxContext", value}})), Code::kInvalidConfig,
                   {"selinuxContext", value.is_string() ? value.get<std::string>() : "7"});
  }
}

VMLANE_FOR_TAP(SelinuxTest);

}  // namespace
}  // namespace vmlane::test
