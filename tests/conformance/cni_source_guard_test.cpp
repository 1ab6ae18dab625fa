// SPDX-License-Identifier: Apache-2.0
// The source guard: what a workload sends under a sender that is not its own, or in a part that is not a
// guest's, does not reach the bridge; all that an honest guest needs does.
#include <map>

#include "ebpf/workload.h"
#include "tests/conformance/sender_test.h"

namespace vmlane::test {
namespace {

constexpr std::uint16_t kIpv6 = 0x86dd;
constexpr std::uint16_t kRarp = 0x8035;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kIcmpv6 = 58;
constexpr std::uint8_t kHopByHop = 0;
constexpr std::uint8_t kFragment = 44;
constexpr MacAddress kForeign{{0x02, 0, 0, 0, 0, 0x66}};
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
    if (is_tap()) keys["guestAnswers"] = false;
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
          {"another hardware sender", kEtherTypeArp, arp(1, kForeign, v4_), false},
          {"another operation", kEtherTypeArp, arp(8, mac_, v4_), false},
          {"reply from nobody", kEtherTypeArp, arp(2, mac_, "0.0.0.0"), false},
          {"cut short", kEtherTypeArp, Bytes(12), false},
          {"announcement of a migrated guest", kRarp, arp(3, mac_, "0.0.0.0"), true},
          {"announcement of another", kRarp, arp(3, kForeign, "0.0.0.0"), false}});
}

TEST_P(SourceGuardTest, Ipv4ComesFromTheWorkloadsAddress) {
  attach();
  const std::string all = "255.255.255.255";
  expect({{"own", kEtherTypeIpv4, ipv4(v4_, "198.51.100.1", kTcp, Bytes(20)), true},
          {"own, UDP", kEtherTypeIpv4, ipv4(v4_, "198.51.100.1", kUdp, udp(1000, 53)), true},
          {"own, later fragment", kEtherTypeIpv4, ipv4(v4_, "198.51.100.1", kUdp, Bytes(16), 100), true},
          {"a neighbour's", kEtherTypeIpv4, ipv4("192.0.2.99", "198.51.100.1", kTcp, Bytes(20)), false},
          {"a neighbour's, fragment", kEtherTypeIpv4,
           ipv4("192.0.2.99", "198.51.100.1", kUdp, Bytes(16), 100), false},
          {"link-local", kEtherTypeIpv4, ipv4("169.254.7.7", "224.0.0.251", kUdp, udp(5353, 5353)), false},
          {"DHCP client", kEtherTypeIpv4, ipv4("0.0.0.0", all, kUdp, udp(68, 67)), true},
          {"no address, no DHCP", kEtherTypeIpv4, ipv4("0.0.0.0", all, kUdp, udp(1000, 67)), false},
          {"no address, not to all", kEtherTypeIpv4, ipv4("0.0.0.0", "192.0.2.1", kUdp, udp(68, 67)), false},
          {"DHCP server", kEtherTypeIpv4, ipv4(v4_, all, kUdp, udp(67, 68)), false},
          {"header cut short", kEtherTypeIpv4, Bytes{0x45, 0, 0, 20}, false},
          {"no IPv4", kEtherTypeIpv4, Bytes(46), false}});
}

TEST_P(SourceGuardTest, Ipv6ComesFromTheWorkloadsAddresses) {
  attach();
  const std::string peer = "2001:db8::1";
  const Bytes mld_header = {kIcmpv6, 0, 5, 2, 0, 0, 1, 0};
  expect({{"own", kIpv6, ipv6(v6_, peer, kTcp, Bytes(20)), true},
          {"link-local of the MAC", kIpv6, ipv6(link_local_, "ff02::2", kUdp, udp(1000, 53)), true},
          {"a neighbour's", kIpv6, ipv6("2001:db8::99", peer, kTcp, Bytes(20)), false},
          {"unspecified", kIpv6, ipv6("::", peer, kTcp, Bytes(20)), false},
          {"MLD before there is an address", kIpv6,
           ipv6("::", "ff02::16", kHopByHop, mld_header + Bytes{143, 0, 0, 0, 0, 0, 0, 0}), true},
          {"DHCPv6 client", kIpv6, ipv6(link_local_, "ff02::1:2", kUdp, udp(546, 547)), true},
          {"DHCPv6 server", kIpv6, ipv6(link_local_, peer, kUdp, udp(547, 546)), false},
          {"DHCPv6 server behind a header", kIpv6,
           ipv6(link_local_, peer, kHopByHop, Bytes{kUdp, 0, 1, 4, 0, 0, 0, 0} + udp(547, 546)), false},
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
          {"advertisement", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, v6_, &mac_)), true},
          {"advertisement for the gateway", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, "2001:db8::1", &mac_)),
           false},
          {"another MAC in the option", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, v6_, &kForeign)), false},
          {"from afar", kIpv6, ipv6(v6_, all, kIcmpv6, nd(136, v6_, &mac_), 64), false},
          {"in a fragment", kIpv6, ipv6(v6_, all, kFragment, fragment + nd(136, v6_, &mac_)), false},
          {"router solicitation", kIpv6,
           ipv6(link_local_, "ff02::2", kIcmpv6, Bytes{133, 0, 0, 0, 0, 0, 0, 0}), true},
          {"router advertisement", kIpv6, ipv6(link_local_, all, kIcmpv6, Bytes{134} + Bytes(15)), false},
          {"redirect", kIpv6, ipv6(link_local_, all, kIcmpv6, Bytes{137} + Bytes(39)), false}});
}

TEST_P(SourceGuardTest, GuestChoosesItsLinkLocalAddressOnceAndNeverTheGateways) {
  attach();
  const std::string gateway =
      MacAddress::parse(link_of("", "br1")["address"].get<std::string>()).value().link_local().to_string();
  expect({{"gateway's", kIpv6, ipv6("::", "ff02::1", kIcmpv6, nd(135, gateway, nullptr)), false},
          {"first", kIpv6, ipv6("::", "ff02::1", kIcmpv6, nd(135, "fe80::1234", nullptr)), true},
          {"second", kIpv6, ipv6("fe80::5678", "ff02::1", kIcmpv6, nd(136, "fe80::5678", &mac_)), true},
          {"first again", kIpv6, ipv6("fe80::1234", "ff02::fb", kUdp, udp(5353, 5353)), true},
          {"third", kIpv6, ipv6("fe80::9abc", "ff02::fb", kUdp, udp(5353, 5353)), false}});
}

// The program tells the bulk of honest traffic by its first bytes; what only looks like it must not get by.
TEST_P(SourceGuardTest, UnicastIsJudgedAsBroadcastIs) {
  attach();
  const MacAddress node = MacAddress::parse(link_of("", "br1")["address"].get<std::string>()).value();
  const std::string peer4 = "192.0.2.1";
  const std::string peer6 = "2001:db8::1";
  constexpr std::uint16_t kMoreFragments = 0x2000;
  std::vector<Row> rows = {
      {"own TCP", kEtherTypeIpv4, ipv4(v4_, peer4, kTcp, Bytes(20)), true},
      {"own UDP", kEtherTypeIpv4, ipv4(v4_, peer4, kUdp, udp(1000, 2000)), true},
      {"own TCP over IPv6", kIpv6, ipv6(v6_, peer6, kTcp, Bytes(20)), true},
      {"own UDP over IPv6", kIpv6, ipv6(v6_, peer6, kUdp, udp(1000, 2000)), true},
      {"a neighbour's TCP", kEtherTypeIpv4, ipv4("192.0.2.99", peer4, kTcp, Bytes(20)), false},
      {"a neighbour's UDP", kEtherTypeIpv4, ipv4("192.0.2.99", peer4, kUdp, udp(1000, 2000)), false},
      {"a neighbour's TCP over IPv6", kIpv6, ipv6("2001:db8::99", peer6, kTcp, Bytes(20)), false},
      {"DHCP server", kEtherTypeIpv4, ipv4(v4_, peer4, kUdp, udp(67, 68)), false},
      {"DHCP server in a fragment", kEtherTypeIpv4, ipv4(v4_, peer4, kUdp, udp(67, 68), kMoreFragments),
       false},
      {"DHCPv6 server", kIpv6, ipv6(v6_, peer6, kUdp, udp(547, 546)), false},
      {"router advertisement", kIpv6, ipv6(v6_, peer6, kIcmpv6, Bytes{134} + Bytes(15)), false},
      {"another MAC", kEtherTypeIpv4, ipv4(v4_, peer4, kTcp, Bytes(20)), false, kForeign}};
  for (Row& row : rows) row.destination = node;
  expect(rows);
}

TEST_P(SourceGuardTest, LinkControlAndTagsAreNotAGuests) {
  attach();
  const MacAddress bridge_group{{0x01, 0x80, 0xc2, 0, 0, 0}};
  const MacAddress lldp_group{{0x01, 0x80, 0xc2, 0, 0, 0x0e}};
  const auto tag = [](std::uint8_t id) { return Bytes{0, id, 0x88, 0xb5} + Bytes(46, 'x'); };
  expect({{"plain", kEtherTypeTest, Bytes(46, 'y'), true},
          {"BPDU", 0x0027, Bytes(46), false, std::nullopt, bridge_group},
          {"LLDP", 0x88cc, Bytes(46), false, std::nullopt, lldp_group},
          {"pause", 0x8808, Bytes(46), false},
          {"EAPOL", 0x888e, Bytes(46), false},
          {"tagged", 0x8100, tag(7), false},
          {"with a priority tag", 0x8100, tag(0), true},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign}});
}

TEST_P(SourceGuardTest, TrustedGuestMayServeAndRoute) {
  attach({{"trusted", true}});
  expect(
      {{"DHCP server", kEtherTypeIpv4, ipv4(v4_, "255.255.255.255", kUdp, udp(67, 68)), true},
       {"router advertisement", kIpv6, ipv6(link_local_, "ff02::1", kIcmpv6, Bytes{134} + Bytes(15)), true},
       {"a neighbour's address", kEtherTypeIpv4, ipv4("192.0.2.99", "192.0.2.1", kTcp, Bytes(20)), false}});
}

TEST_P(SourceGuardTest, AllowedAddressesPass) {
  attach({{"allowedAddresses", {"198.51.100.0/24", "2001:db8:1::/64", kVrrp.to_string()}}});
  expect(
      {{"prefix", kEtherTypeIpv4, ipv4("198.51.100.77", "192.0.2.1", kTcp, Bytes(20)), true},
       {"IPv6 prefix", kIpv6, ipv6("2001:db8:1::77", "2001:db8::1", kTcp, Bytes(20)), true},
       {"virtual router", kEtherTypeArp, arp(2, kVrrp, "198.51.100.1"), true, kVrrp},
       {"its MAC under the own", kEtherTypeArp, arp(2, kVrrp, "198.51.100.1"), false},
       {"outside the prefix", kEtherTypeIpv4, ipv4("198.51.101.77", "192.0.2.1", kTcp, Bytes(20)), false}});
}

TEST_P(SourceGuardTest, WithoutAnAllocatorOnlyTheMacBinds) {
  attach({{"ipam", nullptr}, {"isGateway", false}});
  expect({{"any IPv4 address", kEtherTypeIpv4, ipv4("198.51.100.77", "192.0.2.1", kTcp, Bytes(20)), true},
          {"ARP of any address", kEtherTypeArp, arp(1, mac_, "198.51.100.77"), true},
          {"ARP of another MAC", kEtherTypeArp, arp(1, kForeign, "198.51.100.77"), false},
          {"DHCP server", kEtherTypeIpv4, ipv4("198.51.100.7", "255.255.255.255", kUdp, udp(67, 68)), false},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign}});
}

TEST_P(SourceGuardTest, WithoutAnAllocatorTheNamedAddressesBind) {
  attach({{"ipam", nullptr}, {"isGateway", false}, {"allowedAddresses", {"198.51.100.77"}}});
  expect({{"named", kEtherTypeIpv4, ipv4("198.51.100.77", "192.0.2.1", kTcp, Bytes(20)), true},
          {"another", kEtherTypeIpv4, ipv4("198.51.100.78", "192.0.2.1", kTcp, Bytes(20)), false}});
}

TEST_P(SourceGuardTest, FramesForOthersDoNotGetToTheWorkload) {
  attach();
  // A second NIC on the bridge, from which unknown destinations are flooded.
  const MacAddress far{{0x02, 0, 0, 0, 0, 0x77}};
  must({"ip", "link", "add", "far0", "type", "veth", "peer", "name", "far1"});
  must({"ip", "link", "set", "far0", "master", "br1", "up"});
  must({"ip", "link", "set", "far1", "address", far.to_string(), "up"});
  const PacketSocket sender("", "far1");
  const auto gets = [&](const MacAddress& destination, const std::string& text) {
    const Frame frame = make_test_frame(destination, far, text);
    sender.send(frame);
    const auto is_it = [&](const Frame& got) { return carries(got, text); };
    const auto timeout = std::chrono::milliseconds(500);
    return (is_tap() ? guest_->receive(is_it, timeout) : wire_->receive(is_it, timeout)).has_value();
  };
  ASSERT_TRUE(eventually([&] { return gets(broadcast_mac(), "to all"); }));
  EXPECT_TRUE(gets(mac_, "to the workload"));
  EXPECT_FALSE(gets(kForeign, "to another"));
}

TEST_P(SourceGuardTest, CountersTellTheReason) {
  attach();
  expect({{"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign},
          {"a neighbour's", kEtherTypeIpv4, ipv4("192.0.2.99", "192.0.2.1", kTcp, Bytes(20)), false},
          {"another's", kEtherTypeIpv4, ipv4("192.0.2.98", "192.0.2.1", kTcp, Bytes(20)), false}});
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

TEST_P(SourceGuardTest, WithoutTheListOfProgramsAnotherCopyIsLoadedAndBothGoOn) {
  attach();
  std::filesystem::remove_all(node().run_dir / "programs");
  ASSERT_CNI_OK(add(make_pod("b"), conf_, "c2"));
  expect({{"own", kEtherTypeTest, Bytes(46, 'y'), true},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign}});
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
  EXPECT_CNI_OK(del("/run/netns/a", conf_));
  EXPECT_CNI_OK(del("/run/netns/b", conf_, "c2"));
  guest_.reset();
  const auto left = ebpf::known_workloads(node().run_dir);
  ASSERT_TRUE(left.has_value());
  EXPECT_TRUE(left->empty());
}

// Pins of an idle node: what spares its next ADD the loading of the programs.
class IdleNodeTest : public SourceGuardTest {
 protected:
  std::uint32_t program() const {
    const auto record = RecordStore(node()).read(id_of());
    return (**record).handles["workload"]["from_program"].get<std::uint32_t>();
  }
  void detach() {
    guest_.reset();
    wire_.reset();
    ASSERT_CNI_OK(del("/run/netns/a", conf_));
  }
  // Names in bpfDir.
  std::size_t pins() const {
    std::error_code error;
    return static_cast<std::size_t>(std::ranges::distance(
        std::filesystem::directory_iterator(node().bpf_dir, error), std::filesystem::directory_iterator()));
  }
};

TEST_P(IdleNodeTest, ProgramsStayLoadedForTheNextAdd) {
  attach();
  const std::uint32_t first = program();
  detach();
  attach();
  EXPECT_EQ(program(), first);
  expect({{"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign}});
}

TEST_P(IdleNodeTest, PinsOfAnotherBuildAndOfAnAddCutShortAreReplaced) {
  attach();
  EXPECT_EQ(pins(), 2U);
  for (const auto& pin : std::filesystem::directory_iterator(node().bpf_dir)) {
    EXPECT_EQ(std::filesystem::status(pin).permissions() & std::filesystem::perms(077),
              std::filesystem::perms::none);
    std::filesystem::remove(pin);
    break;
  }
  std::filesystem::create_directory(node().bpf_dir / "workload_1");
  ASSERT_CNI_OK(add(make_pod("b"), conf_, "c2"));
  EXPECT_EQ(pins(), 2U);
  EXPECT_FALSE(std::filesystem::exists(node().bpf_dir / "workload_1"));
}

TEST_P(IdleNodeTest, NothingDependsOnPins) {
  attach();
  std::filesystem::remove_all(node().bpf_dir);
  expect({{"own", kEtherTypeTest, Bytes(46, 'y'), true},
          {"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign}});
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

TEST_P(IdleNodeTest, WithoutBpffsNothingIsPinnedAndAddSucceeds) {
  configure_node({{"bpfDir", (directory() / "bpf").string()}});
  attach();
  detach();
  attach();
  expect({{"another MAC", kEtherTypeTest, Bytes(46, 'z'), false, kForeign}});
  EXPECT_FALSE(std::filesystem::exists(node().bpf_dir));
}

VMLANE_FOR_BRIDGE_LANES(IdleNodeTest);
VMLANE_FOR_BRIDGE_LANES(SourceGuardTest);

}  // namespace
}  // namespace vmlane::test
