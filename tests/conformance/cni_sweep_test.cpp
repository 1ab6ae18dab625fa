// SPDX-License-Identifier: Apache-2.0
// `vmlanectl attachment sweep`: the DEL that a runtime did not send, for attachments whose sandbox is gone.
#include <filesystem>

#include "tests/conformance/lane_test.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

class SweepTest : public LaneTest {
 protected:
  RunResult sweep(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> argv = {built("vmlanectl"), "attachment", "sweep", "--config",
                                     node_json().string()};
    argv.insert(argv.end(), more.begin(), more.end());
    return test::run(argv);
  }
  // The host's end goes a moment after its namespace.
  void end(Pod& pod) {
    const std::size_t before = link_names("").size();
    pod.remove();
    if (is_macvtap()) return;
    EXPECT_TRUE(eventually([&] { return link_names("").size() < before; }));
  }
};

TEST_P(SweepTest, RemovesTheDeadAndLeavesTheLiving) {
  const Json conf = config({{"isGateway", true}});
  ASSERT_CNI_OK(add(make_pod("living"), conf, "living"));
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(add(make_pod("dead"), conf, "dead"));
  EXPECT_EQ(sweep().out.find("dead"), std::string::npos) << "its sandbox is there";
  end(*pods().at("dead"));
  const auto would = sweep({"--dry-run"});
  EXPECT_NE(would.out.find("blue/dead"), std::string::npos) << would.out;
  EXPECT_NE(would.out.find("sandbox gone"), std::string::npos) << would.out;
  EXPECT_EQ(reserved_addresses().size(), 2U);
  const auto done = sweep();
  EXPECT_TRUE(done.ok()) << done.err;
  EXPECT_NE(done.out.find("removed"), std::string::npos) << done.out;
  // A macvtap goes with its namespace, which the kernel takes down by and by.
  EXPECT_TRUE(eventually([&] { return difference(before, snapshot()).empty(); }));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(SweepTest, AddKilledAtAnyStepIsSweptOnceItsPodIsGone) {
  const Json conf = config({{"isGateway", true}});
  constexpr int kMaxSteps = 100;
  for (int step = 1; step < kMaxSteps; step++) {
    SCOPED_TRACE(step);
    CniCall dying = call("ADD", make_pod("a").path(), conf);
    dying.env["VMLANE_FAULT"] = "kill-after:" + std::to_string(step);
    const CniOutcome outcome = run_call(dying);
    pods().at("a")->remove();
    EXPECT_TRUE(eventually([&] {
      EXPECT_TRUE(sweep().ok());
      return !std::filesystem::exists(record_file(id_of()));
    }));
    EXPECT_TRUE(reserved_addresses().empty());
    EXPECT_EQ(link_names(""), idle_links());
    if (outcome.ok() || HasFailure()) break;
  }
}

TEST_P(SweepTest, WhatCannotBeRemovedIsNamedAndTheRestIsRemoved) {
  ASSERT_CNI_OK(add(make_pod("a"), config(), "a"));
  ASSERT_CNI_OK(add(make_pod("b"), config(), "b"));
  Json record = Json::parse(slurp(record_file(id_of("a"))));
  record["netconf"]["ipam"]["type"] = "no-such-ipam";
  spit(record_file(id_of("a")), record.dump());
  end(*pods().at("a"));
  end(*pods().at("b"));
  const auto swept = sweep();
  EXPECT_EQ(swept.status, 1);
  EXPECT_NE(swept.err.find(id_of("a")), std::string::npos) << swept.err;
  EXPECT_NE(swept.err.find("no-such-ipam"), std::string::npos) << swept.err;
  EXPECT_FALSE(std::filesystem::exists(record_file(id_of("b"))));
}

TEST_P(SweepTest, RecordThatCannotBeReadIsToldOf) {
  ASSERT_CNI_OK(add(make_pod("a"), config(), "a"));
  spit(record_file(id_of("b")), "{");
  end(*pods().at("a"));
  const auto swept = sweep();
  EXPECT_EQ(swept.status, 1);
  EXPECT_NE(swept.err.find(id_of("b")), std::string::npos) << swept.err;
  EXPECT_FALSE(std::filesystem::exists(record_file(id_of("a"))));
}

VMLANE_FOR_EACH_LANE(SweepTest);

}  // namespace
}  // namespace vmlane::test
