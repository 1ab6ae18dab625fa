// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "perf/lane.h"

namespace vmlane::perf {

// The far end of every lane that ends in a tap, or in a macvtap's device node: a guest of either kind that
// has the MAC and the address which the CNI result gave the pod. Sets the path's address and adds the guest's
// process. A delay planted in `lane` is the native guest's.
Result<> start_tap_guest(Site& site, const std::string& pod, const std::string& tap, std::string_view guest,
                         const std::string& lane, const LaneOptions& options, Path& path);

struct GuestAddress {
  MacAddress mac;
  IpPrefix address;
};
// A native guest at `end`, which is "--tap" or "--socket" and a name; the same for the rest.
Result<> start_native_guest(Site& site, const std::string& pod, const std::vector<std::string>& end,
                            const GuestAddress& own, const std::string& lane, const LaneOptions& options,
                            Path& path);

}  // namespace vmlane::perf
