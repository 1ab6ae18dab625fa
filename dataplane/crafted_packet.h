// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/address.h"

namespace vmlane::dataplane {

// The first packet of a connection, as an operator asks what would become of it.
struct CraftedPacket {
  MacAddress source_mac;
  MacAddress destination_mac;
  IpAddress source;
  IpAddress destination;              // of the same family
  std::uint8_t protocol = 6;          // TCP: a SYN; UDP: 8 bytes of payload; else 8 bytes behind IP
  std::uint16_t source_port = 40000;  // of an ICMP echo request: the identifier
  std::uint16_t destination_port = 80;
};

// Ethernet, IPv4 or IPv6, the protocol's header. Its checksums are zero: it is looked at and goes nowhere.
std::vector<std::uint8_t> make_packet(const CraftedPacket& packet);

}  // namespace vmlane::dataplane
