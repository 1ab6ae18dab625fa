// SPDX-License-Identifier: Apache-2.0
// Keys "vlan", "vlanTrunk" and "preserveDefaultVlan" where the kernel cannot filter VLANs: values are judged,
// and an ADD says why it cannot be done. Field case F065. What works elsewhere is tested in a guest
// (tests/vm).
#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class VlanTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }
  CniCall add_call(const Json& keys) { return call("ADD", pod().path(), config(keys)); }
  // Whether this kernel can do what the cases expect to be refused.
  static bool filters_vlans() {
    const bool made = test::run({"ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1"}).ok();
    if (made) test::run({"ip", "link", "del", "probe"});
    return made;
  }
};

TEST_P(VlanTest, F065_WrongValuesAreRefusedByKeyAndValue) {
  struct Case {
    Json keys;
    std::vector<std::string> culprits;
  };
  const auto trunk = [](const Json& entries) { return Json{{"vlanTrunk", entries}}; };
  for (const Case& c : std::vector<Case>{
           {{{"vlan", 4095}}, {"\"vlan\"", "4095"}},
           {{{"vlan", -1}}, {"\"vlan\"", "-1"}},
           {{{"vlan", "10"}}, {"\"vlan\"", "10"}},
           {{{"vlan", 1.5}}, {"\"vlan\"", "1.5"}},
           {{{"vlanTrunk", 7}}, {"\"vlanTrunk\"", "7"}},
           {{{"vlanTrunk", {{"id", 7}}}}, {"\"vlanTrunk\""}},
           {{{"preserveDefaultVlan", 1}}, {"preserveDefaultVlan", "1"}},
           {trunk(Json::array({7})), {"vlanTrunk[0]", "7"}},
           {trunk(Json::array({Json::object()})), {"vlanTrunk[0]", "no VLAN"}},
           {trunk({{{"id", 0}}}), {"vlanTrunk[0].id", "0"}},
           {trunk({{{"id", 4095}}}), {"vlanTrunk[0].id", "4095"}},
           {trunk({{{"id", "7"}}}), {"vlanTrunk[0].id", "7"}},
           {trunk({{{"id", 5}}, {{"minID", 30}, {"maxID", 20}}}), {"vlanTrunk[1].minID", "30", "20"}},
           {trunk({{{"minID", 20}}}), {"vlanTrunk[0]", "maxID"}},
           {trunk({{{"maxID", 20}}}), {"vlanTrunk[0]", "minID"}},
           {trunk({{{"id", 7}, {"minID", 20}}}), {"vlanTrunk[0]", "maxID"}},
           {trunk({{{"minID", 0}, {"maxID", 20}}}), {"vlanTrunk[0].minID", "0"}},
           {trunk({{{"minID", 20}, {"maxID", 5000}}}), {"vlanTrunk[0].maxID", "5000"}},
           {trunk({{{"id", 7}}, {{"id", 7}}}), {"vlanTrunk[1]", "VLAN 7"}},
           {trunk({{{"minID", 20}, {"maxID", 25}}, {{"id", 23}}}), {"vlanTrunk[1]", "VLAN 23"}},
           {trunk({{{"id", 7}, {"name", "x"}}}), {"vlanTrunk[0]", "name"}}}) {
    SCOPED_TRACE(c.keys.dump());
    expect_refused(add_call(c.keys), Code::kInvalidConfig, c.culprits);
  }
}

TEST_P(VlanTest, F065_KernelWithoutFilteringIsToldAndNothingStays) {
  if (filters_vlans()) GTEST_SKIP() << "this kernel has bridge VLAN filtering";
  for (const Json& keys : {Json{{"vlan", 100}}, Json{{"vlanTrunk", {{{"minID", 20}, {"maxID", 25}}}}},
                           Json{{"vlan", 7}, {"isGateway", true}}}) {
    SCOPED_TRACE(keys.dump());
    expect_refused(add_call(keys), Code::kKernel, {"br1", "VLAN filtering"});
  }
  EXPECT_TRUE(reserved_addresses().empty());
  ASSERT_CNI_OK(add(make_pod("b"), config(), "neighbour"));
  expect_refused(add_call({{"vlan", 100}}), Code::kKernel, {"VLAN filtering"});
}

TEST_P(VlanTest, F065_AdministratorsBridgeWithoutFilteringStaysAsItIs) {
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
  expect_refused(add_call({{"vlan", 100}}), Code::kConflict,
                 {"br1", "\"vlan\"", "ip link set br1 type bridge vlan_filtering 1"});
}

TEST_P(VlanTest, KeysThatSayNothingNeedNoFiltering) {
  const Snapshot before = snapshot();
  const Json conf = config({{"vlan", 0}, {"vlanTrunk", Json::array()}, {"preserveDefaultVlan", false}});
  const CniOutcome added = add(pod(), conf);
  ASSERT_CNI_OK(added);
  EXPECT_CNI_OK(check(pod(), conf, *added.document));
  EXPECT_CNI_OK(del(pod().path(), conf));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

VMLANE_FOR_BRIDGE_LANES(VlanTest);

}  // namespace
}  // namespace vmlane::test
