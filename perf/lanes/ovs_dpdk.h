// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// Open vSwitch over DPDK, as a peer of the vhost-user lane: the guest's rings in ovs-vswitchd, whose uplink
// is a tap in the bridge. No plugin of vmlane's makes it; the address is one that the container network
// gives.
class OvsDpdkLane final : public Lane {
 public:
  std::string name() const override { return "ovs-dpdk"; }
  std::vector<std::string> guests() const override { return {kNativeGuest, kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
