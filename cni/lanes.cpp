// SPDX-License-Identifier: Apache-2.0
#include "cni/lanes.h"

#include "cni/macvtap/macvtap.h"
#include "cni/tap/tap.h"
#include "cni/veth/veth.h"
#include "cni/vhostuser/vhostuser.h"

namespace vmlane::cni {
namespace {

template <class... Lanes>
std::unique_ptr<Lane> first_of(std::string_view type) {
  std::unique_ptr<Lane> found;
  const auto try_lane = [&](std::unique_ptr<Lane> lane) {
    if (!found && lane->type() == type) found = std::move(lane);
  };
  (try_lane(std::make_unique<Lanes>()), ...);
  return found;
}

}  // namespace

std::unique_ptr<Lane> make_lane(std::string_view type) {
  return first_of<VethLane, TapLane, MacvtapLane, VhostuserLane>(type);
}

}  // namespace vmlane::cni
