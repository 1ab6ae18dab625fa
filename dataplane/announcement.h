// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/address.h"

// What tells a network where a guest is now, when the guest itself says nothing: after a live migration QEMU
// asks for it (vhost-user's SEND_RARP).
namespace vmlane::dataplane {

struct Announcement {
  // Moves the MAC in the tables of switches on the way (RFC 903, as QEMU has it). No use to a guest.
  std::vector<std::uint8_t> for_switches;
  // For those who know the addresses: an ARP announcement (RFC 5227) or an unsolicited neighbour
  // advertisement (RFC 4861, 7.2.6) for each.
  std::vector<std::vector<std::uint8_t>> for_stations;
};

Announcement make_announcement(const MacAddress& mac, std::span<const IpAddress> addresses);

}  // namespace vmlane::dataplane
