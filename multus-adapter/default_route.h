// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/json.h"
#include "netlink/netlink.h"

// The `default-route` of a network selection: the pod's default routes are moved to one interface. Internal
// to this room.
namespace vmlane::multus {

// Replaces, for the address families of `gateways`, the default routes on `ifnames` by one on `chosen`
// through each gateway. Code::kInvalidConfig when `chosen` is not there or has no address of that family.
Result<> move_default_routes(netlink::Netlink& pod, const std::vector<std::string>& ifnames,
                             const std::string& chosen, const std::vector<IpAddress>& gateways);

// A CNI result with its default routes of those families taken out and, for the chosen interface, the new
// ones put in.
Json with_default_routes(Json result, const std::vector<IpAddress>& gateways, bool chosen);

}  // namespace vmlane::multus
