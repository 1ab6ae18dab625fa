// SPDX-License-Identifier: Apache-2.0
// The source guard: what a workload sends under a sender that is not its own, or in a part that is not a
// guest's, does not reach the bridge or a macvtap's lower device; all that an honest guest needs does.
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "ebpf/workload.h"
#include "tests/conformance/sender_test.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

constexpr std::uint16_t kIpv6 = 0x86dd;
constexpr std::uint8_t kUdpProtocol = 17;
constexpr std::uint16_t kRarp = 0x8035;
constexpr std::uint8_t kTcpProtocol = 6;
constexpr std::uint8_t kIcmpv6 = 58;
constexpr std::uint8_t kHopByHop = 0;
constexpr std::uint8_t kFragment = 44;
constexpr MacAddress kStrangeMac{{0x02, 0, 0, 0, 0, 0x66}};
constexpr MacAddress kVrrp{{0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a}};

std::vector<std::uint8_t> ip_bytes(const std::string& text) {
  const IpAddress address = IpAddress::parse(text).value();
  return {address.bytes.begin(), address.bytes.begin() + (address.v6 ? 16 : 4)};
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes mac_bytes(const MacAddress& mac) {
  return {mac.bytes.begin(), mac.bytes.end()};
}

Bytes padded(Bytes payload) {
  if (payload.size() < 46) payload.resize(46);
  return payload;
}

Bytes arp(std::uint8_t operation, const MacAddress& sender, const std::string& address,
          const std::string& target = "192.0.2.1") {
  return padded(Bytes{0, 1, 8, 0, 6, 4, 0, operation} + mac_bytes(sender) + ip_bytes(address) + Bytes(6) +
                ip_bytes(target));
}

// IPv4 with `payload` of that protocol; `fragment` is the field of flags and offset. The checksum is right,
// or the bridge's netfilter would drop it.
Bytes ipv4(const std::string& source, const std::string& destination, std::uint8_t protocol,
           const Bytes& payload, std::uint16_t fragment = 0) {
  const auto length = static_cast<std::uint16_t>(20 + payload.size());
  Bytes header = Bytes{0x45,
                       0,
                       static_cast<std::uint8_t>(length >> 8),
                       static_cast<std::uint8_t>(length),
                       0,
                       1,
                       static_cast<std::uint8_t>(fragment >> 8),
                       static_cast<std::uint8_t>(fragment),
                       64,
                       protocol,
                       0,
                       0} +
                 ip_bytes(source) + ip_bytes(destination);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < header.size(); i += 2) sum += header[i] << 8 | header[i + 1];
  sum = ~((sum & 0xffff) + (sum >> 16));
  header[10] = static_cast<std::uint8_t>(sum >> 8);
  header[11] = static_cast<std::uint8_t>(sum);
  return header + payload;
}

Bytes udp(std::uint16_t source, std::uint16_t destination) {
  return {static_cast<std::uint8_t>(source >> 8),
          static_cast<std::uint8_t>(source),
          static_cast<std::uint8_t>(destination >> 8),
          static_cast<std::uint8_t>(destination),
          0,
          16,
          0,
          0,
          1,
          2,
          3,
          4,
          5,
          6,
          7,
          8};
}

Bytes ipv6(const std::string& source, const std::string& destination, std::uint8_t next, const Bytes& payload,
           std::uint8_t hop_limit = 255) {
  return Bytes{0x60, 0, 0, 0, 0, static_cast<std::uint8_t>(payload.size()), next, hop_limit} +
         ip_bytes(source) + ip_bytes(destination) + payload;
}

// A neighbour solicitation or advertisement for `target`, with a link-layer address option unless `mac` is
// none.
Bytes nd(std::uint8_t type, const std::string& target, const MacAddress* mac) {
  Bytes message = Bytes{type, 0, 0, 0, 0x60, 0, 0, 0} + ip_bytes(target);
  if (mac != nullptr)
    message = message + Bytes{static_cast<std::uint8_t>(type == 135 ? 1 : 2), 1} + mac_bytes(*mac);
  return message;
}

// One row of the table: what is sent, and whether it is to pass.
struct Row {
  std::string what;
  std::uint16_t type;
  Bytes payload;
  bool passes;
  std::optional<MacAddress> source = std::nullopt;       // the workload's own when unset
  std::optional<MacAddress> destination = std::nullopt;  // broadcast when unset
};

class SourceGuardTest : public SenderTest {
 protected:
  // With 192.0.2.x and 2001:db8::x from IPAM.
  void attach(const Json& more = Json::object()) {
    Json keys = {{"spoofCheck", true}, {"ipam", dual_stack()}};
    if (is_guest_lane()) keys["guestAnswers"] = false;
    keys.update(more);
    SenderTest::attach(keys);
    for (const Json& ip : result_["ips"]) {
      const std::string address = ip["address"].get<std::string>();
      const std::string bare = address.substr(0, address.find('/'));
      (bare.find(':') == std::string::npos ? v4_ : v6_) = bare;
    }
    link_local_ = mac_.link_local().to_string();
  }
  Json dual_stack() const {
    return {{"type", "host-local"},
            {"dataDir", ipam_dir().string()},
            {"ranges", {{{{"subnet", "192.0.2.0/24"}}}, {{{"subnet", "2001:db8::/64"}}}}}};
  }
  void expect(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      const Frame frame = make_frame(row.destination.value_or(broadcast_mac()), row.source.value_or(mac_),
                                     row.type, row.payload);
      EXPECT_EQ(passes(frame), row.passes) << row.what;
    }
  }

  std::string v4_;
  std::string v6_;
  std::string link_local_;
};

TEST_P(SourceGuardTest, ArpSpeaksForTheWorkloadAlone) {
  attach();
  expect({{"request", kEtherTypeArp, arp(1, mac_, v4_), true},
          {"gratuitous", kEtherTypeArp, arp(1, mac_, v4_, v4_), true},
          {"probe", kEtherTypeArp, arp(1, mac_, "0.0.0.0", v4_), true},
          {"reply", kEtherTypeArp, arp(2, mac_, v4_), true},
          {"reply for the gateway", kEtherTypeArp, arp(2, mac_, "192.0.2.1"), false},
          {"request as a neighbour", kEtherTypeArp, arp(1, mac_, "192.0.2.99"), false},
          {"another hardware sender", kEtherTypeArp, arp(1, kStrangeMac, v4_), false},
          {"another operation", kEtherTypeArp, arp(8, mac_, v4_), false},
          {"reply from nobody", kEtherTypeArp, arp(2, mac_, "0.0.0.0"), false},
          {"cut short", kEtherTypeArp, Bytes(12), false},
          {"announcement of a migrated guest", kRarp, arp(3, mac_, "0.0.0.0"), true},
          {"announcement of another", kRarp, arp(3, kStrangeMac, "0.0.0.0"), false}});
}

TEST_P(SourceGuardTest, Ipv4ComesFromTheWorkloadsAddress) {
  attach();
  const std::string all = "255.255.255.255";
  expect(
      {{"own", kEtherTypeIpv4, ipv4(v4_, "198.51.100.1", kTcpProtocol, Bytes(20)), true},
       {"own, UDP", kEtherTypeIpv4, ipv4(v4_, "198.51.100.1", kUdpProtocol, udp(1000, 53)), true},
       {"own, later fragment", kEtherTypeIpv4, ipv4(v4_, "198.51.100.1", kUdpProtocol, Bytes(16), 100), true},
       {"a neighbour's", kEtherTypeIpv4, ipv4("192.0.2.99", "198.51.100.1", kTcpProtocol, Bytes(20)), false},
       {"a neighbour's, fragment", kEtherTypeIpv4,
        ipv4("192.0.2.99", "198.51.100.1", kUdpProtocol, Bytes(16), 100), false},
       {"link-local", kEtherTypeIpv4, ipv4("169.254.7.7", "224.0.0.251", kUdpProtocol, udp(5353, 5353)),
        false},
       {"DHCP client", kEtherTypeIpv4, ipv4("0.0.0.0", all, kUdpProtocol, udp(68, 67)), true},
       {"no address, no DHCP", kEtherTypeIpv4, ipv4("0.0.0.0", all, kUdpProtocol, udp(1000, 67)), false},
       {"no address, not to all", kEtherTypeIpv4, ipv4("0.0.0.0", "192.0.2.1", kUdpProtocol, udp(68, 67)),
        false},
       {"DHCP server", kEtherTypeIpv4, ipv4(v4_, all, kUdpProtocol, udp(67, 68)), false},
       {"header cut short", kEtherTypeIpv4, Bytes{0x45, 0, 0, 20}, false},
       {"no IPv4", kEtherTypeIpv4, Bytes(46), false}});
}

TEST_P(SourceGuardTest, Ipv6ComesFromTheWorkloadsAddresses) {
  attach();
  const std::string peer = "2001:db8::1";
  const Bytes mld_header = {kIcmpv6, 0, 5, 2, 0, 0, 1, 0};
  expect(
      {{"own", kIpv6, ipv6(v6_, peer, kTcpProtocol, Bytes(20)), true},
       {"link-local of the MAC", kIpv6, ipv6(link_local_, "ff02::2", kUdpProtocol, udp(1000, 53)), true},
       {"a neighbour's", kIpv6, ipv6("2001:db8::99", peer, kTcpProtocol, Bytes(20)), false},
       {"unspecified", kIpv6, ipv6("::", peer, kTcpProtocol, Bytes(20)), false},
       {"MLD before there is an address", kIpv6,
        ipv6("::", "ff02::16", kHopByHop, mld_header + Bytes{143, 0, 0, 0, 0, 0, 0, 0}), true},
       {"DHCPv6 client", kIpv6, ipv6(link_local_, "ff02::1:2", kUdpProtocol, udp(546, 547)), true},
       {"DHCPv6 server", kIpv6, ipv6(link_local_, peer, kUdpProtocol, udp(547, 546)), false},
       {"DHCPv6 server behind a header", kIpv6,
        ipv6(link_local_, peer, kHopByHop, Bytes{kUdpProtocol, 0, 1, 4, 0, 0, 0, 0} + udp(547, 546)), false},
       {"header cut short", kIpv6, Bytes{0x60, 0, 0, 0}, false},
       {"no IPv6", kIpv6, Bytes(46), false}});
}

TEST_P(SourceGuardTest, NeighbourDiscoverySpeaksForTheWorkloadAlone) {
  attach();
  const std::string all = "ff02::1";
  const Bytes fragment = {kIcmpv6, 0, 0, 1, 0, 0, 0, 7};
  expect({{"solicitation", kIpv6, ipv6(v6_, all, kIcmpv6, nd(135, "2001:db8::1", &mac_)), true},
          {"duplicate detection", kIpv6, ipv6("::", all, kIcmpv6, nd(135, v6_, nullptr)), true},
          {"duplicate detection of another's", kIpv6,
           ipv6("::", all, kIcmpv6, nd(135, "2001:db8::99", nullptr)), false},
          {"duplicate detection under another MAC", kIpv6,
           ipv6("::", all, kIcmpv6, nd(135, v6_, &kStrangeMac)), false},
          {"advertisement from nowhere", kIpv6, ipv6("::", all, kIcmpv6, nd(136, v6_, &mac_)), false},
          {"advertisement", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, v6_, &mac_)), true},
          {"advertisement for the gateway", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, "2001:db8::1", &mac_)),
           false},
          {"another MAC in the option", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, v6_, &kStrangeMac)), false},
          {"from afar", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, v6_, &mac_), 64), false},
          {"in a fragment", kIpv6, ipv6(v6_, all, kFragment, fragment + nd(136, v6_, &mac_)), false},
          {"router solicitation", kIpv6,
           ipv6(link_local_, "ff02::2", kIcmpv6, Bytes{133, 0, 0, 0, 0, 0, 0, 0}), true},
          {"router advertisement", kIpv6, ipv6(link_local_, all, kIcmpv6, Bytes{134} + Bytes(15)), false},
          {"redirect", kIpv6, ipv6(link_local_, all, kIcmpv6, Bytes{137} + Bytes(39)), false}});
}

TEST_P(SourceGuardTest, GuestChoosesItsLinkLocalAddressOnceAndNeverTheGateways) {
  attach();
  // Behind a macvtap is no gateway that the plugin would know.
  const std::string gateway = other_station().link_local().to_string();
  if (!is_macvtap())
    expect({{"gateway's", kIpv6, ipv6("::", "ff02::1", kIcmpv6, nd(135, gateway, nullptr)), false}});
  expect({{"first", kIpv6, ipv6("::", "ff02::1", kIcmpv6, nd(135, "fe80::1234", nullptr)), true},
          {"second", kIpv6, ipv6("fe80::5678", "ff02::1", kIcmpv6, nd(136, "fe80::5678", &mac_)), true},
          {"first again", kIpv6, ipv6("fe80::1234", "ff02::fb", kUdpProtocol, udp(5353, 5353)), true},
          {"third", kIpv6, ipv6("fe80::9abc", "ff02::fb", kUdpProtocol, udp(5353, 5353)), false}});
}

// The program tells the bulk of honest traffic by its first bytes; what only looks like it must not get by.
TEST_P(SourceGuardTest, UnicastIsJudgedAsBroadcastIs) {
  attach();
  const MacAddress node = other_station();
  const std::string peer4 = "192.0.2.1";
  const std::string peer6 = "2001:db8::1";
  constexpr std::uint16_t kMoreFragments = 0x2000;
  std::vector<Row> rows = {
      {"own TCP", kEtherTypeIpv4, ipv4(v4_, peer4, kTcpProtocol, Bytes(20)), true},
      {"own UDP", kEtherTypeIpv4, ipv4(v4_, peer4, kUdpProtocol, udp(1000, 2000)), true},
      {"own TCP over IPv6", kIpv6, ipv6(v6_, peer6, kTcpProtocol, Bytes(20)), true},
      {"own UDP over IPv6", kIpv6, ipv6(v6_, peer6, kUdpProtocol, udp(1000, 2000)), true},
      {"a neighbour's TCP", kEtherTypeIpv4, ipv4("192.0.2.99", peer4, kTcpProtocol, Bytes(20)), false},
      {"a neighbour's UDP", kEtherTypeIpv4, ipv4("192.0.2.99", peer4, kUdpProtocol, udp(1000, 2000)), false},
      {"a neighbour's TCP over IPv6", kIpv6, ipv6("2001:db8::99", peer6, kTcpProtocol, Bytes(20)), false},
      {"DHCP server", kEtherTypeIpv4, ipv4(v4_, peer4, kUdpProtocol, udp(67, 68)), false},
      {"DHCP server in a fragment", kEtherTypeIpv4,
       ipv4(v4_, peer4, kUdpProtocol, udp(67, 68), kMoreFragments), false},
      {"DHCPv6 server", kIpv6, ipv6(v6_, peer6, kUdpProtocol, udp(547, 546)), false},
      {"router advertisement", kIpv6, ipv6(v6_, peer6, kIcmpv6, Bytes{134} + Bytes(15)), false},
      {"another MAC", kEtherTypeIpv4, ipv4(v4_, peer4, kTcpProtocol, Bytes(20)), false, kStrangeMac}};
  for (Row& row : rows) row.destination = node;
  expect(rows);
}

TEST_P(SourceGuardTest, LinkControlAndTagsAreNotAGuests) {
  attach();
  const MacAddress bridge_group{{0x01, 0x80, 0xc2, 0, 0, 0}};
  const MacAddress per_vlan_group{{0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd}};
  const MacAddress lldp_group{{0x01, 0x80, 0xc2, 0, 0, 0x0e}};
  const auto tag = [](std::uint8_t id) { return Bytes{0, id, 0x88, 0xb5} + Bytes(46, 'x'); };
  expect({{"plain", kEtherTypeTest, Bytes(46, 'y'), true},
          {"BPDU", 0x0027, Bytes(46), false, std::nullopt, bridge_group},
          {"BPDU of a VLAN", 0x010b, Bytes(46), false, std::nullopt, per_vlan_group},
          {"LLDP", 0x88cc, Bytes(46), false, std::nullopt, lldp_group},
          {"pause", 0x8808, Bytes(46), false},
          {"EAPOL", 0x888e, Bytes(46), false},
          {"tagged", 0x8100, tag(7), false},
          {"with a priority tag", 0x8100, tag(0), true},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kStrangeMac}});
}

TEST_P(SourceGuardTest, TrustedGuestMayServeAndRoute) {
  attach({{"trusted", true}});
  expect(
      {{"DHCP server", kEtherTypeIpv4, ipv4(v4_, "255.255.255.255", kUdpProtocol, udp(67, 68)), true},
       {"router advertisement", kIpv6, ipv6(link_local_, "ff02::1", kIcmpv6, Bytes{134} + Bytes(15)), true},
       {"a neighbour's address", kEtherTypeIpv4, ipv4("192.0.2.99", "192.0.2.1", kTcpProtocol, Bytes(20)),
        false}});
}

TEST_P(SourceGuardTest, AllowedAddressesPass) {
  attach({{"allowedAddresses", {"198.51.100.0/24", "2001:db8:1::/64", kVrrp.to_string()}}});
  expect({{"prefix", kEtherTypeIpv4, ipv4("198.51.100.77", "192.0.2.1", kTcpProtocol, Bytes(20)), true},
          {"IPv6 prefix", kIpv6, ipv6("2001:db8:1::77", "2001:db8::1", kTcpProtocol, Bytes(20)), true},
          {"virtual router", kEtherTypeArp, arp(2, kVrrp, "198.51.100.1"), true, kVrrp},
          {"its MAC under the own", kEtherTypeArp, arp(2, kVrrp, "198.51.100.1"), false},
          {"outside the prefix", kEtherTypeIpv4, ipv4("198.51.101.77", "192.0.2.1", kTcpProtocol, Bytes(20)),
           false}});
}

TEST_P(SourceGuardTest, WithoutAnAllocatorOnlyTheMacBinds) {
  attach({{"ipam", nullptr}, {"isGateway", false}});
  expect({{"any IPv4 address", kEtherTypeIpv4, ipv4("198.51.100.77", "192.0.2.1", kTcpProtocol, Bytes(20)),
           true},
          {"ARP of any address", kEtherTypeArp, arp(1, mac_, "198.51.100.77"), true},
          {"ARP of another MAC", kEtherTypeArp, arp(1, kStrangeMac, "198.51.100.77"), false},
          {"DHCP server", kEtherTypeIpv4, ipv4("198.51.100.7", "255.255.255.255", kUdpProtocol, udp(67, 68)),
           false},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kStrangeMac}});
}

TEST_P(SourceGuardTest, WithoutAnAllocatorTheNamedAddressesBind) {
  attach({{"ipam", nullptr}, {"isGateway", false}, {"allowedAddresses", {"198.51.100.77"}}});
  expect({{"named", kEtherTypeIpv4, ipv4("198.51.100.77", "192.0.2.1", kTcpProtocol, Bytes(20)), true},
          {"another", kEtherTypeIpv4, ipv4("198.51.100.78", "192.0.2.1", kTcpProtocol, Bytes(20)), false}});
}

// What is granted to the workload on a network that gives out its addresses by itself.
class LearningTest : public SourceGuardTest {
 protected:
  void attach(const Json& more = Json::object()) {
    Json keys = {{"ipam", nullptr}};
    if (!is_macvtap()) keys["isGateway"] = false;
    keys.update(more);
    SourceGuardTest::attach(keys);
  }
  // From a server of the network; a frame that is known to get through follows it.
  void grant(std::uint16_t type, const Bytes& payload) {
    const std::string mark = "granted " + std::to_string(count_++);
    seen_->send(make_frame(mac_, kServer, type, payload));
    seen_->send(make_test_frame(mac_, kServer, mark));
    const auto is_mark = [&](const Frame& got) { return carries(got, mark); };
    ASSERT_TRUE(
        (guest_ ? guest_->receive(is_mark, kPatience) : wire_->receive(is_mark, kPatience)).has_value());
  }
  void grant_ipv4(const std::string& address, std::uint32_t seconds, const MacAddress& client) {
    Bytes reply = Bytes{2, 1, 6, 0} + Bytes(12) + ip_bytes(address) + Bytes(8) + mac_bytes(client);
    reply.resize(236);
    reply = reply + Bytes{0x63, 0x82, 0x53, 0x63, 53, 1, 5, 51, 4} + bytes32(seconds) + Bytes{255};
    const auto length = static_cast<std::uint8_t>(reply.size() + 8 - 256);
    grant(kEtherTypeIpv4,
          ipv4("198.51.100.1", address, kUdpProtocol, Bytes{0, 67, 0, 68, 1, length, 0, 0} + reply));
  }
  void grant_ipv4(const std::string& address, std::uint32_t seconds = kDay) {
    grant_ipv4(address, seconds, mac_);
  }
  void grant_ipv6(const std::string& address, std::uint32_t seconds = kDay) {
    const Bytes lease = ip_bytes(address) + bytes32(seconds) + bytes32(seconds);
    const Bytes ia = Bytes{0, 3, 0, 40, 1, 2, 3, 4} + Bytes(8) + Bytes{0, 5, 0, 24} + lease;
    const Bytes reply = Bytes{7, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1} + ia;
    const auto length = static_cast<std::uint8_t>(reply.size() + 8);
    grant(kIpv6, ipv6("fe80::1", link_local_, kUdpProtocol, Bytes{2, 35, 2, 34, 0, length, 0, 0} + reply));
  }
  // By the workload itself, to the server.
  void release_ipv4(const std::string& address) {
    Bytes message = Bytes{1, 1, 6, 0} + Bytes(8) + ip_bytes(address) + Bytes(12) + mac_bytes(mac_);
    message.resize(236);
    message = message + Bytes{0x63, 0x82, 0x53, 0x63, 53, 1, 7, 255};
    const auto length = static_cast<std::uint8_t>(message.size() + 8);
    const Bytes packet =
        ipv4(address, "198.51.100.1", kUdpProtocol, Bytes{0, 68, 0, 67, 0, length, 0, 0} + message);
    EXPECT_TRUE(passes(make_frame(other_station(), mac_, kEtherTypeIpv4, packet)));
  }
  void release_ipv6(const std::string& address) {
    const Bytes ia =
        Bytes{0, 3, 0, 40, 1, 2, 3, 4} + Bytes(8) + Bytes{0, 5, 0, 24} + ip_bytes(address) + Bytes(8);
    const Bytes message = Bytes{8, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1} + ia;
    const auto length = static_cast<std::uint8_t>(message.size() + 8);
    const Bytes packet =
        ipv6(link_local_, "ff02::1:2", kUdpProtocol, Bytes{2, 34, 2, 35, 0, length, 0, 0} + message);
    EXPECT_TRUE(passes(make_frame(broadcast_mac(), mac_, kIpv6, packet)));
  }
  static Bytes bytes32(std::uint32_t number) {
    return {static_cast<std::uint8_t>(number >> 24), static_cast<std::uint8_t>(number >> 16),
            static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)};
  }
  static Bytes from4(const std::string& source) {
    return ipv4(source, "203.0.113.1", kTcpProtocol, Bytes(20));
  }
  static Bytes from6(const std::string& source) {
    return ipv6(source, "2001:db8:f::1", kTcpProtocol, Bytes(20));
  }
  ebpf::WorkloadStatus status() const {
    const auto record = RecordStore(node()).read(id_of());
    const auto handle = ebpf::WorkloadHandle::from_json((**record).handles["workload"]);
    return ebpf::workload_status(*handle, id_of()).value();
  }
  std::vector<std::string> learned() const {
    std::vector<std::string> addresses;
    for (const auto& [address, left] : status().learned) addresses.push_back(address.to_string());
    return addresses;
  }

  static constexpr MacAddress kServer{{0x02, 0, 0, 0, 0, 0x01}};
  static constexpr std::uint32_t kDay = 86400;
  static constexpr std::chrono::seconds kPatience{5};
};

TEST_P(LearningTest, LeaseOfAServerBinds) {
  attach();
  EXPECT_EQ(status().learning, (std::vector<std::string>{"ipv4", "ipv6"}));
  grant_ipv4("198.51.100.7");
  EXPECT_EQ(learned(), std::vector<std::string>{"198.51.100.7"});
  EXPECT_EQ(status().learning, std::vector<std::string>{"ipv6"});
  const std::string all = "255.255.255.255";
  expect({{"leased", kEtherTypeIpv4, from4("198.51.100.7"), true},
          {"leased, again", kEtherTypeIpv4, from4("198.51.100.7"), true},
          {"ARP of it", kEtherTypeArp, arp(1, mac_, "198.51.100.7"), true},
          {"probe", kEtherTypeArp, arp(1, mac_, "0.0.0.0", "198.51.100.7"), true},
          {"ARP reply for the server", kEtherTypeArp, arp(2, mac_, "198.51.100.1"), false},
          {"a neighbour's", kEtherTypeIpv4, from4("198.51.100.8"), false},
          {"link-local", kEtherTypeIpv4, from4("169.254.7.7"), false},
          {"DHCP client", kEtherTypeIpv4, ipv4("0.0.0.0", all, kUdpProtocol, udp(68, 67)), true},
          {"any of the other family", kIpv6, from6("2001:db8::99"), true}});
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

TEST_P(LearningTest, Ipv6LeaseOfAServerBinds) {
  attach();
  grant_ipv6("2001:db8::7");
  EXPECT_EQ(learned(), std::vector<std::string>{"2001:db8::7"});
  const std::string all = "ff02::1";
  expect({{"leased", kIpv6, from6("2001:db8::7"), true},
          {"duplicate detection", kIpv6, ipv6("::", all, kIcmpv6, nd(135, "2001:db8::7", nullptr)), true},
          {"advertisement", kIpv6, ipv6("2001:db8::7", all, kIcmpv6, nd(136, "2001:db8::7", &mac_)), true},
          {"link-local of the MAC", kIpv6, ipv6(link_local_, "ff02::1:2", kUdpProtocol, udp(546, 547)), true},
          {"a neighbour's", kIpv6, from6("2001:db8::8"), false},
          {"duplicate detection of another's", kIpv6,
           ipv6("::", all, kIcmpv6, nd(135, "2001:db8::8", nullptr)), false},
          {"advertisement for another", kIpv6,
           ipv6("2001:db8::7", all, kIcmpv6, nd(136, "2001:db8::1", &mac_)), false},
          {"any of the other family", kEtherTypeIpv4, from4("198.51.100.99"), true}});
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

// A router that lets its guests choose is no server that names their addresses.
TEST_P(LearningTest, WhereGuestsMakeTheirAddressesALeaseIsNotAllTheyHave) {
  attach();
  grant_ipv6("2001:db8::7");
  const Bytes prefix = Bytes{3, 4, 64, 0xc0} + Bytes(12) + ip_bytes("2001:db8::");
  const Bytes advertisement = Bytes{134, 0, 0, 0} + Bytes(12) + prefix;
  grant(kIpv6, ipv6("fe80::1", "ff02::1", kIcmpv6, advertisement));
  expect({{"leased", kIpv6, from6("2001:db8::7"), true},
          {"of its own making", kIpv6, from6("2001:db8::abcd"), true}});
}

TEST_P(LearningTest, GrantsToOthersAndThoseOfNobodyDoNotBind) {
  attach();
  grant_ipv4("198.51.100.7", kDay, kStrangeMac);
  EXPECT_TRUE(learned().empty());
  send(make_frame(broadcast_mac(), mac_, kEtherTypeIpv4,
                  ipv4("198.51.100.9", "255.255.255.255", kUdpProtocol, udp(67, 68))));
  EXPECT_TRUE(learned().empty());
  expect({{"any", kEtherTypeIpv4, from4("198.51.100.99"), true}});
}

// By the short way as well, that of unicast.
TEST_P(LearningTest, LeaseEndsInTime) {
  attach();
  const MacAddress node = other_station();
  const Frame leased4 = make_frame(node, mac_, kEtherTypeIpv4, from4("198.51.100.7"));
  const Frame leased6 = make_frame(node, mac_, kIpv6, from6("2001:db8::7"));
  grant_ipv4("198.51.100.7");
  grant_ipv6("2001:db8::7");
  for (int i = 0; i < 2; i++) {
    EXPECT_TRUE(passes(leased4));
    EXPECT_TRUE(passes(leased6));
  }
  grant_ipv4("198.51.100.7", 2);
  grant_ipv6("2001:db8::7", 2);
  EXPECT_TRUE(eventually([&] { return !passes(leased4) && !passes(leased6); }, std::chrono::seconds(30)));
  EXPECT_TRUE(learned().empty());
  grant_ipv4("198.51.100.7");
  EXPECT_TRUE(passes(leased4));
  EXPECT_FALSE(passes(leased6));
}

TEST_P(LearningTest, ReleaseEndsTheLeaseAndNoOther) {
  attach();
  grant_ipv4("198.51.100.7");
  grant_ipv6("2001:db8::7");
  grant_ipv6("2001:db8::8");
  const MacAddress node = other_station();
  const Frame released4 = make_frame(node, mac_, kEtherTypeIpv4, from4("198.51.100.7"));
  const Frame released6 = make_frame(node, mac_, kIpv6, from6("2001:db8::7"));
  const Frame kept6 = make_frame(node, mac_, kIpv6, from6("2001:db8::8"));
  for (const Frame& frame : {released4, released6, kept6}) EXPECT_TRUE(passes(frame));
  release_ipv6("2001:db8::7");
  EXPECT_FALSE(passes(released6));
  EXPECT_TRUE(passes(kept6));
  EXPECT_TRUE(passes(released4));
  release_ipv4("198.51.100.7");
  EXPECT_FALSE(passes(released4));
  EXPECT_TRUE(passes(kept6));
  EXPECT_EQ(learned(), std::vector<std::string>{"2001:db8::8"});
  grant_ipv4("198.51.100.7");
  EXPECT_TRUE(passes(released4));
}

TEST_P(LearningTest, AnotherLeaseEndsTheOneBefore) {
  attach();
  for (int i = 1; i <= 12; i++) grant_ipv4("198.51.100." + std::to_string(100 + i));
  EXPECT_EQ(learned(), std::vector<std::string>{"198.51.100.112"});
  expect({{"last", kEtherTypeIpv4, from4("198.51.100.112"), true},
          {"before it", kEtherTypeIpv4, from4("198.51.100.111"), false}});
}

// Another workload of the network has them from an IPAM plugin.
TEST_P(LearningTest, AddressesOfAnotherWorkloadAreNotToBeHad) {
  attach();
  expect({{"nobody's yet", kEtherTypeIpv4, from4("192.0.2.2"), true}});
  grant_ipv4("192.0.2.2");
  expect({{"leased", kEtherTypeIpv4, from4("192.0.2.2"), true}});
  Json other = config({{"name", "other"}, {"spoofCheck", true}, {"ipam", dual_stack()}});
  const CniOutcome outcome = add(make_pod("b"), other, "c2");
  ASSERT_CNI_OK(outcome);
  const auto address_of = [&](std::size_t i) {
    const std::string text = (*outcome.document)["ips"][i]["address"];
    return text.substr(0, text.find('/'));
  };
  ASSERT_EQ(address_of(0), "192.0.2.2");
  const std::string theirs = address_of(1);
  EXPECT_TRUE(learned().empty());
  expect(
      {{"was leased, is another's", kEtherTypeIpv4, from4("192.0.2.2"), false},
       {"ARP of it", kEtherTypeArp, arp(1, mac_, "192.0.2.2"), false},
       {"IPv6 of another", kIpv6, from6(theirs), false},
       {"advertisement for it", kIpv6, ipv6(link_local_, "ff02::1", kIcmpv6, nd(136, theirs, &mac_)), false},
       {"nobody's", kIpv6, from6("2001:db8::99"), true}});
  grant_ipv4("192.0.2.2");
  EXPECT_FALSE(passes(make_frame(broadcast_mac(), mac_, kEtherTypeIpv4, from4("192.0.2.2"))));
  ASSERT_CNI_OK(del("/run/netns/b", other, "c2"));
  grant_ipv4("192.0.2.2");
  expect({{"free again", kEtherTypeIpv4, from4("192.0.2.2"), true}});
}

TEST_P(LearningTest, FirstUseBindsWhereAskedFor) {
  attach({{"learnAddresses", "any"}});
  std::vector<Row> rows = {
      {"multicast", kEtherTypeIpv4, from4("224.0.0.1"), false},
      {"duplicate detection", kIpv6, ipv6("::", "ff02::1", kIcmpv6, nd(135, "2001:db8::7", nullptr)), true},
      {"ARP", kEtherTypeArp, arp(1, mac_, "198.51.100.7"), true}};
  for (int i = 1; i <= 6; i++)
    rows.push_back({"IPv4 number " + std::to_string(i), kEtherTypeIpv4,
                    from4("198.51.100." + std::to_string(100 + i)), true});
  rows.push_back({"one too many", kEtherTypeIpv4, from4("198.51.100.200"), false});
  rows.push_back({"one too many, IPv6", kIpv6, from6("2001:db8::8"), false});
  rows.push_back({"first", kIpv6, from6("2001:db8::7"), true});
  expect(rows);
  EXPECT_EQ(learned().size(), ebpf::SourceGuard::kMaxLearned);
  EXPECT_TRUE(status().learning.empty());
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

VMLANE_FOR_EACH_LANE(LearningTest);

TEST_P(SourceGuardTest, FramesForOthersDoNotGetToTheWorkload) {
  attach();
  // A second NIC on the bridge, from which unknown destinations are flooded, or the wire of the lower device.
  const MacAddress far{{0x02, 0, 0, 0, 0, 0x77}};
  if (!is_macvtap()) {
    must({"ip", "link", "add", "far0", "type", "veth", "peer", "name", "far1"});
    must({"ip", "link", "set", "far0", "master", "br1", "up"});
    must({"ip", "link", "set", "far1", "address", far.to_string(), "up"});
  }
  const PacketSocket sender("", is_macvtap() ? kFarEnd : "far1");
  const auto gets = [&](const MacAddress& destination, const std::string& text) {
    const Frame frame = make_test_frame(destination, far, text);
    sender.send(frame);
    const auto is_it = [&](const Frame& got) { return carries(got, text); };
    const auto timeout = std::chrono::milliseconds(500);
    return (guest_ ? guest_->receive(is_it, timeout) : wire_->receive(is_it, timeout)).has_value();
  };
  ASSERT_TRUE(eventually([&] { return gets(broadcast_mac(), "to all"); }));
  EXPECT_TRUE(gets(mac_, "to the workload"));
  EXPECT_FALSE(gets(kStrangeMac, "to another"));
}

TEST_P(SourceGuardTest, CountersTellTheReason) {
  attach();
  expect({{"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kStrangeMac},
          {"a neighbour's", kEtherTypeIpv4, ipv4("192.0.2.99", "192.0.2.1", kTcpProtocol, Bytes(20)), false},
          {"another's", kEtherTypeIpv4, ipv4("192.0.2.98", "192.0.2.1", kTcpProtocol, Bytes(20)), false}});
  const auto record = RecordStore(node()).read(id_of());
  ASSERT_TRUE(record && *record);
  const auto handle = ebpf::WorkloadHandle::from_json((*record)->handles["workload"]);
  ASSERT_TRUE(handle.has_value());
  const auto status = ebpf::workload_status(*handle, id_of());
  ASSERT_TRUE(status.has_value());
  const std::map<std::string, std::uint64_t> dropped(status->dropped.begin(), status->dropped.end());
  EXPECT_EQ(dropped.at("mac"), 1U);
  EXPECT_EQ(dropped.at("ipv4"), 2U);
  EXPECT_EQ(dropped.at("dhcp-server"), 0U);
}

TEST_P(SourceGuardTest, ProgramsAreLoadedOnceForAllLinks) {
  attach();
  ASSERT_CNI_OK(add(make_pod("b"), conf_, "c2"));
  const auto program_of = [&](const std::string& container) {
    const auto record = RecordStore(node()).read(id_of(container));
    return (**record).handles["workload"]["from_program"].get<std::uint32_t>();
  };
  EXPECT_EQ(program_of("c1"), program_of("c2"));
}

// What the verifier went through, on this kernel; tests/vm/kernels_test.cpp has others.
TEST_P(SourceGuardTest, ProgramsAreWithinTheVerifiersMeans) {
  constexpr int kMostInstructions = 300'000;
  // With the programs of policy, which are the same on each lane; a macvtap has them for a VM only.
  attach(is_macvtap() ? Json::object() : Json{{"policyDefault", "allow"}, {"requirePolicy", true}});
  std::istringstream lines(run({built("verified-instructions")}).out);
  std::string name;
  int programs = 0;
  int of_policy = 0;
  for (int count = 0; lines >> name >> count; programs++) {
    std::cout << "this kernel: " << name << " " << count << " instructions verified\n";
    EXPECT_LE(count, kMostInstructions) << name;
    of_policy += name.starts_with("vmlane_judge") ? 1 : 0;
  }
  EXPECT_GE(programs, 2);
  EXPECT_GE(of_policy, is_macvtap() ? 0 : 2);
}

TEST_P(SourceGuardTest, WithoutTheListOfProgramsAnotherCopyIsLoadedAndBothGoOn) {
  attach();
  std::filesystem::remove_all(node().run_dir / "programs");
  ASSERT_CNI_OK(add(make_pod("b"), conf_, "c2"));
  expect({{"own", kEtherTypeTest, Bytes(46, 'y'), true},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kStrangeMac}});
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
  EXPECT_CNI_OK(del("/run/netns/a", conf_));
  EXPECT_CNI_OK(del("/run/netns/b", conf_, "c2"));
  guest_.reset();
  const auto left = ebpf::known_workloads(node().run_dir);
  ASSERT_TRUE(left.has_value());
  EXPECT_TRUE(left->empty());
}

// A workload of two that stand next to each other.
struct Neighbour {
  std::string pod;
  MacAddress mac;
  std::string v4;
  std::string v6;
  std::optional<FakeGuest> guest;
  std::optional<PacketSocket> wire;

  void send(const Frame& frame) const { guest ? guest->send(frame) : wire->send(frame); }
  bool gets(const std::function<bool(const Frame&)>& wanted, std::chrono::milliseconds timeout) const {
    return (guest ? guest->receive(wanted, timeout) : wire->receive(wanted, timeout)).has_value();
  }
};

class NeighboursTest : public SourceGuardTest {
 protected:
  Neighbour join(const std::string& name) {
    Json keys = {{"spoofCheck", true}, {"ipam", dual_stack()}};
    if (!is_macvtap()) keys["isGateway"] = true;
    if (is_guest_lane()) keys["guestAnswers"] = false;
    const Pod& pod = make_pod(name);
    const CniOutcome outcome = add(pod, config(keys), name);
    EXPECT_CNI_OK(outcome);
    Neighbour neighbour;
    neighbour.pod = name;
    neighbour.mac = MacAddress::parse(sandbox_interface(*outcome.document)["mac"].get<std::string>()).value();
    for (const Json& ip : (*outcome.document)["ips"]) {
      const std::string address = ip["address"].get<std::string>();
      const std::string bare = address.substr(0, address.find('/'));
      (bare.find(':') == std::string::npos ? neighbour.v4 : neighbour.v6) = bare;
    }
    if (is_tap()) neighbour.guest.emplace(pod.path(), "tap0", neighbour.mac);
    if (is_macvtap()) neighbour.guest.emplace(FakeGuest::on_macvtap(pod.path(), "eth0", neighbour.mac));
    if (!neighbour.guest) neighbour.wire.emplace(pod.path(), "eth0");
    return neighbour;
  }
  // Whether a frame of `from` gets to `to`: it does before one that is known to pass.
  bool arrives(const Neighbour& from, const Neighbour& to, const Frame& frame) {
    const std::string mark = "mark " + std::to_string(count_++);
    from.send(frame);
    from.send(make_test_frame(to.mac, from.mac, mark));
    bool found = false;
    const bool marked = to.gets(
        [&](const Frame& got) {
          found = found || is_same(got, frame);
          return carries(got, mark);
        },
        std::chrono::seconds(5));
    EXPECT_TRUE(marked) << "nothing of " << from.pod << " gets to " << to.pod;
    return found;
  }
  void expect_honesty(const Neighbour& from, const Neighbour& to) {
    const std::string& all4 = "255.255.255.255";
    const std::string& all6 = "ff02::1";
    const std::vector<Row> rows = {
        {"own", kEtherTypeIpv4, ipv4(from.v4, to.v4, kTcpProtocol, Bytes(20)), true},
        {"own, IPv6", kIpv6, ipv6(from.v6, to.v6, kTcpProtocol, Bytes(20)), true},
        {"DHCP discover",
         kEtherTypeIpv4,
         ipv4("0.0.0.0", all4, kUdpProtocol, udp(68, 67)),
         true,
         {},
         broadcast_mac()},
        {"ARP probe", kEtherTypeArp, arp(1, from.mac, "0.0.0.0", from.v4), true, {}, broadcast_mac()},
        {"duplicate detection",
         kIpv6,
         ipv6("::", all6, kIcmpv6, nd(135, from.v6, nullptr)),
         true,
         {},
         broadcast_mac()},
        {"a second address", kEtherTypeIpv4, ipv4("192.0.2.221", to.v4, kTcpProtocol, Bytes(20)), false},
        {"a second address, IPv6", kIpv6, ipv6("2001:db8::221", to.v6, kTcpProtocol, Bytes(20)), false},
        {"the neighbour's own", kEtherTypeIpv4, ipv4(to.v4, to.v4, kTcpProtocol, Bytes(20)), false},
        {"ARP for the gateway", kEtherTypeArp, arp(2, from.mac, "192.0.2.1", to.v4), false},
        {"ND for a neighbour", kIpv6, ipv6(from.v6, to.v6, kIcmpv6, nd(136, "2001:db8::99", &from.mac)),
         false},
        {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kStrangeMac},
        {"link-local of the neighbour", kIpv6, ipv6("fe80::1", to.v6, kIcmpv6, nd(136, to.v6, &from.mac)),
         false},
        {"tagged", 0x8100, Bytes{0, 7, 0x08, 0} + ipv4(from.v4, to.v4, kTcpProtocol, Bytes(20)), false},
        {"DHCP offer", kEtherTypeIpv4, ipv4(from.v4, to.v4, kUdpProtocol, udp(67, 68)), false}};
    for (const Row& row : rows) {
      const Frame frame =
          make_frame(row.destination.value_or(to.mac), row.source.value_or(from.mac), row.type, row.payload);
      EXPECT_EQ(arrives(from, to, frame), row.passes) << row.what << " from " << from.pod;
    }
  }
};

// Each workload's own link judges what it sends, wherever it goes and whoever came first.
TEST_P(NeighboursTest, F018_NothingForgedGetsToANeighbourInEitherDirection) {
  const Neighbour first = join("first");
  const Neighbour second = join("second");
  ASSERT_FALSE(HasFailure());
  ASSERT_TRUE(eventually([&] {
    first.send(make_test_frame(second.mac, first.mac, "open?"));
    return second.gets([](const Frame& got) { return carries(got, "open?"); },
                       std::chrono::milliseconds(100));
  }));
  expect_honesty(first, second);
  expect_honesty(second, first);
}

VMLANE_FOR_EACH_LANE(SourceGuardTest);
VMLANE_FOR_EACH_LANE(NeighboursTest);

}  // namespace
}  // namespace vmlane::test
