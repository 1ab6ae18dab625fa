// SPDX-License-Identifier: Apache-2.0
// Links, bridge ports, taps and sysctls, checked against what `ip -j` sees.
#include "netlink/netlink.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include "tests/support/guest.h"
#include "tests/support/host.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using netlink::Link;
using netlink::Namespace;
using netlink::Netlink;

constexpr MacAddress kHostMac{{0x02, 0, 0, 0, 0, 0x01}};
constexpr MacAddress kPodMac{{0x02, 0, 0, 0, 0, 0x02}};
constexpr MacAddress kBridgeMac{{0x02, 0, 0, 0, 0, 0x03}};

class NetlinkTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    host_.emplace(value_of(Namespace::current()));
    pod_.emplace(value_of(Namespace::open(make_pod("a").path())));
    on_host_ = value_of(netlink::open_netlink(*host_));
    in_pod_ = value_of(netlink::open_netlink(*pod_));
  }
  static Link must_find(Netlink& where, const std::string& name) {
    const auto link = value_of(where.find_link(name));
    if (!link) throw std::runtime_error("there is no link " + name);
    return *link;
  }
  Link make_veth(const std::string& name = "v0", const std::string& peer = "eth0") {
    value_of(on_host_->create_veth({name, kHostMac, peer, kPodMac, 1400}, *pod_));
    return must_find(*on_host_, name);
  }
  Link make_bridge(std::uint32_t mtu = 1500) {
    value_of(on_host_->create_bridge({"br1", kBridgeMac, mtu}));
    return must_find(*on_host_, "br1");
  }
  std::optional<Namespace> host_;
  std::optional<Namespace> pod_;
  std::unique_ptr<Netlink> on_host_;
  std::unique_ptr<Netlink> in_pod_;
};

TEST_F(NetlinkTest, VethHasAllItsPropertiesFromTheStart) {
  const Link end = make_veth();
  EXPECT_EQ(end.name, "v0");
  EXPECT_EQ(end.kind, "veth");
  EXPECT_EQ(end.mac, kHostMac);
  EXPECT_EQ(end.mtu, 1400U);
  EXPECT_FALSE(end.up);
  const Link peer = must_find(*in_pod_, "eth0");
  EXPECT_EQ(peer.mac, kPodMac);
  EXPECT_EQ(peer.mtu, 1400U);
  EXPECT_EQ(end.peer, peer.index);
  EXPECT_EQ(peer.peer, end.index);
  EXPECT_TRUE(end.peer_namespace_id);
  EXPECT_EQ(link_of(pod_->path(), "eth0").value("address", ""), kPodMac.to_string());
  EXPECT_EQ(link_names(""), (std::vector<std::string>{"lo", "v0"}));
}

TEST_F(NetlinkTest, VethWithBothEndsInOneNamespace) {
  ASSERT_OK(on_host_->create_veth({"v0", kHostMac, "v1", kPodMac, 1500}, *host_));
  const Link end = must_find(*on_host_, "v0");
  EXPECT_EQ(end.peer, must_find(*on_host_, "v1").index);
  EXPECT_FALSE(end.peer_namespace_id);
}

TEST_F(NetlinkTest, VethSaysWhichNameIsTaken) {
  make_veth();
  EXPECT_REFUSED(on_host_->create_veth({"v0", kHostMac, "eth1", kPodMac, 1500}, *pod_), Code::kConflict,
                 "v0");
  EXPECT_REFUSED(on_host_->create_veth({"v1", kHostMac, "eth0", kPodMac, 1500}, *pod_), Code::kConflict,
                 "eth0");
  EXPECT_FALSE(value_of(on_host_->find_link("v1")));
  EXPECT_FALSE(value_of(in_pod_->find_link("eth1")));
}

TEST_F(NetlinkTest, AlternativeNameIsTakenToo) {
  must({"ip", "link", "property", "add", "dev", "lo", "altname", "v0"});
  EXPECT_REFUSED(on_host_->create_veth({"v0", kHostMac, "eth0", kPodMac, 1500}, *pod_), Code::kConflict,
                 "v0");
  EXPECT_EQ(must_find(*on_host_, "v0").name, "lo");
}

// A DEL races the kernel, which takes links away with their namespace, and has to know this from a refusal.
TEST_F(NetlinkTest, ChangesOfALinkThatIsGoneSayThatItIs) {
  constexpr int kGone = 4711;
  const IpPrefix address = value_of(IpPrefix::parse("192.0.2.1/24"));
  for (const Result<>& changed :
       {on_host_->change_link(kGone, {.up = false}), on_host_->change_link(kGone, {.alias = "x"}),
        on_host_->change_bridge_port(kGone, {.hairpin = true}),
        on_host_->add_address(kGone, {address, true})}) {
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code, Code::kNotFound) << changed.error().text();
  }
  EXPECT_TRUE(on_host_->delete_link(kGone));
  EXPECT_TRUE(on_host_->remove_address(kGone, address));
}

TEST_F(NetlinkTest, KernelsReasonIsInTheDetails) {
  const auto refused = on_host_->create_bridge({"br1", kBridgeMac, 1U << 30});
  EXPECT_REFUSED(refused, Code::kKernel, "br1");
  EXPECT_NE(refused.error().details.find("mtu"), std::string::npos) << refused.error().text();
}

TEST_F(NetlinkTest, BridgeKeepsMacAndMtuWhateverItsPortsAre) {
  for (const std::uint32_t mtu : {68U, 1500U, 9000U, 65535U}) {
    const Link bridge = make_bridge(mtu);
    EXPECT_EQ(bridge.kind, "bridge");
    const Link port = make_veth();
    for (const int master : {bridge.index, 0}) {
      ASSERT_OK(on_host_->change_link(port.index, {.mtu = 1280, .master = master}));
      const Link now = must_find(*on_host_, "br1");
      EXPECT_EQ(now.mac, kBridgeMac);
      EXPECT_EQ(now.mtu, mtu);
    }
    ASSERT_OK(on_host_->delete_link(port.index));
    ASSERT_OK(on_host_->delete_link(bridge.index));
  }
}

TEST_F(NetlinkTest, BridgeOfTakenNameIsAConflictAndLeftAlone) {
  make_bridge();
  EXPECT_REFUSED(on_host_->create_bridge({"br1", kHostMac, 9000}), Code::kConflict, "br1");
  const Link bridge = must_find(*on_host_, "br1");
  EXPECT_EQ(bridge.mac, kBridgeMac);
  EXPECT_EQ(bridge.mtu, 1500U);
}

TEST_F(NetlinkTest, FindsByNameAndIndexAndMissesNothing) {
  const Link end = make_veth();
  EXPECT_EQ(value_of(on_host_->find_link(end.index))->name, "v0");
  EXPECT_EQ(must_find(*on_host_, "lo").index, 1);
  EXPECT_TRUE(must_find(*on_host_, "lo").loopback);
  EXPECT_FALSE(value_of(on_host_->find_link("nothing")));
  EXPECT_FALSE(value_of(on_host_->find_link(4711)));
  std::vector<std::string> names;
  for (const Link& link : value_of(on_host_->links())) names.push_back(link.name);
  std::ranges::sort(names);
  EXPECT_EQ(names, link_names(""));
}

TEST_F(NetlinkTest, ChangesEveryProperty) {
  const Link bridge = make_bridge();
  const Link end = make_veth();
  ASSERT_OK(on_host_->change_link(end.index, {.up = true,
                                              .mtu = 1300,
                                              .mac = MacAddress{{0x02, 0, 0, 0, 0, 0x77}},
                                              .master = bridge.index,
                                              .alias = "vmlane:test",
                                              .arp = false,
                                              .promiscuous = true}));
  Link now = must_find(*on_host_, "v0");
  EXPECT_TRUE(now.up);
  EXPECT_FALSE(now.carrier);
  EXPECT_EQ(now.mtu, 1300U);
  EXPECT_EQ(now.mac.to_string(), "02:00:00:00:00:77");
  EXPECT_EQ(now.master, bridge.index);
  EXPECT_EQ(now.alias, "vmlane:test");
  EXPECT_FALSE(now.arp);
  EXPECT_TRUE(now.promiscuous);
  const Json seen = link_of("", "v0");
  EXPECT_EQ(seen.value("ifalias", ""), "vmlane:test");
  EXPECT_EQ(seen.value("master", ""), "br1");

  ASSERT_OK(on_host_->change_link(must_find(*in_pod_, "eth0").index, {}));
  ASSERT_OK(in_pod_->change_link(must_find(*in_pod_, "eth0").index, {.up = true}));
  EXPECT_TRUE(must_find(*on_host_, "v0").carrier);

  ASSERT_OK(on_host_->change_link(
      end.index, {.up = false, .master = 0, .alias = "", .name = "v9", .arp = true, .promiscuous = false}));
  now = must_find(*on_host_, "v9");
  EXPECT_FALSE(now.up);
  EXPECT_EQ(now.master, 0);
  EXPECT_EQ(now.alias, "");
  EXPECT_TRUE(now.arp);
  EXPECT_FALSE(now.promiscuous);
  EXPECT_EQ(now.mtu, 1300U);
}

TEST_F(NetlinkTest, ChangeRefusals) {
  const Link end = make_veth();
  EXPECT_REFUSED(on_host_->change_link(end.index, {.name = "lo"}), Code::kConflict, "lo");
  EXPECT_REFUSED(on_host_->change_link(end.index, {.alias = std::string(256, 'a')}), Code::kKernel, "change");
  EXPECT_REFUSED(on_host_->change_link(end.index, {.alias = std::string(100000, 'a')}), Code::kInternal,
                 "longer");
  EXPECT_REFUSED(on_host_->change_link(4711, {.up = true}), Code::kNotFound, "4711");
}

TEST_F(NetlinkTest, LinkThatComesUpWithoutAddressGenerationHasNoAddress) {
  make_veth();
  const int index = must_find(*in_pod_, "eth0").index;
  ASSERT_OK(on_host_->change_link(must_find(*on_host_, "v0").index, {.up = true}));
  ASSERT_OK(in_pod_->change_link(index, {.up = true, .no_ipv6_address_generation = true}));
  ASSERT_TRUE(must_find(*in_pod_, "eth0").carrier);
  EXPECT_TRUE(value_of(in_pod_->addresses(index)).empty());
  EXPECT_EQ(link_of(pod_->path(), "eth0").value("inet6_addr_gen_mode", ""), "none");
}

TEST_F(NetlinkTest, DeleteTakesThePeerAndIsRepeatable) {
  const Link end = make_veth();
  EXPECT_OK(on_host_->delete_link(end.index));
  EXPECT_OK(on_host_->delete_link(end.index));
  EXPECT_FALSE(value_of(in_pod_->find_link("eth0")));
  EXPECT_REFUSED(on_host_->delete_link(1), Code::kKernel, "index 1");
}

TEST_F(NetlinkTest, DeleteGroupTakesItsLinksWithTheirPeersAndNoOthers) {
  constexpr std::uint32_t kGroup = 0x7654321;
  make_veth();
  must({"ip", "-n", "a", "tuntap", "add", "tap7", "mode", "tap"});
  must({"ip", "-n", "a", "tuntap", "add", "other", "mode", "tap"});
  for (const char* name : {"eth0", "tap7"}) {
    ASSERT_OK(in_pod_->change_link(must_find(*in_pod_, name).index, {.group = kGroup}));
    EXPECT_EQ(must_find(*in_pod_, name).group, kGroup);
  }
  EXPECT_OK(in_pod_->delete_group(kGroup));
  EXPECT_FALSE(value_of(in_pod_->find_link("eth0")));
  EXPECT_FALSE(value_of(in_pod_->find_link("tap7")));
  EXPECT_TRUE(value_of(in_pod_->find_link("other")));
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
  EXPECT_OK(in_pod_->delete_group(kGroup)) << "none is success";
}

TEST_F(NetlinkTest, BridgePortFlags) {
  const Link bridge = make_bridge();
  const Link end = make_veth();
  EXPECT_REFUSED(on_host_->bridge_port(end.index), Code::kNotFound, "no bridge port");
  EXPECT_REFUSED(on_host_->bridge_port(4711), Code::kNotFound, "4711");
  EXPECT_REFUSED(on_host_->change_bridge_port(end.index, {.hairpin = true}), Code::kKernel,
                 std::to_string(end.index));
  ASSERT_OK(on_host_->change_link(end.index, {.master = bridge.index}));
  netlink::BridgePort port = value_of(on_host_->bridge_port(end.index));
  EXPECT_FALSE(port.hairpin || port.isolated);
  EXPECT_TRUE(port.learning && port.flood);
  ASSERT_OK(on_host_->change_bridge_port(end.index, {.hairpin = true, .isolated = true}));
  ASSERT_OK(on_host_->change_bridge_port(end.index, {.learning = false, .flood = false}));
  port = value_of(on_host_->bridge_port(end.index));
  EXPECT_TRUE(port.hairpin && port.isolated);
  EXPECT_FALSE(port.learning || port.flood);
  const Json flags = link_of("", "v0")["linkinfo"]["info_slave_data"];
  EXPECT_TRUE(flags.value("hairpin", false) && flags.value("isolated", false));
  EXPECT_FALSE(flags.value("learning", true) || flags.value("flood", true));
}

TEST_F(NetlinkTest, ListsWhileLinksComeAndGo) {
  std::jthread churn([&](const std::stop_token& stop) {
    const auto mine = value_of(netlink::open_netlink(*host_));
    for (int i = 0; !stop.stop_requested(); i++) {
      const std::string name = "c" + std::to_string(i % 50);
      value_of(mine->create_veth({name, kHostMac, name + "p", kPodMac, 1500}, *host_));
      if (i % 50 == 49) {
        for (int j = 0; j < 50; j++)
          value_of(mine->delete_link(must_find(*mine, "c" + std::to_string(j)).index));
      }
    }
  });
  for (int i = 0; i < 300; i++) {
    const auto links = on_host_->links();
    ASSERT_TRUE(links) << links.error().text();
    ASSERT_TRUE(std::ranges::any_of(*links, &Link::loopback));
    ASSERT_OK(on_host_->addresses(links->back().index));
    ASSERT_OK(on_host_->routes(links->back().index));
  }
}

TEST_F(NetlinkTest, WorksInANamespaceThatLostItsName) {
  make_veth();
  const int index = must_find(*in_pod_, "eth0").index;
  pods().at("a")->remove();
  EXPECT_TRUE(value_of(in_pod_->find_link("eth0")));
  EXPECT_OK(in_pod_->delete_link(index));
}

TEST_F(NetlinkTest, TapBelongsToItsOwner) {
  for (const bool multi_queue : {false, true}) {
    ASSERT_OK(netlink::create_tap(*pod_, {"tap0", 4107, 4108, multi_queue}));
    const netlink::TapInfo info = value_of(netlink::tap_info(*pod_, "tap0"));
    EXPECT_EQ(info.owner, 4107U);
    EXPECT_EQ(info.group, 4108U);
    EXPECT_EQ(info.multi_queue, multi_queue);
    EXPECT_TRUE(info.vnet_hdr && info.persistent);
    const Link tap = must_find(*in_pod_, "tap0");
    EXPECT_EQ(tap.kind, "tun");
    EXPECT_FALSE(tap.up);
    EXPECT_TRUE(tap.mac.usable());
    EXPECT_EQ(link_of(pod_->path(), "tap0")["linkinfo"]["info_data"].value("vnet_hdr", false), true);
    EXPECT_FALSE(value_of(on_host_->find_link("tap0")));
    ASSERT_OK(in_pod_->delete_link(tap.index));
  }
}

TEST_F(NetlinkTest, TapIsOpenedByItsOwnerOnly) {
  ASSERT_OK(netlink::create_tap(*pod_, {"tap0", 4107, 4107, false}));
  EXPECT_EQ(open_tap(pod_->path(), "tap0", 4106, false).error, EPERM);
  EXPECT_EQ(open_tap(pod_->path(), "tap0", 4107, true).error, EINVAL);
  EXPECT_EQ(open_tap(pod_->path(), "tap0", 4107, false).error, 0);
}

TEST_F(NetlinkTest, TapOfTakenNameIsAConflictAndLeftAlone) {
  ASSERT_OK(netlink::create_tap(*pod_, {"tap0", 4107, 4107, false}));
  make_veth();
  EXPECT_REFUSED(netlink::create_tap(*pod_, {"tap0", 107, 107, false}), Code::kConflict, "tap0");
  EXPECT_REFUSED(netlink::create_tap(*pod_, {"eth0", 107, 107, false}), Code::kConflict, "eth0");
  EXPECT_EQ(value_of(netlink::tap_info(*pod_, "tap0")).owner, 4107U);
}

TEST_F(NetlinkTest, TapThatCannotBeFinishedIsNotLeft) {
  // No group of this number exists in the user namespace, so the last but one step is refused.
  EXPECT_REFUSED(netlink::create_tap(*pod_, {"tap0", 107, ~0U, false}), Code::kKernel, "group of tap tap0");
  EXPECT_FALSE(value_of(in_pod_->find_link("tap0")));
  EXPECT_REFUSED(netlink::create_tap(*pod_, {"a-name-of-16-byt", 107, 107, false}), Code::kKernel,
                 "15 bytes");
}

TEST_F(NetlinkTest, TapInfoOfWhatIsNoTap) {
  make_veth();
  ASSERT_TRUE(pods().at("a")->run({"ip", "tuntap", "add", "tun0", "mode", "tun"}).ok());
  EXPECT_REFUSED(netlink::tap_info(*pod_, "eth0"), Code::kNotFound, "eth0");
  EXPECT_REFUSED(netlink::tap_info(*pod_, "tun0"), Code::kNotFound, "tun0");
  EXPECT_REFUSED(netlink::tap_info(*pod_, "tap7"), Code::kNotFound, "tap7");
}

TEST_F(NetlinkTest, SysctlsOfALink) {
  make_veth();
  ASSERT_OK(netlink::write_link_sysctl(*pod_, "ipv6", "eth0", "disable_ipv6", "1"));
  EXPECT_EQ(value_of(netlink::read_link_sysctl(*pod_, "ipv6", "eth0", "disable_ipv6")), "1");
  EXPECT_EQ(value_of(netlink::read_link_sysctl(*host_, "ipv6", "v0", "disable_ipv6")), "0");
  ASSERT_OK(netlink::write_link_sysctl(*pod_, "ipv4", "eth0", "arp_notify", "1"));
  EXPECT_EQ(value_of(netlink::read_link_sysctl(*pod_, "ipv4", "eth0", "arp_notify")), "1");
  EXPECT_REFUSED(netlink::write_link_sysctl(*pod_, "ipv6", "eth7", "disable_ipv6", "1"), Code::kNotFound,
                 "eth7");
  EXPECT_REFUSED(netlink::write_link_sysctl(*pod_, "ipv4", "eth0", "no_such", "1"), Code::kNotFound,
                 "no_such");
  EXPECT_REFUSED(netlink::write_link_sysctl(*pod_, "ipv6", "eth0", "disable_ipv6", "many"), Code::kKernel,
                 "many");
  EXPECT_FALSE(value_of(netlink::read_link_sysctl(*pod_, "ipv6", "eth7", "disable_ipv6")));
}

TEST_F(NetlinkTest, LinkTooSmallForIpv6HasNothingToSwitchOff) {
  ASSERT_OK(on_host_->create_veth({"v0", kHostMac, "eth0", kPodMac, 1000}, *pod_));
  EXPECT_OK(netlink::write_link_sysctl(*pod_, "ipv6", "eth0", "disable_ipv6", "1"));
  EXPECT_OK(in_pod_->change_link(must_find(*in_pod_, "eth0").index, {.no_ipv6_address_generation = true}));
}

}  // namespace
}  // namespace vmlane::test
