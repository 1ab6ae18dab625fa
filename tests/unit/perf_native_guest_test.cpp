// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <netinet/if_ether.h>
#include <netinet/ip_icmp.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "perf/native_guest.h"
#include "perf/wire.h"

namespace vmlane::perf {
namespace {

using Frame = std::vector<std::uint8_t>;

const MacAddress kGuestMac{{0x02, 0, 0, 0, 0, 0x01}};
const MacAddress kPeerMac{{0x02, 0, 0, 0, 0, 0x02}};
constexpr std::array<std::uint8_t, 4> kGuestIp = {192, 0, 2, 100};
constexpr std::array<std::uint8_t, 4> kPeerIp = {192, 0, 2, 10};

class NativeGuestTest : public ::testing::Test {
 protected:
  NativeGuest guest_{kGuestMac, *IpAddress::parse("192.0.2.100")};

  static void append(Frame& frame, std::initializer_list<std::uint8_t> bytes) {
    frame.insert(frame.end(), bytes.begin(), bytes.end());
  }
  template <class Range>
  static void append(Frame& frame, const Range& bytes) {
    frame.insert(frame.end(), bytes.begin(), bytes.end());
  }
  static Frame ethernet(const MacAddress& to, std::uint16_t type) {
    Frame frame;
    append(frame, to.bytes);
    append(frame, kPeerMac.bytes);
    append(frame, {static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)});
    return frame;
  }
  static std::uint16_t checksum(std::span<const std::uint8_t> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 2)
      sum += static_cast<std::uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
  }
  static Frame ipv4(std::uint8_t protocol, const Frame& payload) {
    Frame frame = ethernet(kGuestMac, ETHERTYPE_IP);
    const auto length = static_cast<std::uint16_t>(20 + payload.size());
    Frame header = {0x45,
                    0,
                    static_cast<std::uint8_t>(length >> 8),
                    static_cast<std::uint8_t>(length),
                    0,
                    0,
                    0x40,
                    0,
                    64,
                    protocol,
                    0,
                    0};
    append(header, kPeerIp);
    append(header, kGuestIp);
    const std::uint16_t sum = checksum(header);
    header[10] = static_cast<std::uint8_t>(sum >> 8);
    header[11] = static_cast<std::uint8_t>(sum);
    append(frame, header);
    append(frame, payload);
    return frame;
  }
  static Frame udp(const Header& header, std::size_t bytes = 64, std::uint16_t port = kUdpPort) {
    Frame datagram(8 + bytes);
    const auto length = static_cast<std::uint16_t>(datagram.size());
    const Frame head = {0x30,
                        0x39,
                        static_cast<std::uint8_t>(port >> 8),
                        static_cast<std::uint8_t>(port),
                        static_cast<std::uint8_t>(length >> 8),
                        static_cast<std::uint8_t>(length),
                        0x12,
                        0x34};
    std::ranges::copy(head, datagram.begin());
    fill_datagram(std::span(datagram).subspan(8), header);
    return ipv4(IPPROTO_UDP, datagram);
  }
  static std::span<std::uint8_t> payload_of(Frame& frame) { return std::span(frame).subspan(14 + 20 + 8); }
};

TEST_F(NativeGuestTest, AnswersWhoHasItsAddress) {
  Frame frame = ethernet({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, ETHERTYPE_ARP);
  append(frame, {0, 1, 8, 0, 6, 4, 0, 1});
  append(frame, kPeerMac.bytes);
  append(frame, kPeerIp);
  append(frame, {0, 0, 0, 0, 0, 0});
  append(frame, kGuestIp);
  Frame other = frame;
  other.back() = 101;
  ASSERT_TRUE(guest_.answer(frame));
  EXPECT_TRUE(std::equal(kPeerMac.bytes.begin(), kPeerMac.bytes.end(), frame.begin()));
  EXPECT_TRUE(std::equal(kGuestMac.bytes.begin(), kGuestMac.bytes.end(), frame.begin() + 6));
  EXPECT_EQ(frame[14 + 7], 2) << "a reply";
  EXPECT_TRUE(std::equal(kGuestMac.bytes.begin(), kGuestMac.bytes.end(), frame.begin() + 14 + 8));
  EXPECT_TRUE(std::equal(kGuestIp.begin(), kGuestIp.end(), frame.begin() + 14 + 14));
  EXPECT_TRUE(std::equal(kPeerIp.begin(), kPeerIp.end(), frame.begin() + 14 + 24));
  EXPECT_FALSE(guest_.answer(other)) << "somebody else's address";
}

TEST_F(NativeGuestTest, EchoesWithAddressesAndPortsInEachOthersPlace) {
  const Header header{Kind::kEcho, 3, 7};
  Frame frame = udp(header, 1400);
  ASSERT_TRUE(guest_.answer(frame));
  EXPECT_TRUE(is_datagram(payload_of(frame), header));
  EXPECT_EQ(checksum(std::span(frame).subspan(14, 20)), 0) << "the header's checksum holds";
  EXPECT_TRUE(std::equal(kGuestIp.begin(), kGuestIp.end(), frame.begin() + 14 + 12));
  EXPECT_TRUE(std::equal(kPeerIp.begin(), kPeerIp.end(), frame.begin() + 14 + 16));
  EXPECT_EQ(frame[34] << 8 | frame[35], kUdpPort);
  EXPECT_EQ(frame[36] << 8 | frame[37], 0x3039);
}

TEST_F(NativeGuestTest, CountsAStreamAndTellsWhenAsked) {
  for (int i = 0; i < 5; i++) {
    Frame frame = udp({Kind::kCount, 9, 0});
    EXPECT_FALSE(guest_.answer(frame));
  }
  Frame query = udp({Kind::kQuery, 9, 0}, kMinBytes);
  ASSERT_TRUE(guest_.answer(query));
  EXPECT_TRUE(is_datagram(payload_of(query), {Kind::kQuery, 9, 5}));
  Frame next = udp({Kind::kQuery, 10, 0}, kMinBytes);
  ASSERT_TRUE(guest_.answer(next));
  EXPECT_TRUE(is_datagram(payload_of(next), {Kind::kQuery, 10, 0})) << "a new stream begins at nothing";
}

TEST_F(NativeGuestTest, LeavesItsTcpAndArpRepliesToAStack) {
  const Frame segment = ipv4(IPPROTO_TCP, Frame(20));
  EXPECT_TRUE(guest_.is_for_stack(segment));
  Frame elsewhere = segment;
  elsewhere[0] = 0x06;
  EXPECT_FALSE(guest_.is_for_stack(elsewhere)) << "another MAC";
  EXPECT_FALSE(guest_.is_for_stack(udp({Kind::kCount, 9, 0}))) << "a flood costs the stack nothing";
  EXPECT_TRUE(guest_.is_for_stack(ethernet(kGuestMac, ETHERTYPE_ARP)));
  EXPECT_FALSE(guest_.is_for_stack(ethernet({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, ETHERTYPE_ARP)));
  for (std::size_t length = 0; length < 34; length++)
    EXPECT_FALSE(guest_.is_for_stack(std::span(segment).first(length))) << length;
}

TEST_F(NativeGuestTest, AnswersPings) {
  Frame message = {ICMP_ECHO, 0, 0, 0, 0x12, 0x34, 0, 1, 'd', 'a', 't', 'a'};
  const std::uint16_t sum = checksum(message);
  message[2] = static_cast<std::uint8_t>(sum >> 8);
  message[3] = static_cast<std::uint8_t>(sum);
  Frame frame = ipv4(IPPROTO_ICMP, message);
  ASSERT_TRUE(guest_.answer(frame));
  EXPECT_EQ(frame[34], ICMP_ECHOREPLY);
  EXPECT_EQ(checksum(std::span(frame).subspan(34)), 0);
}

TEST_F(NativeGuestTest, HasNothingToSayToWhatIsNotForIt) {
  Frame other_mac = udp({});
  other_mac[5] = 0x77;
  Frame other_address = udp({});
  other_address[14 + 19] = 101;
  Frame other_port = udp({}, 64, 7777);
  Frame fragment = udp({});
  fragment[14 + 6] = 0x20;
  Frame ipv6 = ethernet(kGuestMac, ETHERTYPE_IPV6);
  ipv6.resize(100);
  for (Frame* frame : {&other_mac, &other_address, &other_port, &fragment, &ipv6})
    EXPECT_FALSE(guest_.answer(*frame));
}

// Frames that are cut or whose lengths lie must neither be answered with what is behind them nor be read
// past.
TEST_F(NativeGuestTest, CutAndRandomFramesAreSafe) {
  const Frame whole = udp({Kind::kEcho, 1, 1});
  for (std::size_t length = 0; length < whole.size(); length++) {
    Frame frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    frame.shrink_to_fit();
    EXPECT_FALSE(guest_.answer(frame)) << length;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; i++) {
    Frame frame = whole;
    frame.resize(random() % (whole.size() + 1));
    for (int flips = 0; flips < 4 && !frame.empty(); flips++)
      frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
    frame.shrink_to_fit();
    guest_.answer(frame);
  }
}

TEST(WireTest, AWrongByteIsNoAnswer) {
  std::vector<std::uint8_t> datagram(200);
  const Header header{Kind::kEcho, 4, 123456};
  fill_datagram(datagram, header);
  EXPECT_TRUE(is_datagram(datagram, header));
  for (std::size_t i = 0; i < datagram.size(); i++) {
    datagram[i] ^= 1;
    EXPECT_FALSE(is_datagram(datagram, header)) << i;
    datagram[i] ^= 1;
  }
  EXPECT_FALSE(is_datagram(datagram, {Kind::kEcho, 4, 123457}));
  EXPECT_FALSE(is_datagram(std::span(datagram).first(kMinBytes - 1), header));
}

}  // namespace
}  // namespace vmlane::perf
