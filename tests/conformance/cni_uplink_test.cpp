// SPDX-License-Identifier: Apache-2.0
// Key "uplink": the bridge's way out of the node. Field case F026 for its MTU. VLAN devices as uplinks are
// tested in a guest (tests/vm).
#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class UplinkTest : public LaneTest {
 protected:
  // The node's NIC up0 is one end of a cable; "outside" has the other.
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    Pod& outside = make_pod("outside");
    must({"ip", "link", "add", "up0", "address", "02:00:00:00:01:01", "type", "veth", "peer", "name", "out0",
          "netns", "outside"});
    // A link gets its queue the first time it is up, for good.
    must({"ip", "link", "set", "up0", "up"});
    must({"ip", "link", "set", "up0", "down"});
    // The bridge is to learn of nobody who was not asked.
    ASSERT_TRUE(outside.run({"sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"}).ok());
    ASSERT_TRUE(outside.run({"ip", "link", "set", "out0", "up"}).ok());
    ASSERT_TRUE(outside.run({"ip", "addr", "add", "192.0.2.250/24", "dev", "out0"}).ok());
  }
  Pod& pod() { return *pods().at("a"); }
  static Json with(const std::string& uplink, const Json& more = Json::object()) {
    Json keys = {{"uplink", uplink}};
    keys.update(more);
    return keys;
  }
  void refuse(const Json& keys, Code code, const std::vector<std::string>& culprits) {
    SCOPED_TRACE(keys.dump());
    expect_refused(call("ADD", pod().path(), config(keys)), code, culprits);
    EXPECT_TRUE(reserved_addresses().empty());
  }
};

TEST_P(UplinkTest, NicCarriesTheNetworkAndIsAsBeforeAfterwards) {
  const Json conf = config(with("up0"));
  const Snapshot before = snapshot();
  const CniOutcome added = add(pod(), conf);
  ASSERT_CNI_OK(added);
  EXPECT_EQ(link_of("", "up0").value("master", ""), "br1");
  if (!is_tap()) {
    EXPECT_TRUE(pod().run({"ping", "-c", "1", "-w", "30", "192.0.2.250"}).ok());
  }
  EXPECT_CNI_OK(check(pod(), conf, *added.document));
  must({"ip", "link", "set", "up0", "nomaster"});
  const CniOutcome changed = check(pod(), conf, *added.document);
  EXPECT_CNI_ERROR(changed, Code::kChanged);
  EXPECT_NE(changed.message().find("up0"), std::string::npos) << changed;
  must({"ip", "link", "set", "up0", "master", "br1"});
  must({"ip", "link", "set", "up0", "down"});
  EXPECT_CNI_ERROR(check(pod(), conf, *added.document), Code::kChanged);
  must({"ip", "link", "set", "up0", "up"});
  EXPECT_CNI_OK(del(pod().path(), conf));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(UplinkTest, NicThatWasUpStaysUp) {
  must({"ip", "link", "set", "up0", "up"});
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(add(pod(), config(with("up0"))));
  ASSERT_CNI_OK(del(pod().path(), config(with("up0"))));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(UplinkTest, LastAttachmentThatNeedsItTakesItAlong) {
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(add(make_pod("p"), config(), "plain"));
  const Snapshot plain = snapshot();
  Pod& second = make_pod("b");
  ASSERT_CNI_OK(add(pod(), config(with("up0"))));
  ASSERT_CNI_OK(add(second, config(with("up0")), "c2"));
  ASSERT_CNI_OK(del(pod().path(), config(with("up0"))));
  EXPECT_EQ(link_of("", "up0").value("master", ""), "br1");
  ASSERT_CNI_OK(del(second.path(), config(with("up0")), "c2"));
  second.remove();
  EXPECT_SNAP_CLEAN(plain, snapshot());
  ASSERT_CNI_OK(del("/run/netns/p", config(), "plain"));
  pods().at("p")->remove();
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(UplinkTest, F026_NewBridgeTakesTheUplinksMtu) {
  must({"ip", "link", "set", "up0", "mtu", "1450"});
  const CniOutcome added = add(pod(), config(with("up0")));
  ASSERT_CNI_OK(added);
  EXPECT_EQ(link_of("", "br1")["mtu"], 1450);
  EXPECT_EQ(sandbox_interface(*added.document)["mtu"], 1450);
  ASSERT_CNI_OK(del(pod().path(), config(with("up0"))));
  refuse(with("up0", {{"mtu", 1500}}), Code::kInvalidConfig, {"\"mtu\"", "1500", "up0", "1450"});
  ASSERT_CNI_OK(add(pod(), config(with("up0", {{"mtu", 1400}}))));
  EXPECT_EQ(link_of("", "br1")["mtu"], 1400);
}

TEST_P(UplinkTest, F026_BridgeThatCarriesMoreThanTheUplinkIsRefused) {
  must({"ip", "link", "set", "up0", "mtu", "1450"});
  ASSERT_CNI_OK(add(make_pod("b"), config(), "neighbour"));
  expect_refused(call("ADD", pod().path(), config(with("up0"))), Code::kConflict,
                 {"up0", "1450", "br1", "1500"});
}

TEST_P(UplinkTest, ExistingVxlanDeviceIsAnUplink) {
  must({"ip", "link", "add", "vx0", "address", "02:00:00:00:01:02", "mtu", "1400", "type", "vxlan", "id", "7",
        "dstport", "4789", "local", "192.0.2.99"});
  must({"ip", "link", "set", "vx0", "up"});
  must({"ip", "link", "set", "vx0", "down"});
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(add(pod(), config(with("vx0"))));
  EXPECT_EQ(link_of("", "vx0").value("master", ""), "br1");
  EXPECT_EQ(link_of("", "br1")["mtu"], 1400);
  ASSERT_CNI_OK(del(pod().path(), config(with("vx0"))));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(UplinkTest, LinksThatCannotServeAreRefusedWithTheWayOut) {
  must({"ip", "link", "add", "br9", "type", "bridge"});
  must({"ip", "link", "add", "port", "type", "veth", "peer", "name", "port-peer"});
  must({"ip", "link", "set", "port", "master", "br9"});
  must({"ip", "addr", "add", "198.51.100.9/24", "dev", "up0"});
  must({"ip", "-6", "addr", "add", "2001:db8:9::9/64", "dev", "up0"});
  refuse(with("nic7"), Code::kNotFound, {"uplink", "nic7"});
  refuse(with("nic7.100"), Code::kNotFound, {"nic7.100", "nic7"});
  refuse(with("up0.4095"), Code::kNotFound, {"up0.4095"});
  refuse(with("up0.0"), Code::kNotFound, {"up0.0"});
  refuse(with("lo"), Code::kConflict, {"lo", "loopback"});
  refuse(with("lo.100"), Code::kConflict, {"lo.100", "loopback"});
  refuse(with("br9"), Code::kConflict, {"br9", "bridge"});
  refuse(with("port"), Code::kConflict, {"port", "br9", "nomaster"});
  refuse(with("up0"), Code::kConflict, {"up0", "198.51.100.9/24", "2001:db8:9::9/64"});
  refuse(with("br1"), Code::kInvalidConfig, {"uplink", "br1"});
  refuse(with("a/b"), Code::kInvalidConfig, {"uplink", "a/b"});
  refuse({{"uplink", 7}}, Code::kInvalidConfig, {"uplink", "7"});
}

TEST_P(UplinkTest, StatusTellsThatItIsMissing) {
  EXPECT_CNI_OK(run_call(call("STATUS", "", config(with("up0")))));
  const CniOutcome missing = run_call(call("STATUS", "", config(with("nic7"))));
  EXPECT_CNI_ERROR(missing, Code::kNotAvailable);
  EXPECT_NE(missing.message().find("nic7"), std::string::npos) << missing;
}

TEST_P(UplinkTest, SecondWayOutOfOneBridgeIsRefused) {
  must({"ip", "link", "add", "up1", "type", "veth", "peer", "name", "up1-peer"});
  ASSERT_CNI_OK(add(make_pod("b"), config(with("up0")), "neighbour"));
  expect_refused(call("ADD", pod().path(), config(with("up1"))), Code::kConflict, {"up1", "up0", "br1"});
  const std::string host_link = host_link_of(id_of("neighbour"))["ifname"];
  expect_refused(call("ADD", pod().path(), config(with(host_link, {{"bridge", "br2"}}))), Code::kConflict,
                 {host_link, "attachment"});
}

TEST_P(UplinkTest, AdministratorsBridgeMustHaveIt) {
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  refuse(with("up0"), Code::kConflict, {"up0", "br1", "ip link set up0 master br1"});
  refuse(with("up0.7"), Code::kConflict, {"up0.7", "br1"});
  must({"ip", "link", "set", "up0", "master", "br1"});
  const Snapshot before = snapshot();
  const CniOutcome added = add(pod(), config(with("up0")));
  ASSERT_CNI_OK(added);
  ASSERT_CNI_OK(del(pod().path(), config(with("up0"))));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(UplinkTest, IsFoundWithoutTheRecord) {
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(add(pod(), config(with("up0"))));
  spit(record_file(id_of()), "{ cut");
  ASSERT_CNI_OK(del(pod().path(), config(with("up0"))));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

VMLANE_FOR_BRIDGE_LANES(UplinkTest);

}  // namespace
}  // namespace vmlane::test
