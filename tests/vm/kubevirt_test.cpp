// SPDX-License-Identifier: Apache-2.0
// What KubeVirt's bridge binding does to a pod's interface between ADD and DEL, done again by hand; it needs
// a kernel with dummy devices. And definitions with VLANs as they are published for `bridge` and
// `cnv-bridge`.
#include "tests/vm/node_guest.h"

namespace vmlane::test {
namespace {

class KubeVirtGuest : public NodeGuest {};

TEST_F(KubeVirtGuest, BridgeBindingPassesCheckAndDelCleansUp) {
  make_guest_pod("a");
  const std::string before = node_snapshot();
  const Json conf = config({{"vlan", 100}, {"mtu", 1400}, {"mac", "02:00:00:00:00:11"}});
  const auto added = add("a", conf);
  ASSERT_GUEST_OK(added);
  // The NIC goes under another name into a bridge, with the bridge's MAC; a tap joins it there, and a dummy
  // takes its name, MAC, MTU and address.
  in_guest(
      "ip -n a link set eth0 down && ip -n a link set eth0 name eth0-nic && ip -n a addr flush dev eth0-nic "
      "&& "
      "ip -n a link add k6t-eth0 address 02:00:00:00:00:99 type bridge && "
      "ip -n a link set eth0-nic address 02:00:00:00:00:99 && ip -n a link set eth0-nic master k6t-eth0 && "
      "ip netns exec a /bin/bridge link set dev eth0-nic learning off && ip -n a link set eth0-nic up && "
      "ip -n a tuntap add tap0 mode tap user 107 group 107 vnet_hdr && ip -n a link set tap0 mtu 1400 && "
      "ip -n a link set tap0 master k6t-eth0 && ip -n a link set tap0 up && ip -n a link set k6t-eth0 up && "
      "ip -n a link add eth0 address 02:00:00:00:00:11 mtu 1400 type dummy && "
      "ip -n a addr add 192.0.2.2/24 dev eth0");
  EXPECT_GUEST_OK(check("a", conf, added.document));
  in_guest("ip -n a link set eth0 mtu 1300");
  EXPECT_EQ(check("a", conf, added.document).code(), 104);
  EXPECT_GUEST_OK(del("a", conf));
  EXPECT_EQ(node_snapshot(), before);
  EXPECT_NE(guest("ip -n a link show eth0-nic").status, 0) << "the NIC is gone under its new name as well";
}

TEST_F(KubeVirtGuest, PublishedDefinitionsWithVlansWorkWithOnlyTheTypeChanged) {
  make_guest_pod("a");
  for (const char* text :
       {R"({"cniVersion":"0.3.1","name":"mynet","type":"bridge","bridge":"mynet0","vlan":100,
            "preserveDefaultVlan":false,"ipam":{}})",
        R"({"cniVersion":"0.3.1","name":"mynet","type":"bridge","bridge":"mynet0","isGateway":true,"vlan":100,
            "ipam":{"type":"host-local","subnet":"192.0.2.0/24"}})",
        R"({"cniVersion":"0.3.1","name":"trunk","type":"bridge","bridge":"mynet0",
            "vlanTrunk":[{"id":101},{"minID":200,"maxID":299}],"ipam":{}})",
        R"({"cniVersion":"0.3.1","name":"vlan10","type":"cnv-bridge","bridge":"br1","macspoofchk":false,
            "vlan":10,"preserveDefaultVlan":false})"}) {
    SCOPED_TRACE(text);
    const std::string before = node_snapshot();
    const Json conf = Json::parse(text);
    EXPECT_GUEST_OK(add("a", conf));
    EXPECT_GUEST_OK(del("a", conf));
    EXPECT_EQ(node_snapshot(), before);
  }
}

}  // namespace
}  // namespace vmlane::test
