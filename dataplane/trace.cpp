// SPDX-License-Identifier: Apache-2.0
#include "dataplane/trace.h"

#include <algorithm>
#include <cstring>

namespace vmlane::dataplane {
namespace {

constexpr std::size_t kMacBytes = 6;

bool same_mac(const std::optional<MacAddress>& wanted, std::span<const std::uint8_t> head, std::size_t at) {
  return !wanted ||
         (head.size() >= at + kMacBytes && std::ranges::equal(wanted->bytes, head.subspan(at, kMacBytes)));
}

// Addresses of packets are in words of the machine's order.
bool same_address(const std::optional<IpAddress>& wanted, const std::uint32_t* words, bool v6) {
  if (!wanted) return true;
  if (wanted->v6 != v6) return false;
  constexpr unsigned kByteBits = 8;
  constexpr unsigned kTopByte = 24;
  constexpr std::size_t kWordBytes = 4;
  for (std::size_t i = 0; i < wanted->bits() / kByteBits; i++) {
    const auto byte =
        static_cast<std::uint8_t>(words[i / kWordBytes] >> (kTopByte - kByteBits * (i % kWordBytes)));
    if (byte != wanted->bytes[i]) return false;
  }
  return true;
}

}  // namespace

Trace Trace::of(const rte_mbuf& frame, std::uint64_t now) {
  Trace trace{.time = now, .length = frame.pkt_len};
  trace.bytes.resize(std::min<std::size_t>(frame.pkt_len, kMostBytes));
  const auto size = static_cast<std::uint32_t>(trace.bytes.size());
  const void* bytes = rte_pktmbuf_read(&frame, 0, size, trace.bytes.data());
  if (bytes != nullptr && bytes != trace.bytes.data())
    std::copy_n(static_cast<const std::uint8_t*>(bytes), size, trace.bytes.begin());
  return trace;
}

bool FrameMatch::matches(std::span<const std::uint8_t> head) const {
  if (!same_mac(destination_mac, head, 0) || !same_mac(source_mac, head, kMacBytes)) return false;
  if (!protocol && !source && !destination && !source_port && !destination_port) return true;
  const vmlane_packet packet = policy::NativeStage::read(head);
  if (packet.kind != VMLANE_PACKET_IP) return false;
  return (!protocol || packet.protocol == *protocol) && same_address(source, packet.source, packet.v6 != 0) &&
         same_address(destination, packet.destination, packet.v6 != 0) &&
         (!source_port || packet.source_port == *source_port) &&
         (!destination_port || packet.destination_port == *destination_port);
}

}  // namespace vmlane::dataplane
