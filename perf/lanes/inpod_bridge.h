// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// What KubeVirt's bridge binding builds on a container's NIC: a bridge in the pod, with the pod's NIC and the
// guest's tap as its ports, and the pod's MAC and address given to the guest.
class InpodBridgeLane final : public Lane {
 public:
  std::string name() const override { return "tap-inpod-bridge"; }
  std::vector<std::string> guests() const override { return {kNativeGuest, kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
