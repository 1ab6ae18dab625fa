// SPDX-License-Identifier: Apache-2.0
#include "tests/support/frames.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <stdexcept>

#include "tests/support/process.h"

namespace vmlane::test {
namespace {

constexpr std::size_t kLeastFrame = 60;  // without the checksum

// Offsets inside an ARP packet (RFC 826) and an IPv4 packet with ICMP (RFC 791, 792), from the end of the
// Ethernet header.
constexpr std::size_t kArpOperation = 6;
constexpr std::size_t kArpSenderMac = 8;
constexpr std::size_t kArpSenderIp = 14;
constexpr std::size_t kArpTargetMac = 18;
constexpr std::size_t kArpTargetIp = 24;
constexpr std::size_t kArpLength = 28;
constexpr std::size_t kIpProtocol = 9;
constexpr std::size_t kIpSource = 12;
constexpr std::size_t kIpDestination = 16;
constexpr std::size_t kIpHeader = 20;
constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kEchoRequest = 8;

void store_mac(Frame& frame, std::size_t at, const MacAddress& mac) {
  std::ranges::copy(mac.bytes, frame.begin() + static_cast<std::ptrdiff_t>(at));
}

MacAddress load_mac(const Frame& frame, std::size_t at) {
  MacAddress mac;
  std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(at), mac.bytes.size(), mac.bytes.begin());
  return mac;
}

bool holds_address(const Frame& frame, std::size_t at, const IpAddress& address) {
  return std::equal(address.bytes.begin(), address.bytes.begin() + 4,
                    frame.begin() + static_cast<std::ptrdiff_t>(at));
}

std::uint16_t internet_checksum(const Frame& frame, std::size_t from) {
  std::uint32_t sum = 0;
  for (std::size_t i = from; i < frame.size(); i += 2) {
    sum += static_cast<std::uint32_t>(frame[i] << 8) + (i + 1 < frame.size() ? frame[i + 1] : 0U);
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::optional<Frame> answer_arp(const Frame& frame, const MacAddress& mac, const IpAddress& address) {
  constexpr std::size_t kBase = kEthernetHeader;
  if (frame.size() < kBase + kArpLength || frame[kBase + kArpOperation + 1] != 1) return std::nullopt;
  if (!holds_address(frame, kBase + kArpTargetIp, address)) return std::nullopt;
  Frame reply = frame;
  store_mac(reply, 0, source_of(frame));
  store_mac(reply, 6, mac);
  reply[kBase + kArpOperation + 1] = 2;
  store_mac(reply, kBase + kArpTargetMac, load_mac(frame, kBase + kArpSenderMac));
  std::copy_n(frame.begin() + kBase + kArpSenderIp, 4, reply.begin() + kBase + kArpTargetIp);
  store_mac(reply, kBase + kArpSenderMac, mac);
  std::copy_n(address.bytes.begin(), 4, reply.begin() + kBase + kArpSenderIp);
  return reply;
}

std::optional<Frame> answer_echo(const Frame& frame, const MacAddress& mac, const IpAddress& address) {
  constexpr std::size_t kBase = kEthernetHeader;
  constexpr std::size_t kIcmpStart = kBase + kIpHeader;
  if (frame.size() < kIcmpStart + 8 || frame[kBase] != 0x45 || frame[kBase + kIpProtocol] != kIcmp)
    return std::nullopt;
  if (frame[kIcmpStart] != kEchoRequest || !holds_address(frame, kBase + kIpDestination, address))
    return std::nullopt;
  Frame reply = frame;
  const std::size_t length = static_cast<std::size_t>(frame[kBase + 2] << 8) + frame[kBase + 3];
  reply.resize(std::min(reply.size(), kBase + length));  // Ethernet padding is no part of the checksum
  store_mac(reply, 0, source_of(frame));
  store_mac(reply, 6, mac);
  std::copy_n(frame.begin() + kBase + kIpDestination, 4, reply.begin() + kBase + kIpSource);
  std::copy_n(frame.begin() + kBase + kIpSource, 4, reply.begin() + kBase + kIpDestination);
  reply[kIcmpStart] = 0;
  reply[kIcmpStart + 2] = 0;
  reply[kIcmpStart + 3] = 0;
  const std::uint16_t checksum = internet_checksum(reply, kIcmpStart);
  reply[kIcmpStart + 2] = static_cast<std::uint8_t>(checksum >> 8);
  reply[kIcmpStart + 3] = static_cast<std::uint8_t>(checksum);
  return reply;
}

}  // namespace

const MacAddress& broadcast_mac() {
  static const MacAddress mac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
  return mac;
}

Frame make_frame(const MacAddress& destination, const MacAddress& source, std::uint16_t ether_type,
                 const std::vector<std::uint8_t>& payload) {
  Frame frame(kEthernetHeader + payload.size());
  store_mac(frame, 0, destination);
  store_mac(frame, 6, source);
  frame[12] = static_cast<std::uint8_t>(ether_type >> 8);
  frame[13] = static_cast<std::uint8_t>(ether_type);
  std::ranges::copy(payload, frame.begin() + kEthernetHeader);
  return frame;
}

Frame make_test_frame(const MacAddress& destination, const MacAddress& source, const std::string& text) {
  Frame frame = make_frame(destination, source, kEtherTypeTest, {text.begin(), text.end()});
  frame.resize(std::max(frame.size(), kLeastFrame));
  return frame;
}

Frame make_arp_announcement(const MacAddress& mac, const IpAddress& address) {
  Frame frame = make_frame(broadcast_mac(), mac, kEtherTypeArp, {0, 1, 0x08, 0, 6, 4, 0, 1});
  frame.resize(kLeastFrame);
  store_mac(frame, kEthernetHeader + kArpSenderMac, mac);
  for (const std::size_t at : {kArpSenderIp, kArpTargetIp})
    std::copy_n(address.bytes.begin(), 4, frame.begin() + static_cast<std::ptrdiff_t>(kEthernetHeader + at));
  return frame;
}

MacAddress destination_of(const Frame& frame) {
  return load_mac(frame, 0);
}

MacAddress source_of(const Frame& frame) {
  return load_mac(frame, 6);
}

std::uint16_t ether_type_of(const Frame& frame) {
  return static_cast<std::uint16_t>(frame[12] << 8 | frame[13]);
}

bool carries(const Frame& frame, const std::string& text) {
  return frame.size() >= kEthernetHeader + text.size() &&
         std::equal(text.begin(), text.end(), frame.begin() + kEthernetHeader);
}

std::optional<Frame> answer(const Frame& frame, const MacAddress& mac, const IpAddress& address) {
  if (ether_type_of(frame) == kEtherTypeArp) return answer_arp(frame, mac, address);
  if (ether_type_of(frame) == kEtherTypeIpv4) return answer_echo(frame, mac, address);
  return std::nullopt;
}

PacketSocket::PacketSocket(const std::string& netns, const std::string& link) {
  std::optional<NetnsScope> scope;
  if (!netns.empty()) scope.emplace(netns);
  // Protocol 0 receives nothing until bind names the link, so that frames of other links are never queued.
  fd_ = Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(link.c_str()));
  if (!fd_ || address.sll_ifindex == 0 ||
      ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("no packet socket on " + link + ": " + std::strerror(errno));
  }
}

void PacketSocket::send(const Frame& frame) const {
  if (::send(fd_.get(), frame.data(), frame.size(), 0) != static_cast<ssize_t>(frame.size())) {
    throw std::runtime_error(std::string("cannot send a frame: ") + std::strerror(errno));
  }
}

std::optional<Frame> PacketSocket::receive(const std::function<bool(const Frame&)>& wanted,
                                           std::chrono::milliseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::array<std::uint8_t, 65536> buffer{};
  for (;;) {
    pollfd polled{fd_.get(), POLLIN, 0};
    if (::poll(&polled, 1, milliseconds_until(deadline)) <= 0) return std::nullopt;
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < static_cast<ssize_t>(kEthernetHeader)) continue;
    Frame frame(buffer.begin(), buffer.begin() + got);
    if (wanted(frame)) return frame;
  }
}

std::vector<Frame> PacketSocket::collect(std::chrono::milliseconds time) const {
  std::vector<Frame> frames;
  const auto deadline = std::chrono::steady_clock::now() + time;
  const auto any = [](const Frame&) { return true; };
  while (auto frame = receive(any, std::chrono::milliseconds(milliseconds_until(deadline))))
    frames.push_back(std::move(*frame));
  return frames;
}

}  // namespace vmlane::test
