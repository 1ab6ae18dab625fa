// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

// The lanes of this project by the names of their plugins. Internal to this room.
namespace vmlane::multus {

// Whether a NIC of this plugin is the guest's: the pod's interface carries no address.
inline bool is_guest_lane(std::string_view type) {
  constexpr std::array<std::string_view, 3> kGuestLanes = {"vmlane-tap", "vmlane-macvtap",
                                                           "vmlane-vhostuser"};
  return std::ranges::find(kGuestLanes, type) != kGuestLanes.end();
}

inline bool is_lane(std::string_view type) {
  return type == "vmlane-veth" || is_guest_lane(type);
}

}  // namespace vmlane::multus
