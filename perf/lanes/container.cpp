// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/container.h"

#include "perf/lanes/parts.h"

namespace vmlane::perf {

Result<> ContainerLane::available(const SiteOptions& site, std::string_view) const {
  return have_plugin(site, "vmlane-veth");
}

Result<Path> ContainerLane::set_up(Site& site, const std::string& pod, std::string_view,
                                   const LaneOptions&) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kContainerNetwork));
  VMLANE_ASSIGN(path.address, path.attached->address());
  VMLANE_ASSIGN(auto responder, site.start(pod, "responder", {"respond"}));
  path.processes.push_back(std::move(responder));
  return path;
}

}  // namespace vmlane::perf
