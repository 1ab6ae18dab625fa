// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

namespace vmlane::dataplane {

// Where the headers of an Ethernet frame are. Lengths are 0 for what is not there or is cut off.
struct FrameHeaders {
  std::uint16_t l2 = 0;     // Ethernet with its VLAN tags
  std::uint16_t l3 = 0;     // IPv4 with options, IPv6 with extension headers
  std::uint16_t l4 = 0;     // TCP with options, UDP; 0 for later fragments and other protocols
  std::uint8_t family = 0;  // 4, 6, or 0
  std::uint8_t protocol = 0;
  bool tagged = false;
};

// Never reads outside of `bytes`, the first part of a frame. Bytes are a guest's: nothing in them is trusted.
FrameHeaders parse_headers(std::span<const std::uint8_t> bytes);

// A hash over addresses, protocol and ports that is the same for all frames of a flow.
std::uint32_t flow_hash(std::span<const std::uint8_t> bytes, const FrameHeaders& headers);

}  // namespace vmlane::dataplane
