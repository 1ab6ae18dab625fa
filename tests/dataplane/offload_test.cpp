// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tests/dataplane/switch_test.h"

namespace vmlane::test {
namespace {

using lab::VirtioFeatures;
using lab::VirtioNetHeader;

VirtioNetHeader virtio_header(const VnetHeader& header) {
  return {.flags = header.flags,
          .gso_type = header.gso_type,
          .header_length = header.header_length,
          .gso_size = header.gso_size,
          .checksum_start = header.checksum_start,
          .checksum_offset = header.checksum_offset};
}

// As many bytes as one frame can have, in segments of an Ethernet's usual size.
constexpr std::size_t kPayload = 50'000;
constexpr std::uint16_t kSegment = 1400;

class Offload : public SwitchTest, public ::testing::WithParamInterface<bool> {
 protected:
  bool v6() const { return GetParam(); }
  Json open() const { return inside({{"spoofCheck", false}, {"ipam", nullptr}}); }
  // All payload that arrives at a guest, by its place in the stream, until there is enough.
  struct Stream {
    std::map<std::uint32_t, std::vector<std::uint8_t>> parts;
    std::size_t bytes = 0;
    bool checksums_right = true;
    bool asked_for_checksum = false;
    unsigned frames = 0;
    std::uint16_t largest_segment = 0;
  };
  Stream receive_stream(Nic& nic, std::size_t bytes) const {
    Stream stream;
    while (stream.bytes < bytes) {
      const auto frame = nic.guest->receive_within(kPatience);
      if (!frame) break;
      const TcpSegment segment = parse_tcp(frame->bytes, v6());
      stream.frames++;
      stream.bytes += segment.payload.size();
      stream.checksums_right = stream.checksums_right && segment.checksums_right;
      stream.asked_for_checksum =
          stream.asked_for_checksum || (frame->header.flags & VirtioNetHeader::kNeedsChecksum) != 0;
      stream.largest_segment = std::max(stream.largest_segment, frame->header.gso_size);
      stream.parts[segment.sequence] = segment.payload;
    }
    return stream;
  }
  static std::vector<std::uint8_t> whole(const Stream& stream) {
    std::vector<std::uint8_t> bytes;
    for (const auto& [sequence, part] : stream.parts) bytes.insert(bytes.end(), part.begin(), part.end());
    return bytes;
  }
};

TEST_P(Offload, PassesALargeFrameOnInOnePieceToAGuestThatTakesIt) {
  start_switch();
  Nic a = connect_nic("a", open());
  Nic b = connect_nic("b", open());
  const Packet packet = make_offloaded_tcp(b.mac, a.mac, v6(), kPayload, kSegment);
  ASSERT_TRUE(a.guest->send(packet.frame, virtio_header(packet.header)));
  const auto frame = b.guest->receive_within(kPatience);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->bytes, packet.frame) << "also the pseudo header's sum in it must be what the sender wrote";
  EXPECT_EQ(frame->header.gso_size, kSegment);
  EXPECT_EQ(frame->header.gso_type, v6() ? VirtioNetHeader::kGsoTcp6 : VirtioNetHeader::kGsoTcp4);
  EXPECT_EQ(frame->header.checksum_start, packet.header.checksum_start);
  EXPECT_EQ(port_of(b).value("segmented", 1U), 0U);
}

TEST_P(Offload, CutsALargeFrameForAGuestThatCannotTakeIt) {
  start_switch();
  Nic a = connect_nic("a", open());
  Nic b = connect_nic("b", open(), VirtioFeatures::kPlain);
  const Packet packet = make_offloaded_tcp(b.mac, a.mac, v6(), kPayload, kSegment);
  ASSERT_TRUE(a.guest->send(packet.frame, virtio_header(packet.header)));
  const Stream stream = receive_stream(b, kPayload);
  EXPECT_EQ(whole(stream), parse_tcp(packet.frame, v6()).payload);
  EXPECT_EQ(stream.frames, (kPayload + kSegment - 1) / kSegment);
  EXPECT_TRUE(stream.checksums_right);
  EXPECT_FALSE(stream.asked_for_checksum);
  EXPECT_EQ(port_of(b).value("segmented", 0U), 1U);
}

TEST_P(Offload, LeavesTheChecksumToAGuestThatFillsItInItself) {
  start_switch();
  Nic a = connect_nic("a", open());
  const std::uint64_t features = VirtioFeatures::kPlain | VirtioFeatures::kGuestChecksum;
  Nic b = connect_nic("b", open(), features);
  const Packet packet = make_offloaded_tcp(b.mac, a.mac, v6(), kPayload, kSegment);
  ASSERT_TRUE(a.guest->send(packet.frame, virtio_header(packet.header)));
  const Stream stream = receive_stream(b, kPayload);
  EXPECT_EQ(whole(stream), parse_tcp(packet.frame, v6()).payload);
  EXPECT_TRUE(stream.asked_for_checksum);
}

TEST_P(Offload, FillsInTheChecksumOfASmallFrame) {
  start_switch();
  Nic a = connect_nic("a", open());
  Nic b = connect_nic("b", open(), VirtioFeatures::kPlain);
  const Packet packet = make_offloaded_tcp(b.mac, a.mac, v6(), 777, 0);
  ASSERT_TRUE(a.guest->send(packet.frame, virtio_header(packet.header)));
  const Stream stream = receive_stream(b, 777);
  EXPECT_EQ(whole(stream), parse_tcp(packet.frame, v6()).payload);
  EXPECT_TRUE(stream.checksums_right);
}

TEST_P(Offload, KeepsALargeFrameWholeOnItsWayThroughTheKernelsBridge) {
  start_switch();
  const Json conf = config({{"spoofCheck", false}, {"ipam", nullptr}});
  Nic a = connect_nic("a", conf);
  ASSERT_TRUE(eventually([&] { return link_of("", "br1").value("operstate", "") == "UP"; }, kPatience));
  const MacAddress bridge = *MacAddress::parse(link_of("", "br1").value("address", ""));
  const WirePort wire("br1");
  const auto is_tcp = [](const Frame& frame) {
    return ether_type_of(frame) != kEtherTypeArp && frame.size() > 1000;
  };
  const Packet out = make_offloaded_tcp(bridge, a.mac, v6(), kPayload, kSegment);
  ASSERT_TRUE(a.guest->send(out.frame, virtio_header(out.header)));
  const auto seen = wire.receive(is_tcp, kPatience);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->frame, out.frame);
  EXPECT_EQ(seen->header.gso_size, kSegment);
  const Packet in = make_offloaded_tcp(a.mac, bridge, v6(), kPayload, kSegment);
  wire.send(in);
  std::optional<lab::ReceivedFrame> got;
  do {
    got = a.guest->receive_within(kPatience);
  } while (got && got->bytes.size() < 1000);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes, in.frame);
  EXPECT_EQ(got->header.gso_size, kSegment);
}

INSTANTIATE_TEST_SUITE_P(Families, Offload, ::testing::Values(false, true),
                         [](const auto& family) { return family.param ? "ipv6" : "ipv4"; });

}  // namespace
}  // namespace vmlane::test
