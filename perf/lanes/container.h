// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// The yardstick: a pod on vmlane-veth, as any container has it.
class ContainerLane final : public Lane {
 public:
  std::string name() const override { return "container"; }
  std::vector<std::string> guests() const override { return {kContainerGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
