// SPDX-License-Identifier: Apache-2.0
// Addresses and routes, checked against what `ip -j` sees.
#include <linux/rtnetlink.h>

#include <algorithm>
#include <tuple>

#include "netlink/netlink.h"
#include "tests/support/host.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using netlink::Namespace;
using netlink::Netlink;
using netlink::Route;

IpPrefix prefix(const char* text) {
  return value_of(IpPrefix::parse(text));
}
IpAddress address(const char* text) {
  return value_of(IpAddress::parse(text));
}

// A link x0 that is up and has a peer, in the host's namespace.
class NetlinkIpTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const Namespace host = value_of(Namespace::current());
    netlink_ = value_of(netlink::open_netlink(host));
    ASSERT_OK(netlink_->create_veth({"x0", MacAddress::derived("x0"), "x1", MacAddress::derived("x1"), 1500},
                                    host));
    x0_ = value_of(netlink_->find_link("x0"))->index;
    x1_ = value_of(netlink_->find_link("x1"))->index;
    for (const int index : {x0_, x1_}) {
      ASSERT_OK(netlink_->change_link(index, {.up = true, .no_ipv6_address_generation = true}));
    }
  }
  std::vector<IpPrefix> prefixes(int index) {
    std::vector<IpPrefix> found;
    for (const auto& entry : value_of(netlink_->addresses(index))) found.push_back(entry.prefix);
    return found;
  }
  bool has_route(const Route& route) {
    const auto routes = value_of(netlink_->routes(route.interface));
    return std::ranges::find(routes, route) != routes.end();
  }

  std::unique_ptr<Netlink> netlink_;
  int x0_ = 0;
  int x1_ = 0;
};

TEST_F(NetlinkIpTest, AddressesComeAndGo) {
  ASSERT_OK(netlink_->add_address(x0_, {prefix("192.0.2.5/24")}));
  ASSERT_OK(netlink_->add_address(x0_, {prefix("198.51.100.1/31")}));
  ASSERT_OK(netlink_->add_address(x0_, {prefix("2001:db8::5/64"), true}));
  EXPECT_EQ(addresses_of("", "x0"),
            (std::vector<std::string>{"192.0.2.5/24", "198.51.100.1/31", "2001:db8::5/64"}));
  EXPECT_EQ(prefixes(x0_), (std::vector<IpPrefix>{prefix("192.0.2.5/24"), prefix("198.51.100.1/31"),
                                                  prefix("2001:db8::5/64")}));
  EXPECT_TRUE(prefixes(x1_).empty());
  const Json seen = ip_json("", {"-4", "addr", "show", "dev", "x0"})[0]["addr_info"];
  EXPECT_EQ(seen[0].value("broadcast", ""), "192.0.2.255");
  EXPECT_EQ(seen[1].value("broadcast", "none"), "none");
  for (const auto& entry : value_of(netlink_->addresses(x0_))) EXPECT_TRUE(entry.permanent);

  // Again is success, in both directions.
  for (const char* text : {"192.0.2.5/24", "2001:db8::5/64"}) {
    EXPECT_OK(netlink_->add_address(x0_, {prefix(text), true}));
    EXPECT_OK(netlink_->remove_address(x0_, prefix(text)));
    EXPECT_OK(netlink_->remove_address(x0_, prefix(text)));
    EXPECT_OK(netlink_->remove_address(4711, prefix(text)));
  }
  EXPECT_EQ(prefixes(x0_), std::vector<IpPrefix>{prefix("198.51.100.1/31")});
}

TEST_F(NetlinkIpTest, AddressWithAnotherPrefixLength) {
  ASSERT_OK(netlink_->add_address(x0_, {prefix("2001:db8::5/64"), true}));
  EXPECT_REFUSED(netlink_->add_address(x0_, {prefix("2001:db8::5/112"), true}), Code::kConflict,
                 "2001:db8::5/112");
  ASSERT_OK(netlink_->add_address(x0_, {prefix("192.0.2.5/24")}));
  EXPECT_OK(netlink_->add_address(x0_, {prefix("192.0.2.5/28")}));
  EXPECT_EQ(prefixes(x0_).size(), 3U);
}

TEST_F(NetlinkIpTest, DuplicateDetectionOnlyWhereAskedFor) {
  ASSERT_OK(netlink_->add_address(x0_, {prefix("2001:db8::6/64"), true}));
  ASSERT_OK(netlink_->add_address(x1_, {prefix("2001:db8::7/64"), false}));
  EXPECT_FALSE(value_of(netlink_->addresses(x0_)).at(0).tentative);
  EXPECT_TRUE(value_of(netlink_->addresses(x1_)).at(0).tentative);
  EXPECT_TRUE(eventually([&] { return !value_of(netlink_->addresses(x1_)).at(0).tentative; }));
  // The same address on the other end of the wire is found by detection.
  ASSERT_OK(netlink_->add_address(x1_, {prefix("2001:db8::6/64"), false}));
  EXPECT_TRUE(eventually([&] {
    return std::ranges::any_of(value_of(netlink_->addresses(x1_)), &netlink::AddressEntry::dad_failed);
  }));
}

TEST_F(NetlinkIpTest, LinkThatIsGoneHasNoAddressesAndTakesNone) {
  EXPECT_TRUE(value_of(netlink_->addresses(4711)).empty());
  EXPECT_TRUE(value_of(netlink_->routes(4711)).empty());
  EXPECT_REFUSED(netlink_->add_address(4711, {prefix("192.0.2.5/24")}), Code::kNotFound, "192.0.2.5/24");
  EXPECT_REFUSED(netlink_->add_route({.destination = prefix("0.0.0.0/0"), .interface = 4711}),
                 Code::kNotFound, "0.0.0.0/0");
}

TEST_F(NetlinkIpTest, RoutesReadBackAsAskedFor) {
  ASSERT_OK(netlink_->add_address(x0_, {prefix("192.0.2.5/24")}));
  ASSERT_OK(netlink_->add_address(x0_, {prefix("2001:db8::5/64"), true}));
  const std::vector<Route> routes = {
      {.destination = prefix("0.0.0.0/0"), .gateway = address("192.0.2.1"), .interface = x0_},
      {.destination = prefix("::/0"), .gateway = address("2001:db8::1"), .interface = x0_},
      {.destination = prefix("198.51.100.0/24"), .interface = x0_},
      {.destination = prefix("2001:db8:1::/48"), .interface = x0_},
      {.destination = prefix("203.0.113.0/25"),
       .gateway = address("192.0.2.1"),
       .interface = x0_,
       .priority = 77},
      {.destination = prefix("203.0.113.0/25"),
       .gateway = address("192.0.2.2"),
       .interface = x0_,
       .priority = 78,
       .mtu = 1400,
       .advmss = 1340},
      {.destination = prefix("2001:db8:2::/48"),
       .gateway = address("2001:db8::2"),
       .interface = x0_,
       .priority = 5,
       .table = 1000,
       .mtu = 1300},
      {.destination = prefix("203.0.113.128/25"), .interface = x0_, .table = 100000, .scope = RT_SCOPE_HOST},
      {.destination = prefix("203.0.113.7/32"), .gateway = address("2001:db8::9"), .interface = x0_},
  };
  for (const Route& route : routes) {
    EXPECT_OK(netlink_->add_route(route));
    EXPECT_TRUE(has_route(route)) << route.destination.to_string();
    EXPECT_OK(netlink_->add_route(route));
  }
  const auto all = value_of(netlink_->routes(0));
  for (const Route& route : routes)
    EXPECT_EQ(std::ranges::count(all, route), 1) << route.destination.to_string();
  EXPECT_EQ(ip_json("", {"route", "show", "default"})[0].value("gateway", ""), "192.0.2.1");
  const Json metrics = ip_json("", {"route", "show", "203.0.113.0/25", "metric", "78"})[0]["metrics"][0];
  EXPECT_EQ(metrics.value("mtu", 0), 1400);
  EXPECT_EQ(metrics.value("advmss", 0), 1340);
}

TEST_F(NetlinkIpTest, HostBitsOfADestinationAreCleared) {
  ASSERT_OK(netlink_->add_route({.destination = prefix("198.51.100.77/24"), .interface = x0_}));
  EXPECT_TRUE(has_route({.destination = prefix("198.51.100.0/24"), .interface = x0_}));
  EXPECT_OK(netlink_->add_route({.destination = prefix("198.51.100.78/24"), .interface = x0_}));
}

TEST_F(NetlinkIpTest, RoutesOfOneLinkOnlyAndNoLocalOnes) {
  ASSERT_OK(netlink_->add_address(x0_, {prefix("192.0.2.5/24")}));
  ASSERT_OK(netlink_->add_address(x1_, {prefix("198.51.100.5/24")}));
  EXPECT_EQ(value_of(netlink_->routes(x1_)).size(), 1U);
  EXPECT_EQ(value_of(netlink_->routes(0)).size(), 2U);
  // Each hop of a multipath route counts for its own link.
  must({"ip", "route", "add", "203.0.113.0/24", "nexthop", "via", "192.0.2.1", "nexthop", "via",
        "198.51.100.1"});
  EXPECT_TRUE(has_route(
      {.destination = prefix("203.0.113.0/24"), .gateway = address("198.51.100.1"), .interface = x1_}));
  EXPECT_EQ(value_of(netlink_->routes(x1_)).size(), 2U);
}

TEST_F(NetlinkIpTest, AnotherRouteInThePlaceIsAConflict) {
  ASSERT_OK(netlink_->add_address(x0_, {prefix("192.0.2.5/24")}));
  ASSERT_OK(netlink_->add_address(x0_, {prefix("2001:db8::5/64"), true}));
  for (const auto& [destination, first, second] : {std::tuple("0.0.0.0/0", "192.0.2.1", "192.0.2.2"),
                                                   std::tuple("::/0", "2001:db8::1", "2001:db8::2")}) {
    Route route{.destination = prefix(destination), .gateway = address(first), .interface = x0_};
    ASSERT_OK(netlink_->add_route(route));
    route.gateway = address(second);
    EXPECT_REFUSED(netlink_->add_route(route), Code::kConflict, destination);
    route.priority = 2000;
    EXPECT_OK(netlink_->add_route(route));
  }
}

TEST_F(NetlinkIpTest, UnreachableGatewayIsRefusedWithTheKernelsReason) {
  const auto refused = netlink_->add_route(
      {.destination = prefix("0.0.0.0/0"), .gateway = address("192.0.2.1"), .interface = x0_});
  EXPECT_REFUSED(refused, Code::kKernel, "192.0.2.1");
  EXPECT_NE(refused.error().details.find("gateway"), std::string::npos) << refused.error().text();
}

}  // namespace
}  // namespace vmlane::test
