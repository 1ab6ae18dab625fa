// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "perf/lane.h"

namespace vmlane::perf {

// The far end of every lane that ends in a tap, or in a macvtap's device node: a guest of either kind that
// has the MAC and the address which the CNI result gave the pod. Sets the path's address and adds the guest's
// process. A delay planted in `lane` is the native guest's.
Result<> start_tap_guest(Site& site, const std::string& pod, const std::string& tap, std::string_view guest,
                         const std::string& lane, const LaneOptions& options, Path& path);

// The delay planted in a lane's native guest, in nanoseconds.
std::uint64_t planted_delay(const LaneOptions& options, const std::string& lane);

}  // namespace vmlane::perf
