// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <random>

#include "dataplane/frame.h"
#include "tests/support/frames.h"
#include "tests/support/offload.h"

namespace vmlane::dataplane {
namespace {

using test::Frame;

const MacAddress kFrom{.bytes = {2, 0, 0, 0, 0, 1}};
const MacAddress kTo{.bytes = {2, 0, 0, 0, 0, 2}};

TEST(FrameHeaders, FindsTcpInBothFamilies) {
  for (const bool v6 : {false, true}) {
    const FrameHeaders headers = parse_headers(test::make_tcp_frame(kTo, kFrom, v6, 100));
    EXPECT_EQ(headers.family, v6 ? 6 : 4);
    EXPECT_EQ(headers.l2, 14);
    EXPECT_EQ(headers.l3, v6 ? 40 : 20);
    EXPECT_GE(headers.l4, 20);
    EXPECT_EQ(headers.protocol, IPPROTO_TCP);
    EXPECT_FALSE(headers.tagged);
  }
}

TEST(FrameHeaders, LooksBehindTags) {
  test::Packet packet = test::make_offloaded_tcp(kTo, kFrom, false, 100, 0);
  packet = test::with_vlan_tag(packet, 0x8100, 7);
  const FrameHeaders once = parse_headers(packet.frame);
  EXPECT_EQ(once.l2, 18);
  EXPECT_TRUE(once.tagged);
  EXPECT_EQ(once.protocol, IPPROTO_TCP);
  const FrameHeaders twice = parse_headers(test::with_vlan_tag(packet, 0x88a8, 8).frame);
  EXPECT_EQ(twice.l2, 22);
}

TEST(FrameHeaders, TakesNoTransportFromAFragment) {
  Frame frame = test::make_tcp_frame(kTo, kFrom, false, 100);
  frame[14 + 6] |= 0x20;  // more fragments
  EXPECT_EQ(parse_headers(frame).l4, 0);
}

// Whatever a guest sends: nothing outside of the frame is read (the sanitizers watch), and what is found lies
// inside of it or says so.
TEST(FrameHeaders, ReadsNothingBeyondACutOrForgedFrame) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; i++) {
    Frame frame = test::make_tcp_frame(kTo, kFrom, i % 2 == 0, 64);
    for (unsigned j = 0; j < i % 8U; j++)
      frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
    frame.resize(random() % (frame.size() + 1));
    frame.shrink_to_fit();
    const FrameHeaders headers = parse_headers(frame);
    if (headers.l4 != 0) {
      EXPECT_LE(headers.l2 + headers.l3 + headers.l4, frame.size());
    }
    flow_hash(frame, headers);
  }
}

TEST(FlowHash, IsTheSameForAFlowAndAnotherForAnother) {
  const Frame one = test::make_tcp_frame(kTo, kFrom, false, 100);
  const Frame longer = test::make_tcp_frame(kTo, kFrom, false, 900);
  Frame other = one;
  other[14 + 20] ^= 1;  // source port
  const auto hash = [](const Frame& frame) { return flow_hash(frame, parse_headers(frame)); };
  EXPECT_EQ(hash(one), hash(longer));
  EXPECT_NE(hash(one), hash(other));
}

}  // namespace
}  // namespace vmlane::dataplane
