// SPDX-License-Identifier: Apache-2.0
// Key "uplink" with VLANs: VLAN devices as uplinks, and what a filtering bridge does with its uplink; and the
// crash matrix of all that.
#include "tests/vm/node_guest.h"

namespace vmlane::test {
namespace {

using Strings = std::vector<std::string>;

class UplinkGuest : public NodeGuest {
 protected:
  // The node's NIC up0 and the network behind it: a namespace with the other end of the cable, which has an
  // address without a tag and one in each of the VLANs 7 and 8.
  void SetUp() override {
    NodeGuest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    make_guest_pod("outside");
    in_guest(
        "ip link add up0 address 02:00:00:00:01:01 type veth peer name out0 netns outside;"
        "ip -n outside addr add 192.0.2.250/24 dev out0; ip -n outside link set out0 up;"
        "ip -n outside link add link out0 name out0.7 type vlan id 7;"
        "ip -n outside addr add 198.51.100.250/24 dev out0.7; ip -n outside link set out0.7 up;"
        "ip -n outside link add link out0 name out0.8 type vlan id 8;"
        "ip -n outside addr add 203.0.113.250/24 dev out0.8; ip -n outside link set out0.8 up");
    make_guest_pod("a");
  }
};

TEST_F(UplinkGuest, VlanDeviceIsMadeAndRemovedWithTheBridge) {
  const std::string before = node_snapshot();
  const Json conf = config({{"uplink", "up0.7"}, {"ipam", host_local("198.51.100.0/24")}});
  const auto added = add("a", conf);
  ASSERT_GUEST_OK(added);
  EXPECT_TRUE(reaches("a", "198.51.100.250"));
  EXPECT_GUEST_OK(check("a", conf, added.document));
  const Json link = guest_json("", "ip -j -d link show up0.7").at(0);
  EXPECT_EQ(link.value("master", ""), "br1");
  EXPECT_EQ(link.value("ifalias", ""), "vmlane:uplink");
  // A second bridge on another VLAN of the same NIC.
  make_guest_pod("b");
  const Json other = config(
      {{"name", "green"}, {"bridge", "br2"}, {"uplink", "up0.8"}, {"ipam", host_local("203.0.113.0/24")}});
  EXPECT_GUEST_OK(add("b", other));
  EXPECT_TRUE(reaches("b", "203.0.113.250"));
  EXPECT_TRUE(is_cut_off("b", "198.51.100.250"));
  EXPECT_GUEST_OK(del("b", other));
  EXPECT_GUEST_OK(del("a", conf));
  in_guest("ip netns del b");
  EXPECT_EQ(node_snapshot(), before);

  // One that is there already is used and stays.
  in_guest("ip link set up0 up; ip link add link up0 name wan type vlan id 8");
  const std::string with_wan = node_snapshot();
  const Json wan = config({{"uplink", "wan"}, {"ipam", host_local("203.0.113.0/24")}});
  EXPECT_GUEST_OK(add("a", wan));
  EXPECT_TRUE(reaches("a", "203.0.113.250"));
  EXPECT_GUEST_OK(del("a", wan));
  EXPECT_EQ(node_snapshot(), with_wan);
}

TEST_F(UplinkGuest, VxlanDeviceCarriesTheNetwork) {
  in_guest(
      "ip addr add 192.0.2.249/24 dev up0; ip link set up0 up;"
      "ip link add vx0 mtu 1450 address 02:00:00:00:01:07 type vxlan id 7 local 192.0.2.249 remote "
      "192.0.2.250 "
      "dstport 4789;"
      "ip -n outside link add vx0 mtu 1450 type vxlan id 7 local 192.0.2.250 remote 192.0.2.249 dstport 4789;"
      "ip -n outside addr add 2001:db8:7::250/64 dev vx0 nodad; ip -n outside link set vx0 up");
  const std::string before = node_snapshot();
  const Json conf = config({{"uplink", "vx0"}, {"ipam", host_local("2001:db8:7::/64")}});
  const auto added = add("a", conf);
  ASSERT_GUEST_OK(added);
  EXPECT_TRUE(reaches("a", "2001:db8:7::250"));
  EXPECT_EQ(added.document.at("interfaces").at(2).at("mtu"), 1450);
  EXPECT_GUEST_OK(del("a", conf));
  EXPECT_EQ(node_snapshot(), before);
}

TEST_F(UplinkGuest, FilteringBridgeGivesTheUplinkWhatItsPodsNeed) {
  const std::string before = node_snapshot();
  const Json seven = config({{"uplink", "up0"}, {"vlan", 7}, {"ipam", host_local("198.51.100.0/24")}});
  const Json eight =
      config({{"name", "green"}, {"uplink", "up0"}, {"vlan", 8}, {"ipam", host_local("203.0.113.0/24")}});
  make_guest_pod("b");
  make_guest_pod("c");
  ASSERT_GUEST_OK(add("a", seven));
  EXPECT_EQ(vlans_of("up0"), (Strings{"1 PVID Egress Untagged", "7"}));
  ASSERT_GUEST_OK(add("b", eight));
  ASSERT_GUEST_OK(add("c", eight));
  EXPECT_EQ(vlans_of("up0"), (Strings{"1 PVID Egress Untagged", "7", "8"}));
  EXPECT_TRUE(reaches("a", "198.51.100.250"));
  EXPECT_TRUE(reaches("b", "203.0.113.250"));
  in_guest("ip -n a addr add 203.0.113.99/24 dev eth0");
  EXPECT_TRUE(is_cut_off("a", "203.0.113.250"));
  EXPECT_GUEST_OK(del("b", eight));
  EXPECT_EQ(vlans_of("up0"), (Strings{"1 PVID Egress Untagged", "7", "8"})) << "c still needs it";
  EXPECT_GUEST_OK(del("c", eight));
  EXPECT_EQ(vlans_of("up0"), (Strings{"1 PVID Egress Untagged", "7"}));
  EXPECT_GUEST_OK(del("a", seven));
  in_guest("ip netns del b; ip netns del c");
  EXPECT_EQ(node_snapshot(), before);

  // An administrator's bridge must carry the VLAN already.
  in_guest(
      "ip link add adm address 02:00:00:00:00:b1 type bridge vlan_filtering 1; ip link set adm up;"
      "ip link set up0 master adm; ip link set up0 up");
  Json conf = seven;
  conf["bridge"] = "adm";
  const std::string theirs = node_snapshot();
  const auto refused = add("a", conf);
  EXPECT_EQ(refused.code(), 102) << refused;
  EXPECT_NE(refused.text().find("bridge vlan add dev up0 vid 7"), std::string::npos) << refused;
  EXPECT_EQ(node_snapshot(), theirs);
  in_guest("bridge vlan add dev up0 vid 7");
  const std::string with_seven = node_snapshot();
  EXPECT_GUEST_OK(add("a", conf));
  EXPECT_TRUE(reaches("a", "198.51.100.250"));
  EXPECT_GUEST_OK(del("a", conf));
  EXPECT_EQ(node_snapshot(), with_seven);
}

TEST_F(UplinkGuest, AddKilledAtAnyStepIsRemovedByOneDel) {
  const std::string before = node_snapshot();
  for (const Json& keys : {Json{{"vlan", 7}, {"isGateway", true}, {"uplink", "up0"}},
                           Json{{"vlanTrunk", {{{"id", 7}}}}, {"uplink", "up0.9"}}}) {
    const Json conf = config(keys);
    int step = 1;
    for (; step < 60 && !HasFailure(); step++) {
      SCOPED_TRACE(keys.dump() + " kill-after:" + std::to_string(step));
      const auto outcome =
          call("ADD", "a", conf, "vmlane-veth", "VMLANE_FAULT=kill-after:" + std::to_string(step));
      EXPECT_GUEST_OK(del("a", conf));
      EXPECT_EQ(node_snapshot(), before);
      if (outcome.ok()) break;
      EXPECT_EQ(outcome.process.status, 128 + 9) << outcome;
    }
    EXPECT_GE(step, 20);
  }
}

TEST_F(UplinkGuest, DelKilledAtAnyStepIsFinishedByTheNext) {
  const std::string before = node_snapshot();
  const Json conf = config({{"vlan", 7}, {"isGateway", true}, {"uplink", "up0.9"}});
  int step = 1;
  for (; step < 40 && !HasFailure(); step++) {
    SCOPED_TRACE(step);
    ASSERT_GUEST_OK(add("a", conf));
    const auto outcome =
        call("DEL", "a", conf, "vmlane-veth", "VMLANE_FAULT=kill-after:" + std::to_string(step));
    EXPECT_GUEST_OK(del("a", conf));
    EXPECT_EQ(node_snapshot(), before);
    if (outcome.ok()) break;
  }
  EXPECT_GE(step, 6);
}

}  // namespace
}  // namespace vmlane::test
