// SPDX-License-Identifier: Apache-2.0
// The pod side of the tap lane: what a guest sends through its tap comes out at the host's end of the veth,
// and the other way, bit for bit and with the same offloads, by either way to attach a program.
#include "ebpf/splice.h"

#include <algorithm>
#include <span>
#include <utility>

#include "ebpf/ingress.h"
#include "netlink/netlink.h"
#include "tests/support/guest.h"
#include "tests/support/host.h"
#include "tests/support/offload.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using ebpf::Attach;
using netlink::Namespace;

constexpr MacAddress kSpliceGuest{{0x02, 0, 0, 0, 0, 0x0a}};
constexpr MacAddress kFarMac{{0x02, 0, 0, 0, 0, 0x0b}};
constexpr MacAddress kForeignMac{{0x02, 0, 0, 0, 0, 0x0c}};
constexpr MacAddress kMulticastMac{{0x33, 0x33, 0, 0, 0, 0x01}};
constexpr uid_t kVmUid = 107;
constexpr std::size_t kLongPayload = 64000;
constexpr std::uint16_t kSegment = 1448;

// host: v0 ==== pod: eth0 <-splice-> tap0, all up.
class SpliceTest : public HostFixture, public ::testing::WithParamInterface<Attach> {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (GetParam() == Attach::kTcx && !ebpf::has_tcx()) GTEST_SKIP() << "this kernel has no TCX";
    const Namespace host = value_of(Namespace::current());
    pod_.emplace(value_of(Namespace::open(make_pod("a").path())));
    on_host_ = value_of(netlink::open_netlink(host));
    in_pod_ = value_of(netlink::open_netlink(*pod_));
    ASSERT_OK(on_host_->create_veth({"v0", kFarMac, "eth0", kSpliceGuest, 1500}, *pod_));
    ASSERT_OK(netlink::create_tap(*pod_, {"tap0", kVmUid, kVmUid, false}));
    eth0_ = bring_up(*in_pod_, "eth0");
    tap0_ = bring_up(*in_pod_, "tap0");
    bring_up(*on_host_, "v0");
  }
  static int bring_up(netlink::Netlink& where, const std::string& name) {
    const int index = value_of(where.find_link(name)).value().index;
    value_of(where.change_link(index, {.up = true, .arp = false, .no_ipv6_address_generation = true}));
    return index;
  }
  Result<> splice() const { return ebpf::attach_splice(*pod_, eth0_, tap0_, GetParam()); }
  Result<> check() const { return ebpf::check_splice(*pod_, eth0_, tap0_); }
  std::vector<std::uint32_t> programs() const {
    std::vector<std::uint32_t> ids;
    for (const int index : {eth0_, tap0_}) {
      std::ranges::copy(
          value_of(pod_->run<std::vector<std::uint32_t>>([&] { return ebpf::programs_on_ingress(index); })),
          std::back_inserter(ids));
    }
    return ids;
  }

  std::optional<Namespace> pod_;
  std::unique_ptr<netlink::Netlink> on_host_;
  std::unique_ptr<netlink::Netlink> in_pod_;
  int eth0_ = 0;
  int tap0_ = 0;
};

// With the splice in place and both ends open.
class SpliceTrafficTest : public SpliceTest {
 protected:
  void SetUp() override {
    SpliceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_OK(splice());
    TapOpening opening = open_tap(pod_->path(), "tap0", kVmUid, false);
    ASSERT_EQ(opening.error, 0);
    guest_.emplace(std::move(opening.fd));
    wire_.emplace("v0");
    ASSERT_TRUE(eventually([&] { return value_of(in_pod_->find_link("tap0"))->carrier; }));
  }
  // Sends at one end and expects the same bytes at the other, and the same request to the NIC.
  static void expect_unchanged(const PacketPort& from, const PacketPort& to, const Packet& packet) {
    from.send(packet);
    const auto got = to.receive([&](const Frame& frame) { return frame.size() == packet.frame.size(); });
    ASSERT_TRUE(got) << "a frame of " << packet.frame.size() << " bytes did not arrive";
    EXPECT_TRUE(got->frame == packet.frame) << "a frame of " << packet.frame.size() << " bytes was changed";
    EXPECT_EQ(got->header.flags & VnetHeader::kNeedsChecksum, packet.header.flags);
    EXPECT_EQ(got->header.gso_type, packet.header.gso_type);
    EXPECT_EQ(got->header.gso_size, packet.header.gso_size);
    if (packet.header.flags == VnetHeader::kNeedsChecksum) {
      EXPECT_EQ(got->header.checksum_start, packet.header.checksum_start);
      EXPECT_EQ(got->header.checksum_offset, packet.header.checksum_offset);
    }
  }
  void expect_unchanged_both_ways(const Packet& to_guest, const Packet& from_guest) const {
    expect_unchanged(*wire_, *guest_, to_guest);
    expect_unchanged(*guest_, *wire_, from_guest);
  }
  static std::string text(std::size_t length) { return std::string(length, 'x'); }

  std::optional<TapPort> guest_;
  std::optional<WirePort> wire_;
};

TEST_P(SpliceTrafficTest, PlainFramesOfEveryKindOfDestination) {
  for (const std::size_t payload : {28U, 46U, 700U, 1500U}) {
    for (const MacAddress& destination :
         {kSpliceGuest, kFarMac, kForeignMac, broadcast_mac(), kMulticastMac}) {
      const std::string content = text(payload);
      const auto frame = [&](const MacAddress& source) {
        return make_frame(destination, source, kEtherTypeTest, {content.begin(), content.end()});
      };
      expect_unchanged_both_ways({.frame = frame(kFarMac)}, {.frame = frame(kSpliceGuest)});
    }
  }
}

TEST_P(SpliceTrafficTest, FramesWithALengthInPlaceOfAType) {
  // IEEE 802.3 with LLC, as spanning tree sends them.
  const MacAddress bridge_group{{0x01, 0x80, 0xc2, 0, 0, 0}};
  const std::vector<std::uint8_t> payload = {0x42, 0x42, 0x03, 0, 0, 0, 0};
  expect_unchanged_both_ways({.frame = make_frame(bridge_group, kFarMac, 38, payload)},
                             {.frame = make_frame(bridge_group, kSpliceGuest, 38, payload)});
}

TEST_P(SpliceTrafficTest, VlanTagsStayOn) {
  const Packet to_guest{.frame = make_test_frame(kSpliceGuest, kFarMac, "to the guest")};
  const Packet from_guest{.frame = make_test_frame(kFarMac, kSpliceGuest, "from the guest")};
  // VLAN 7; priority 5 without a VLAN; the highest of all.
  for (const std::uint16_t control : {0x0007, 0xa000, 0xffff}) {
    for (const std::uint16_t type : {0x8100, 0x88a8}) {
      expect_unchanged_both_ways(with_vlan_tag(to_guest, type, control),
                                 with_vlan_tag(from_guest, type, control));
    }
  }
  expect_unchanged_both_ways(with_vlan_tag(with_vlan_tag(to_guest, 0x8100, 7), 0x88a8, 100),
                             with_vlan_tag(with_vlan_tag(from_guest, 0x8100, 7), 0x88a8, 100));
}

TEST_P(SpliceTrafficTest, OffloadsPassThroughWhenTheGuestTakesThem) {
  guest_->accept_offloads(true);
  for (const bool v6 : {false, true}) {
    for (const auto& [payload, gso_size] :
         {std::pair(std::size_t{1000}, std::uint16_t{0}), {kLongPayload, kSegment}}) {
      const Packet to_guest = make_offloaded_tcp(kSpliceGuest, kFarMac, v6, payload, gso_size);
      const Packet from_guest = make_offloaded_tcp(kFarMac, kSpliceGuest, v6, payload, gso_size);
      expect_unchanged_both_ways(to_guest, from_guest);
      expect_unchanged_both_ways(with_vlan_tag(to_guest, 0x8100, 7), with_vlan_tag(from_guest, 0x8100, 7));
    }
  }
}

TEST_P(SpliceTrafficTest, ChecksumIsFilledInForAGuestThatCannot) {
  guest_->accept_offloads(false);
  for (const bool v6 : {false, true}) {
    wire_->send(make_offloaded_tcp(kSpliceGuest, kFarMac, v6, 1000, 0));
    const Frame expected = make_tcp_frame(kSpliceGuest, kFarMac, v6, 1000);
    const auto got = guest_->receive([&](const Frame& frame) { return frame.size() == expected.size(); });
    ASSERT_TRUE(got);
    EXPECT_TRUE(got->frame == expected);
    EXPECT_EQ(got->header.flags & VnetHeader::kNeedsChecksum, 0);
  }
}

TEST_P(SpliceTrafficTest, LongFrameIsCutForAGuestThatCannot) {
  guest_->accept_offloads(false);
  for (const bool v6 : {false, true}) {
    const Frame whole = make_tcp_frame(kSpliceGuest, kFarMac, v6, kLongPayload);
    const std::vector<std::uint8_t> stream = parse_tcp(whole, v6).payload;
    wire_->send(make_offloaded_tcp(kSpliceGuest, kFarMac, v6, kLongPayload, kSegment));
    std::size_t received = 0;
    while (received < stream.size()) {
      const auto got = guest_->receive([](const Frame& frame) { return source_of(frame) == kFarMac; });
      ASSERT_TRUE(got) << received << " bytes arrived";
      EXPECT_EQ(got->header.gso_type, VnetHeader::kNoGso);
      const TcpSegment segment = parse_tcp(got->frame, v6);
      EXPECT_TRUE(segment.checksums_right);
      EXPECT_EQ(segment.sequence, received);
      EXPECT_EQ(segment.payload.size(), std::min<std::size_t>(kSegment, stream.size() - received));
      ASSERT_LE(received + segment.payload.size(), stream.size());
      EXPECT_TRUE(
          std::ranges::equal(segment.payload, std::span(stream).subspan(received, segment.payload.size())));
      received += segment.payload.size();
    }
  }
}

TEST_P(SpliceTrafficTest, PodItselfHearsAndSaysNothing) {
  ASSERT_OK(in_pod_->change_link(eth0_, {.arp = true}));
  ASSERT_OK(in_pod_->add_address(eth0_, {value_of(IpPrefix::parse("192.0.2.2/24"))}));
  ASSERT_OK(on_host_->change_link(value_of(on_host_->find_link("v0"))->index, {.arp = true}));
  must({"ip", "addr", "add", "192.0.2.1/24", "dev", "v0"});
  EXPECT_FALSE(run({"ping", "-c", "1", "-W", "1", "192.0.2.2"}).ok());
  EXPECT_TRUE(guest_->receive([](const Frame& frame) { return ether_type_of(frame) == kEtherTypeArp; }));
}

TEST_P(SpliceTest, MultiQueueTap) {
  ASSERT_OK(in_pod_->delete_link(tap0_));
  ASSERT_OK(netlink::create_tap(*pod_, {"tap0", kVmUid, kVmUid, true}));
  tap0_ = bring_up(*in_pod_, "tap0");
  ASSERT_OK(splice());
  TapOpening first = open_tap(pod_->path(), "tap0", kVmUid, true);
  TapOpening second = open_tap(pod_->path(), "tap0", kVmUid, true);
  ASSERT_EQ(first.error, 0);
  ASSERT_EQ(second.error, 0);
  const WirePort wire("v0");
  for (Fd* queue : {&first.fd, &second.fd}) {
    const TapPort guest(std::move(*queue));
    const Frame frame = make_test_frame(kFarMac, kSpliceGuest, "from a queue");
    guest.send({.frame = frame});
    EXPECT_TRUE(wire.receive([&](const Frame& got) { return got == frame; }));
  }
}

TEST_P(SpliceTest, CheckKnowsWhereEachProgramLeads) {
  EXPECT_REFUSED(check(), Code::kChanged, "link eth0 has no splice to link tap0");
  ASSERT_OK(splice());
  EXPECT_OK(check());
  EXPECT_OK(ebpf::check_splice(*pod_, tap0_, eth0_));

  ASSERT_OK(netlink::create_tap(*pod_, {"tap1", kVmUid, kVmUid, false}));
  const int tap1 = value_of(in_pod_->find_link("tap1"))->index;
  EXPECT_REFUSED(ebpf::check_splice(*pod_, eth0_, tap1), Code::kChanged,
                 "link eth0 has no splice to link tap1");

  ASSERT_OK(in_pod_->delete_link(tap0_));
  EXPECT_REFUSED(check(), Code::kChanged, std::to_string(tap0_));
  ASSERT_OK(netlink::create_tap(*pod_, {"tap0", kVmUid, kVmUid, false}));
  const int again = value_of(in_pod_->find_link("tap0"))->index;
  EXPECT_REFUSED(ebpf::check_splice(*pod_, again, eth0_), Code::kChanged,
                 "link tap0 has no splice to link eth0");
}

TEST_P(SpliceTest, NothingRemainsOfDeletedLinks) {
  ASSERT_OK(splice());
  const std::vector<std::uint32_t> ids = programs();
  ASSERT_EQ(ids.size(), 2U);
  const auto loaded = [](std::uint32_t id) {
    return test::run({"bpftool", "prog", "show", "id", std::to_string(id)}).ok();
  };
  for (const std::uint32_t id : ids) EXPECT_TRUE(loaded(id));
  ASSERT_OK(in_pod_->delete_link(tap0_));
  ASSERT_OK(in_pod_->delete_link(eth0_));
  for (const std::uint32_t id : ids) EXPECT_TRUE(eventually([&] { return !loaded(id); })) << "program " << id;
}

TEST_P(SpliceTest, RefusalSaysWhatAndPrintsNothing) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  const auto result = ebpf::attach_splice(*pod_, 4711, eth0_, GetParam());
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_REFUSED(result, Code::kNotFound, "4711");
}

std::string attach_name(const ::testing::TestParamInfo<Attach>& info) {
  return info.param == Attach::kTcx ? "Tcx" : "Clsact";
}
INSTANTIATE_TEST_SUITE_P(By, SpliceTest, ::testing::Values(Attach::kTcx, Attach::kClsact), attach_name);
INSTANTIATE_TEST_SUITE_P(By, SpliceTrafficTest, ::testing::Values(Attach::kTcx, Attach::kClsact),
                         attach_name);

}  // namespace
}  // namespace vmlane::test
