// SPDX-License-Identifier: Apache-2.0
#include "tests/support/offload.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>

namespace vmlane::test {
namespace {

constexpr std::size_t kLongestFrame = 66000;
constexpr std::size_t kVlanTag = 4;
constexpr std::size_t kBothMacs = 12;  // where a tag goes
constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;
constexpr std::uint8_t kTcpProtocol = 6;
constexpr std::size_t kTcpHeader = 20;
constexpr std::size_t kTcpChecksum = 16;  // in the TCP header
constexpr std::size_t kTcpSequence = 4;
constexpr std::uint32_t kFirstSequence = 1000;

constexpr std::size_t ip_header(bool v6) {
  return v6 ? 40 : 20;
}
// Where source and destination address stand, and how long both are.
constexpr std::size_t addresses_at(bool v6) {
  return kEthernetHeader + (v6 ? 8 : 12);
}
constexpr std::size_t addresses_length(bool v6) {
  return v6 ? 32 : 8;
}

void store16(Frame& frame, std::size_t at, std::size_t value) {
  frame[at] = static_cast<std::uint8_t>(value >> 8);
  frame[at + 1] = static_cast<std::uint8_t>(value);
}

// One's complement sum of 16-bit words (RFC 1071), folded.
std::uint16_t ones_sum(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8) + (i + 1 < bytes.size() ? bytes[i + 1] : 0U);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

std::uint16_t pseudo_header_sum(const Frame& frame, bool v6) {
  const std::size_t length = frame.size() - kEthernetHeader - ip_header(v6);
  return ones_sum(std::span(frame).subspan(addresses_at(v6), addresses_length(v6)),
                  static_cast<std::uint32_t>(length + kTcpProtocol));
}

void fill_ipv4(Frame& frame) {
  frame[kEthernetHeader] = 0x45;
  store16(frame, kEthernetHeader + 2, frame.size() - kEthernetHeader);
  frame[kEthernetHeader + 6] = 0x40;  // do not fragment
  frame[kEthernetHeader + 8] = 64;
  frame[kEthernetHeader + 9] = kTcpProtocol;
  const std::array<std::uint8_t, 8> addresses = {192, 0, 2, 1, 192, 0, 2, 2};
  std::ranges::copy(addresses, frame.begin() + addresses_at(false));
  store16(frame, kEthernetHeader + 10,
          static_cast<std::uint16_t>(~ones_sum(std::span(frame).subspan(kEthernetHeader, ip_header(false)))));
}

void fill_ipv6(Frame& frame) {
  frame[kEthernetHeader] = 0x60;
  store16(frame, kEthernetHeader + 4, frame.size() - kEthernetHeader - ip_header(true));
  frame[kEthernetHeader + 6] = kTcpProtocol;
  frame[kEthernetHeader + 7] = 64;
  const std::array<std::uint8_t, 4> prefix = {0x20, 0x01, 0x0d, 0xb8};
  for (const std::size_t at : {addresses_at(true), addresses_at(true) + 16}) {
    std::ranges::copy(prefix, frame.begin() + static_cast<std::ptrdiff_t>(at));
  }
  frame[addresses_at(true) + 15] = 1;
  frame[addresses_at(true) + 31] = 2;
}

// With the sum over the pseudo header in place of the checksum: what a driver leaves for the NIC to complete.
Frame tcp_without_checksum(const MacAddress& destination, const MacAddress& source, bool v6,
                           std::size_t payload) {
  const std::size_t tcp = kEthernetHeader + ip_header(v6);
  Frame frame = make_frame(destination, source, v6 ? kEtherTypeIpv6 : kEtherTypeIpv4,
                           std::vector<std::uint8_t>(ip_header(v6) + kTcpHeader + payload));
  v6 ? fill_ipv6(frame) : fill_ipv4(frame);
  store16(frame, tcp, 40000);
  store16(frame, tcp + 2, 40001);
  store16(frame, tcp + kTcpSequence + 2, kFirstSequence);
  frame[tcp + 12] = kTcpHeader / 4 << 4;
  frame[tcp + 13] = 0x10;  // ACK
  store16(frame, tcp + 14, 1024);
  for (std::size_t i = 0; i < payload; i++)
    frame[tcp + kTcpHeader + i] = static_cast<std::uint8_t>(i * 31 + i / 251);
  store16(frame, tcp + kTcpChecksum, pseudo_header_sum(frame, v6));
  return frame;
}

void write_packet(int fd, const Packet& packet) {
  const std::array<iovec, 2> parts = {
      iovec{const_cast<VnetHeader*>(&packet.header), sizeof packet.header},
      iovec{const_cast<std::uint8_t*>(packet.frame.data()), packet.frame.size()}};
  const auto size = static_cast<ssize_t>(sizeof packet.header + packet.frame.size());
  if (::writev(fd, parts.data(), parts.size()) != size) {
    throw std::runtime_error(std::string("cannot send a packet: ") + std::strerror(errno));
  }
}

Packet split(std::span<const std::uint8_t> bytes) {
  Packet packet;
  std::memcpy(&packet.header, bytes.data(), sizeof packet.header);
  packet.frame.assign(bytes.begin() + sizeof packet.header, bytes.end());
  return packet;
}

void switch_on(int fd, int option) {
  const int on = 1;
  if (::setsockopt(fd, SOL_PACKET, option, &on, sizeof on) != 0) {
    throw std::runtime_error(std::string("packet socket option: ") + std::strerror(errno));
  }
}

Fd open_packet_socket(const std::string& link) {
  Fd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  for (const int option : {PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING})
    switch_on(fd.get(), option);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(link.c_str()));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("no packet socket on " + link + ": " + std::strerror(errno));
  }
  return fd;
}

// The kernel takes the outer tag out of a frame and tells it beside.
std::optional<tpacket_auxdata> vlan_beside(msghdr& message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_PACKET || header->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata data{};
    std::memcpy(&data, CMSG_DATA(header), sizeof data);
    if ((data.tp_status & TP_STATUS_VLAN_VALID) != 0) return data;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Packet> PacketPort::receive(const std::function<bool(const Frame&)>& wanted,
                                          std::chrono::milliseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd polled{fd(), POLLIN, 0};
    if (left.count() < 0 || ::poll(&polled, 1, static_cast<int>(left.count())) <= 0) return std::nullopt;
    auto packet = read_one();
    if (packet && wanted(packet->frame)) return packet;
  }
}

void TapPort::accept_offloads(bool accept) const {
  const unsigned long offloads = accept ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  if (::ioctl(fd(), TUNSETOFFLOAD, offloads) != 0) {
    throw std::runtime_error(std::string("TUNSETOFFLOAD: ") + std::strerror(errno));
  }
}

void TapPort::send(const Packet& packet) const {
  write_packet(fd(), packet);
}

std::optional<Packet> TapPort::read_one() const {
  std::vector<std::uint8_t> buffer(kLongestFrame);
  const ssize_t got = ::read(fd(), buffer.data(), buffer.size());
  if (got < static_cast<ssize_t>(sizeof(VnetHeader) + kEthernetHeader)) return std::nullopt;
  return split(std::span(buffer).first(static_cast<std::size_t>(got)));
}

WirePort::WirePort(const std::string& link) : PacketPort(open_packet_socket(link)) {}

void WirePort::send(const Packet& packet) const {
  write_packet(fd(), packet);
}

std::optional<Packet> WirePort::read_one() const {
  std::vector<std::uint8_t> buffer(kLongestFrame);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(tpacket_auxdata))> control{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(fd(), &message, 0);
  if (got < static_cast<ssize_t>(sizeof(VnetHeader) + kEthernetHeader)) return std::nullopt;
  const Packet packet = split(std::span(buffer).first(static_cast<std::size_t>(got)));
  const auto vlan = vlan_beside(message);
  return vlan ? with_vlan_tag(packet, vlan->tp_vlan_tpid, vlan->tp_vlan_tci) : packet;
}

Frame make_tcp_frame(const MacAddress& destination, const MacAddress& source, bool v6, std::size_t payload) {
  Frame frame = tcp_without_checksum(destination, source, v6, payload);
  const std::size_t tcp = kEthernetHeader + ip_header(v6);
  store16(frame, tcp + kTcpChecksum, static_cast<std::uint16_t>(~ones_sum(std::span(frame).subspan(tcp))));
  return frame;
}

Packet make_offloaded_tcp(const MacAddress& destination, const MacAddress& source, bool v6,
                          std::size_t payload, std::uint16_t gso_size) {
  Packet packet{.frame = tcp_without_checksum(destination, source, v6, payload)};
  const std::size_t tcp = kEthernetHeader + ip_header(v6);
  packet.header.flags = VnetHeader::kNeedsChecksum;
  packet.header.checksum_start = static_cast<std::uint16_t>(tcp);
  packet.header.checksum_offset = kTcpChecksum;
  if (gso_size == 0) return packet;
  packet.header.gso_type = v6 ? VnetHeader::kTcp6 : VnetHeader::kTcp4;
  packet.header.gso_size = gso_size;
  packet.header.header_length = static_cast<std::uint16_t>(tcp + kTcpHeader);
  return packet;
}

Packet with_vlan_tag(Packet packet, std::uint16_t ether_type, std::uint16_t control) {
  packet.frame.insert(packet.frame.begin() + kBothMacs, kVlanTag, 0);
  store16(packet.frame, kBothMacs, ether_type);
  store16(packet.frame, kBothMacs + 2, control);
  if (packet.header.flags == VnetHeader::kNeedsChecksum) packet.header.checksum_start += kVlanTag;
  if (packet.header.gso_type != VnetHeader::kNoGso) packet.header.header_length += kVlanTag;
  return packet;
}

TcpSegment parse_tcp(const Frame& frame, bool v6) {
  const std::size_t tcp = kEthernetHeader + ip_header(v6);
  if (frame.size() < tcp + kTcpHeader) throw std::runtime_error("no TCP frame");
  TcpSegment segment;
  const auto bytes = std::span(frame);
  std::uint32_t sequence = 0;
  std::memcpy(&sequence, frame.data() + tcp + kTcpSequence, sizeof sequence);
  segment.sequence = ntohl(sequence) - kFirstSequence;
  segment.payload.assign(frame.begin() + static_cast<std::ptrdiff_t>(tcp + kTcpHeader), frame.end());
  const bool ip_right = v6 || ones_sum(bytes.subspan(kEthernetHeader, ip_header(v6))) == 0xffff;
  segment.checksums_right = ip_right && ones_sum(bytes.subspan(tcp), pseudo_header_sum(frame, v6)) == 0xffff;
  return segment;
}

}  // namespace vmlane::test
