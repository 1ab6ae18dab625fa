// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// vmlane-macvtap on the bridge that all lanes share, with nothing between the bridge and the guest.
class MacvtapLane final : public Lane {
 public:
  std::string name() const override { return "macvtap"; }
  std::vector<std::string> guests() const override { return {kNativeGuest, kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
