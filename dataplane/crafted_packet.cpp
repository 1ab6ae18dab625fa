// SPDX-License-Identifier: Apache-2.0
#include "dataplane/crafted_packet.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include <algorithm>
#include <span>

namespace vmlane::dataplane {
namespace {

class FrameWriter {
 public:
  void byte(std::uint8_t value) { bytes_.push_back(value); }
  void two(std::uint16_t value) {
    constexpr unsigned kByteBits = 8;
    byte(static_cast<std::uint8_t>(value >> kByteBits));
    byte(static_cast<std::uint8_t>(value));
  }
  void all(std::span<const std::uint8_t> values) {
    bytes_.insert(bytes_.end(), values.begin(), values.end());
  }
  void zeros(std::size_t count) { bytes_.resize(bytes_.size() + count); }
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

std::vector<std::uint8_t> transport(const CraftedPacket& packet) {
  constexpr std::size_t kPayload = 8;
  FrameWriter writer;
  switch (packet.protocol) {
    case IPPROTO_TCP: {
      constexpr std::uint16_t kOffsetAndSyn = 0x5002;
      constexpr std::uint16_t kWindow = 65535;
      writer.two(packet.source_port);
      writer.two(packet.destination_port);
      writer.zeros(8);  // sequence and acknowledgment
      writer.two(kOffsetAndSyn);
      writer.two(kWindow);
      writer.zeros(4);  // checksum and urgent pointer
      break;
    }
    case IPPROTO_UDP:
      writer.two(packet.source_port);
      writer.two(packet.destination_port);
      writer.two(2 * kPayload);
      writer.two(0);
      writer.zeros(kPayload);
      break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      writer.byte(packet.protocol == IPPROTO_ICMP ? std::uint8_t{ICMP_ECHO}
                                                  : std::uint8_t{ICMP6_ECHO_REQUEST});
      writer.zeros(3);  // code and checksum
      writer.two(packet.source_port);
      writer.zeros(2 + kPayload);
      break;
    default:
      writer.zeros(kPayload);
  }
  return writer.take();
}

}  // namespace

std::vector<std::uint8_t> make_packet(const CraftedPacket& packet) {
  constexpr std::size_t kLeastFrame = 60;  // without the checksum
  constexpr std::uint8_t kHopLimit = 64;
  constexpr std::uint16_t kTypeOfIpv4 = 0x0800;
  constexpr std::uint16_t kTypeOfIpv6 = 0x86dd;
  const std::vector<std::uint8_t> payload = transport(packet);
  const auto size = static_cast<std::uint16_t>(payload.size());
  FrameWriter writer;
  writer.all(packet.destination_mac.bytes);
  writer.all(packet.source_mac.bytes);
  writer.two(packet.destination.v6 ? kTypeOfIpv6 : kTypeOfIpv4);
  if (packet.destination.v6) {
    constexpr std::uint8_t kVersion = 0x60;
    writer.byte(kVersion);
    writer.zeros(3);
    writer.two(size);
    writer.byte(packet.protocol);
    writer.byte(kHopLimit);
  } else {
    constexpr std::uint8_t kVersionAndLength = 0x45;
    constexpr std::uint16_t kHeader = 20;
    writer.byte(kVersionAndLength);
    writer.byte(0);
    writer.two(static_cast<std::uint16_t>(kHeader + size));
    writer.zeros(4);  // identification, flags and fragment offset
    writer.byte(kHopLimit);
    writer.byte(packet.protocol);
    writer.two(0);
  }
  const std::size_t bytes = packet.destination.v6 ? 16 : 4;
  writer.all(std::span(packet.source.bytes).first(bytes));
  writer.all(std::span(packet.destination.bytes).first(bytes));
  writer.all(payload);
  std::vector<std::uint8_t> frame = writer.take();
  frame.resize(std::max(frame.size(), kLeastFrame));
  return frame;
}

}  // namespace vmlane::dataplane
