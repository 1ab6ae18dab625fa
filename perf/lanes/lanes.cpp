// SPDX-License-Identifier: Apache-2.0
#include "perf/lane.h"
#include "perf/lanes/container.h"
#include "perf/lanes/inpod_bridge.h"
#include "perf/lanes/macvtap.h"
#include "perf/lanes/ovs_dpdk.h"
#include "perf/lanes/tap.h"
#include "perf/lanes/user_network.h"
#include "perf/lanes/vhost_user.h"

namespace vmlane::perf {
namespace {

// A lane of the plan that vmlane does not have yet: listed, so that a report says that it is missing.
class AbsentLane final : public Lane {
 public:
  AbsentLane(std::string name, std::string guest, std::string plugin)
      : name_(std::move(name)), guest_(std::move(guest)), plugin_(std::move(plugin)) {}
  std::string name() const override { return name_; }
  std::vector<std::string> guests() const override { return {guest_}; }
  Result<> available(const SiteOptions&, std::string_view) const override {
    return fail(Code::kNotAvailable, "this version of vmlane has no " + plugin_,
                "nothing to be done on this machine");
  }
  Result<Path> set_up(Site& site, const std::string&, std::string_view guest,
                      const LaneOptions&) const override {
    return fail(available(site.options(), guest).error());
  }

 private:
  std::string name_;
  std::string guest_;
  std::string plugin_;
};

}  // namespace

std::vector<std::unique_ptr<Lane>> all_lanes() {
  std::vector<std::unique_ptr<Lane>> lanes;
  lanes.push_back(std::make_unique<ContainerLane>());
  lanes.push_back(std::make_unique<UsernetLane>());
  lanes.push_back(std::make_unique<PasstLane>());
  lanes.push_back(std::make_unique<InpodBridgeLane>());
  lanes.push_back(std::make_unique<TapLane>());
  lanes.push_back(std::make_unique<MacvtapLane>());
  lanes.push_back(std::make_unique<VhostUserLane>());
  lanes.push_back(std::make_unique<OvsDpdkLane>());
  lanes.push_back(std::make_unique<AbsentLane>("sriov", kNativeGuest, "vmlane-sriov"));
  return lanes;
}

}  // namespace vmlane::perf
