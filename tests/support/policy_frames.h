// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/address.h"
#include "tests/support/frames.h"

// Packets as policy meets them, whole and in pieces. Of checksums only that of IPv4 is right.
namespace vmlane::test {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kSctp = 132;

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint8_t kAck = 0x10;

struct PacketSpec {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = kTcp;
  std::uint16_t source_port = 40000;  // ICMP echo: the identifier
  std::uint16_t destination_port = 80;
  std::uint8_t tcp_flags = kSyn;
  std::uint8_t icmp_type = 0;                 // 0: an echo request
  int tags = 0;                               // in the frame
  int ip_options = 0;                         // in words, IPv4
  std::vector<std::uint8_t> extensions = {};  // numbers of IPv6 extension headers, of 8 bytes each
  bool fragmented = false;
  std::uint16_t fragment_place = 0;  // in units of 8 bytes
  bool more_fragments = false;
  std::uint32_t fragment_id = 0;
  Frame quoted = {};  // behind an ICMP error's header
  std::size_t payload = 8;
};

// Ethernet, IP, the protocol's header, payload.
Frame make_packet(const PacketSpec& spec);
// What an ICMP error about that packet quotes: its IP header and 8 bytes more.
Frame quote_of(const PacketSpec& spec);
// The same packet in the other direction, with these TCP flags.
PacketSpec answer_to(const PacketSpec& spec, std::uint8_t tcp_flags);

}  // namespace vmlane::test
