// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/address.h"

// VLANs of bridge ports and VLAN devices (IEEE 802.1Q).
namespace vmlane::netlink {

inline constexpr std::uint16_t kMinVlan = 1;
inline constexpr std::uint16_t kMaxVlan = 4094;

// VLANs that a bridge port, or the bridge device itself, is a member of in one manner.
struct PortVlans {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  bool pvid = false;      // frames without a tag belong to it; one VLAN at most
  bool untagged = false;  // its frames leave without a tag
  bool operator==(const PortVlans&) const = default;
};

// The same memberships in ascending order, neighbours of one manner joined: equal memberships are equal
// lists. Where two entries have a VLAN in common the later one counts, as in the kernel.
std::vector<PortVlans> normalized(const std::vector<PortVlans>& vlans);

// An 802.1Q device on top of a link. It is made down.
struct VlanSpec {
  std::string name;
  int lower = 0;  // index of the link it is on
  std::uint16_t id = 0;
  std::uint32_t mtu = 1500;
  std::string alias;  // part of its creation: a device without it is somebody else's
};

}  // namespace vmlane::netlink
