// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// vmlane-tap: the guest's tap joined to the pod's veth by eBPF.
class TapLane final : public Lane {
 public:
  std::string name() const override { return "tap"; }
  std::vector<std::string> guests() const override { return {kNativeGuest, kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
