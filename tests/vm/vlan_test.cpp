// SPDX-License-Identifier: Apache-2.0
// VLANs of the bridge lanes on a kernel that filters them. Field case F065.
#include "core/names.h"
#include "tests/vm/node_guest.h"

namespace vmlane::test {
namespace {

using Strings = std::vector<std::string>;

class VlanGuest : public NodeGuest {
 protected:
  // A VLAN device of the pod's NIC, from which the pod sends tagged frames.
  void tag(const std::string& pod, int vlan, const std::string& address) {
    const std::string name = "eth0." + std::to_string(vlan);
    in_guest("ip -n " + pod + " link add link eth0 name " + name + " type vlan id " + std::to_string(vlan) +
             " && ip -n " + pod + " addr add " + address + " dev " + name + " && ip -n " + pod +
             " link set " + name + " up");
  }
  GuestOutcome attach(const std::string& pod, const Json& keys, const std::string& plugin = "vmlane-veth") {
    make_guest_pod(pod);
    attached_.push_back({pod, config(keys), plugin});
    GuestOutcome added = add(pod, config(keys), plugin);
    EXPECT_GUEST_OK(added) << keys;
    return added;
  }
  void detach_all() {
    for (const auto& [pod, conf, plugin] : attached_) EXPECT_GUEST_OK(del(pod, conf, plugin)) << pod;
    for (const auto& [pod, conf, plugin] : attached_) in_guest("ip netns del " + pod);
    attached_.clear();
  }
  static std::string address_of(const GuestOutcome& added) {
    const std::string address = added.document.at("ips").at(0).at("address");
    return address.substr(0, address.find('/'));
  }

 private:
  struct Attached {
    std::string pod;
    Json conf;
    std::string plugin;
  };
  std::vector<Attached> attached_;
};

TEST_F(VlanGuest, F065_PortsAreInExactlyTheirVlans) {
  const std::string before = node_snapshot();
  const auto a = attach("a", {{"vlan", 100}});
  const auto b = attach("b", {{"vlan", 100}});
  const auto c = attach("c", {{"vlan", 200}});
  const auto d = attach("d", {});
  const Json trunk = Json::array({{{"id", 100}}, {{"minID", 200}, {"maxID", 202}}});
  const auto t = attach("t", {{"vlanTrunk", trunk}, {"ipam", nullptr}});
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(vlans_of(host_link(a)), Strings{"100 PVID Egress Untagged"});
  EXPECT_EQ(vlans_of(host_link(c)), Strings{"200 PVID Egress Untagged"});
  EXPECT_EQ(vlans_of(host_link(d)), Strings{"1 PVID Egress Untagged"});
  EXPECT_EQ(vlans_of(host_link(t)), (Strings{"100", "200", "201", "202"}));

  EXPECT_TRUE(reaches("a", address_of(b)));
  EXPECT_TRUE(is_cut_off("a", address_of(c)));
  EXPECT_TRUE(is_cut_off("a", address_of(d)));
  EXPECT_TRUE(is_cut_off("d", address_of(a)));

  // What the trunk sends with a tag arrives without it, and the other way round.
  tag("t", 100, "198.51.100.1/24");
  in_guest("ip -n a addr add 198.51.100.2/24 dev eth0; ip -n c addr add 198.51.100.3/24 dev eth0");
  EXPECT_TRUE(reaches("t", "198.51.100.2"));
  EXPECT_TRUE(is_cut_off("t", "198.51.100.3"));
  tag("t", 200, "203.0.113.1/24");
  in_guest("ip -n c addr add 203.0.113.3/24 dev eth0");
  EXPECT_TRUE(reaches("t", "203.0.113.3"));
  // An untagged frame of the trunk belongs nowhere, nor does a tagged one of an access port.
  in_guest("ip -n t addr add 192.0.2.200/24 dev eth0");
  EXPECT_TRUE(is_cut_off("t", address_of(d)));
  EXPECT_TRUE(is_cut_off("t", address_of(a)));
  in_guest("ip -n t link del eth0.200");
  tag("a", 200, "203.0.113.9/24");
  EXPECT_TRUE(is_cut_off("a", "203.0.113.3")) << "frames tagged 200 pass from a port of VLAN 100";

  EXPECT_GUEST_OK(check("a", config({{"vlan", 100}}), a.document));
  EXPECT_GUEST_OK(check("t", config({{"vlanTrunk", trunk}, {"ipam", nullptr}}), t.document));
  in_guest("bridge vlan add dev " + host_link(a) + " vid 300");
  const auto wider = check("a", config({{"vlan", 100}}), a.document);
  EXPECT_EQ(wider.code(), 104) << wider;
  EXPECT_NE(wider.text().find("300"), std::string::npos) << wider;
  in_guest("bridge vlan del dev " + host_link(a) + " vid 300; bridge vlan del dev " + host_link(t) +
           " vid 201");
  EXPECT_GUEST_OK(check("a", config({{"vlan", 100}}), a.document));
  const auto narrower = check("t", config({{"vlanTrunk", trunk}, {"ipam", nullptr}}), t.document);
  EXPECT_EQ(narrower.code(), 104) << narrower;

  detach_all();
  EXPECT_EQ(node_snapshot(), before);
}

TEST_F(VlanGuest, NativeVlansDefaultVlansAndTaps) {
  const std::string before = node_snapshot();
  const Json trunk = Json::array({{{"minID", 20}, {"maxID", 22}}});
  const auto native = attach("n", {{"vlan", 100}, {"vlanTrunk", trunk}});
  EXPECT_EQ(vlans_of(host_link(native)), (Strings{"20", "21", "22", "100 PVID Egress Untagged"}));
  // The reference plugin's meaning, where a definition states it.
  const auto kept = attach("k", {{"vlan", 100}, {"preserveDefaultVlan", true}});
  EXPECT_EQ(vlans_of(host_link(kept)), (Strings{"1 Egress Untagged", "100 PVID Egress Untagged"}));
  EXPECT_GUEST_OK(check("k", config({{"vlan", 100}, {"preserveDefaultVlan", true}}), kept.document));
  const auto kept_trunk = attach("kt", {{"vlanTrunk", trunk}, {"preserveDefaultVlan", true}});
  EXPECT_EQ(vlans_of(host_link(kept_trunk)), (Strings{"1 PVID Egress Untagged", "20", "21", "22"}));
  const auto stated = attach("s", {{"vlan", 100}, {"preserveDefaultVlan", false}});
  EXPECT_EQ(vlans_of(host_link(stated)), Strings{"100 PVID Egress Untagged"});
  const auto tap = attach("v", {{"vlan", 100}}, "vmlane-tap");
  EXPECT_EQ(vlans_of(host_link(tap)), Strings{"100 PVID Egress Untagged"});
  EXPECT_GUEST_OK(check("v", config({{"vlan", 100}}), tap.document, "vmlane-tap"));
  // As many separate VLANs as a trunk can have.
  Json odd = Json::array();
  for (int id = 1; id <= 4093; id += 2) odd.push_back({{"id", id}});
  const auto wide = attach("w", {{"vlanTrunk", odd}});
  EXPECT_EQ(vlans_of(host_link(wide)).size(), odd.size());
  const auto whole = attach("x", {{"vlanTrunk", {{{"minID", 1}, {"maxID", 4094}}}}});
  EXPECT_EQ(vlans_of(host_link(whole)).size(), 4094U);
  detach_all();
  EXPECT_EQ(node_snapshot(), before);
}

TEST_F(VlanGuest, BridgeOfOursIsSwitchedOnAndOffAgainAnAdministratorsIsNot) {
  const auto filtering = [this](const std::string& bridge) {
    return guest_json("", "ip -j -d link show " + bridge)
        .at(0)
        .value("/linkinfo/info_data/vlan_filtering"_json_pointer, -1);
  };
  const auto plain = attach("a", {});
  EXPECT_EQ(filtering("br1"), 0);
  const std::string with_one = node_snapshot();
  attach("b", {{"vlan", 100}});
  EXPECT_EQ(filtering("br1"), 1);
  EXPECT_GUEST_OK(del("b", config({{"vlan", 100}})));
  in_guest("ip netns del b");
  EXPECT_EQ(node_snapshot(), with_one);

  in_guest("ip link add adm address 02:00:00:00:00:b1 type bridge && ip link set adm up");
  make_guest_pod("c");
  const std::string before = node_snapshot();
  const auto refused = add("c", config({{"bridge", "adm"}, {"vlan", 100}}));
  EXPECT_EQ(refused.code(), 102) << refused;
  EXPECT_NE(refused.text().find("ip link set adm type bridge vlan_filtering 1"), std::string::npos)
      << refused;
  EXPECT_EQ(node_snapshot(), before);
  in_guest("ip link set adm type bridge vlan_filtering 1");
  const std::string switched_on = node_snapshot();
  const Json conf = config({{"bridge", "adm"}, {"vlan", 100}, {"isGateway", true}});
  EXPECT_GUEST_OK(add("c", conf));
  EXPECT_TRUE(reaches("c", "192.0.2.1"));
  EXPECT_GUEST_OK(del("c", conf));
  EXPECT_EQ(node_snapshot(), switched_on);
}

TEST_F(VlanGuest, GatewayIsOnTheBridgesDeviceInTheVlan) {
  const std::string before = node_snapshot();
  const auto dual = Json::array(
      {Json::array({{{"subnet", "192.0.2.0/24"}}}), Json::array({{{"subnet", "2001:db8:7::/64"}}})});
  const Json seven = {
      {"vlan", 7}, {"isDefaultGateway", true}, {"ipam", {{"type", "host-local"}, {"ranges", dual}}}};
  const Json eight = {
      {"name", "green"}, {"vlan", 8}, {"isGateway", true}, {"ipam", host_local("198.51.100.0/24")}};
  const auto a = attach("a", seven);
  attach("b", seven);
  const std::string two_of_seven = node_snapshot();
  make_guest_pod("c");
  const auto c = add("c", config(eight));
  EXPECT_GUEST_OK(c);
  EXPECT_TRUE(reaches("a", "192.0.2.1"));
  EXPECT_TRUE(reaches("b", "2001:db8:7::1"));
  EXPECT_TRUE(reaches("c", "198.51.100.1"));
  EXPECT_EQ(a.document.at("interfaces").size(), 3U);
  EXPECT_EQ(vlans_of("br1"), (Strings{"1 PVID Egress Untagged", "7", "8"}));
  EXPECT_NE(in_guest("ip -o addr show dev br1.7").find("192.0.2.1/24"), std::string::npos);
  EXPECT_EQ(in_guest("ip -o -4 addr show dev br1"), "") << "the bridge itself has no address";

  EXPECT_GUEST_OK(del("c", config(eight)));
  in_guest("ip netns del c");
  EXPECT_EQ(node_snapshot(), two_of_seven);
  EXPECT_GUEST_OK(del("b", config(seven)));
  EXPECT_TRUE(reaches("a", "192.0.2.1"));
  detach_all();
  EXPECT_EQ(node_snapshot(), before);

  // A name that has no room for the VLAN.
  const Json far = {{"bridge", "bridge-with-15b"}, {"vlan", 4094}, {"isGateway", true}};
  attach("f", far);
  EXPECT_EQ(guest("ip link show " + names::vlan_link("bridge-with-15b", 4094)).status, 0);
  EXPECT_TRUE(reaches("f", "192.0.2.1"));
  detach_all();
  EXPECT_EQ(node_snapshot(), before);
}

}  // namespace
}  // namespace vmlane::test
