// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// vmlane-vhostuser: the guest's rings in the switch, and the switch's uplink in the bridge. The client is a
// container, so each round trip goes through the kernel's bridge and the switch.
class VhostUserLane final : public Lane {
 public:
  std::string name() const override { return "vhost-user"; }
  std::vector<std::string> guests() const override { return {kNativeGuest, kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
