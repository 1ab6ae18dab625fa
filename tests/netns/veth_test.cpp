// SPDX-License-Identifier: Apache-2.0
// Traffic over vmlane-veth: containers of one network reach each other and their gateway with the addresses,
// routes and MTU they were told.
#include <filesystem>

#include "tests/support/frames.h"
#include "tests/support/long_run.h"
#include "tests/support/plugin.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

using std::chrono::milliseconds;

class VethTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  Json dual_stack() const {
    Json ipam = host_local();
    ipam["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
    return ipam;
  }
  // Attaches a new pod called `name` and returns the result of ADD.
  Json attach(const std::string& name, const Json& conf, const std::string& ifname = "eth0") {
    const CniOutcome outcome = add(make_pod(name), conf, name, ifname);
    EXPECT_CNI_OK(outcome);
    return outcome.document.value_or(Json::object());
  }
  const Pod& pod(const std::string& name) const { return *pods().at(name); }
  // The address of a family in a result, without prefix length.
  static std::string address_of(const Json& result, bool v6 = false) {
    for (const Json& ip : result["ips"]) {
      const std::string text = ip["address"];
      if ((text.find(':') != std::string::npos) == v6) return text.substr(0, text.find('/'));
    }
    return "";
  }
};

TEST_F(VethTest, ContainersReachEachOtherOverIpv4AndIpv6) {
  const Json conf = config({{"ipam", dual_stack()}});
  const Json a = attach("a", conf);
  const Json b = attach("b", conf);
  for (const bool v6 : {false, true}) {
    const std::string target = address_of(b, v6);
    const PingResult result = reach(pod("a").path(), target);
    EXPECT_TRUE(result.all()) << result.output;
    EXPECT_EQ(tcp_transfer(pod("a").path(), pod("b").path(), target, std::uint64_t{16} << 20), "");
    EXPECT_EQ(tcp_transfer(pod("b").path(), pod("a").path(), address_of(a, v6), std::uint64_t{16} << 20), "");
    EXPECT_EQ(udp_exchange(pod("a").path(), pod("b").path(), target, std::string(1400, 'u')), "");
  }
}

TEST_F(VethTest, Ipv6AddressIsUsableWhenAddReturns) {
  const Json conf = config({{"ipam", dual_stack()}});
  const Json a = attach("a", conf);
  const Json b = attach("b", conf);
  EXPECT_EQ(udp_exchange(pod("a").path(), pod("b").path(), address_of(b, true), "at once"), "");
  const RunResult tentative =
      pod("b").run({"ip", "-6", "addr", "show", "dev", "eth0", "tentative", "scope", "global"});
  EXPECT_EQ(tentative.out, "");
  EXPECT_EQ(addresses_of(pod("a").path(), "eth0").size(), 2U) << a;
}

TEST_F(VethTest, FramesOfTheMtuPassWholeAndLargerOnesAreToldSo) {
  const Json conf = config({{"mtu", 1450}});
  attach("a", conf);
  const std::string target = address_of(attach("b", conf));
  EXPECT_EQ(link_of(pod("a").path(), "eth0")["mtu"], 1450);
  constexpr int kHeaders = 28;  // IPv4 and ICMP
  const PingResult fitting =
      reach(pod("a").path(), target, {.payload = 1450 - kHeaders, .dont_fragment = true});
  EXPECT_TRUE(fitting.all()) << fitting.output;
  EXPECT_EQ(ping(pod("a").path(), target, {.count = 1, .payload = 1450 - kHeaders + 1, .dont_fragment = true})
                .received,
            0);
  EXPECT_EQ(tcp_transfer(pod("a").path(), pod("b").path(), target, std::uint64_t{4} << 20), "");
}

TEST_F(VethTest, LargeMtuWorks) {
  const Json conf = config({{"mtu", 9000}});
  attach("a", conf);
  const std::string target = address_of(attach("b", conf));
  const PingResult result = reach(pod("a").path(), target, {.payload = 8972, .dont_fragment = true});
  EXPECT_TRUE(result.all()) << result.output;
}

TEST_F(VethTest, GatewayAnswersAndIsNoRouteByItself) {
  const Json conf = config({{"isGateway", true}, {"ipam", dual_stack()}});
  attach("a", conf);
  EXPECT_TRUE(reach(pod("a").path(), "192.0.2.1").all());
  EXPECT_TRUE(reach(pod("a").path(), "2001:db8:1::1", {.count = 1}).all());
  EXPECT_NE(pod("a").run({"ip", "route", "get", "203.0.113.1"}).status, 0);
}

TEST_F(VethTest, DefaultRouteLeadsThroughTheGateway) {
  must({"ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"});
  Pod& outside = make_pod("outside");
  must({"ip", "link", "set", "up1", "netns", outside.name()});
  must({"ip", "addr", "add", "203.0.113.1/24", "dev", "up0"});
  must({"ip", "link", "set", "up0", "up"});
  ASSERT_TRUE(outside.run({"ip", "addr", "add", "203.0.113.2/24", "dev", "up1"}).ok());
  ASSERT_TRUE(outside.run({"ip", "link", "set", "up1", "up"}).ok());
  ASSERT_TRUE(outside.run({"ip", "route", "add", "default", "via", "203.0.113.1"}).ok());
  must({"sysctl", "-qw", "net.ipv4.conf.up0.forwarding=1"});
  attach("a", config({{"isDefaultGateway", true}}));
  const PingResult result = reach(pod("a").path(), "203.0.113.2");
  EXPECT_TRUE(result.all()) << result.output << pod("a").run({"ip", "route"}).out;
}

TEST_F(VethTest, RoutesOfTheIpamResultAreSetWithTheirAttributes) {
  // Stands in for an allocator of CNI 1.1: the packaged host-local knows no route attributes.
  const std::filesystem::path ipam = directory() / "bin" / "routes-ipam";
  std::filesystem::create_directories(ipam.parent_path());
  spit(ipam, R"(#!/bin/sh
[ "$CNI_COMMAND" = ADD ] || exit 0
cat >/dev/null
echo '{"cniVersion":"1.1.0","ips":[{"address":"192.0.2.5/24","gateway":"192.0.2.1"}],"routes":[
  {"dst":"198.51.100.0/24","gw":"192.0.2.9","mtu":1300,"advmss":1200,"priority":7,"table":77},
  {"dst":"203.0.113.0/25","scope":253},{"dst":"203.0.113.128/25"}],"dns":{}}'
)");
  std::filesystem::permissions(ipam, std::filesystem::perms::owner_all);
  CniCall call = this->call("ADD", make_pod("a").path(), config({{"ipam", {{"type", "routes-ipam"}}}}));
  call.path = ipam.parent_path().string();
  const CniOutcome outcome = run_call(call);
  ASSERT_CNI_OK(outcome);
  const std::string table = pod("a").run({"ip", "route", "show", "table", "77"}).out;
  for (const char* part : {"198.51.100.0/24", "via 192.0.2.9", "metric 7", "mtu 1300", "advmss 1200"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << " is not in: " << table;
  }
  const std::string main = pod("a").run({"ip", "route"}).out;
  EXPECT_NE(main.find("203.0.113.0/25 dev eth0"), std::string::npos) << main;
  EXPECT_NE(main.find("scope link"), std::string::npos) << main;
  EXPECT_NE(main.find("203.0.113.128/25 via 192.0.2.1 dev eth0"), std::string::npos)
      << "by the gateway of its family: " << main;
  EXPECT_EQ((*outcome.document)["routes"][0]["table"], 77);
}

TEST_F(VethTest, TwoNetworksOnTwoBridgesAreApart) {
  const Json blue = config();
  const Json green = config({{"name", "green"}, {"bridge", "br2"}, {"ipam", host_local("198.51.100.0/24")}});
  attach("a", blue);
  const std::string target = address_of(attach("b", blue));
  attach("c", green);
  ASSERT_TRUE(pod("c").run({"ip", "addr", "add", "192.0.2.200/24", "dev", "eth0"}).ok());
  EXPECT_TRUE(reach(pod("a").path(), target, {.count = 1}).all());
  EXPECT_EQ(ping(pod("c").path(), target, {.count = 1}).received, 0);
}

TEST_F(VethTest, HairpinModeSendsAFrameBackOutOfItsPort) {
  for (const bool hairpin : {false, true}) {
    const std::string name = hairpin ? "on" : "off";
    attach(name, config({{"hairpinMode", hairpin}, {"bridge", "br-" + name}}));
    const PacketSocket socket(pod(name).path(), "eth0");
    const MacAddress stranger = MacAddress::derived("stranger");
    socket.send(make_test_frame(broadcast_mac(), stranger, "hairpin"));
    // The sender's own copy is outgoing and not delivered to the socket that sent it.
    const auto back =
        socket.receive([](const Frame& frame) { return carries(frame, "hairpin"); }, milliseconds(500));
    EXPECT_EQ(back.has_value(), hairpin);
  }
}

TEST_F(VethTest, PromiscModeIsTheBridges) {
  attach("a", config({{"promiscMode", true}}));
  EXPECT_GE(link_of("", "br1")["promiscuity"].get<int>(), 1);
  attach("b", config({{"bridge", "br2"}}));
  EXPECT_EQ(link_of("", "br2")["promiscuity"], 0);
}

TEST_F(VethTest, NeighboursLearnANewPodsMacAtOnce) {
  const Json plain = config({{"ipam", dual_stack()}});
  const Json fixed =
      config({{"ipam", dual_stack()}, {"runtimeConfig", {{"ips", {"192.0.2.50/24", "2001:db8:1::50/64"}}}}});
  attach("a", plain);
  attach("old", fixed);
  for (const char* target : {"192.0.2.50", "2001:db8:1::50"})
    ASSERT_TRUE(reach(pod("a").path(), target, {.count = 1}).all());
  ASSERT_CNI_OK(del(pod("old").path(), fixed, "old"));
  attach("new", fixed);
  const std::string mac = link_of(pod("new").path(), "eth0")["address"];
  // No traffic, which would have the neighbour ask again in the end.
  const auto neighbours = [&] { return pod("a").run({"ip", "neigh"}).out; };
  for (const std::string target : {"192.0.2.50", "2001:db8:1::50"}) {
    EXPECT_TRUE(eventually([&] {
      return neighbours().find(target + " dev eth0 lladdr " + mac) != std::string::npos;
    })) << "the neighbour entry still has the old MAC: "
        << neighbours();
    EXPECT_TRUE(reach(pod("a").path(), target, {.count = 1}).all());
  }
}

TEST_F(VethTest, DelRemovesTheLinkFromThePod) {
  attach("a", config());
  ASSERT_CNI_OK(del(pod("a").path(), config(), "a"));
  EXPECT_EQ(link_names(pod("a").path()), std::vector<std::string>{"lo"});
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
}

TEST_F(VethTest, GibibyteOfTcpArrivesIntact) {
  attach("a", config());
  const std::string target = address_of(attach("b", config()));
  const std::uint64_t bytes = static_cast<std::uint64_t>(rounds(64, 1024)) << 20;
  EXPECT_EQ(tcp_transfer(pod("a").path(), pod("b").path(), target, bytes), "");
}

}  // namespace
}  // namespace vmlane::test
