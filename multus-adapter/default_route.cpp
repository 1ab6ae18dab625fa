// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/default_route.h"

#include <algorithm>

namespace vmlane::multus {
namespace {

bool has_family(const std::vector<IpAddress>& gateways, bool v6) {
  return std::ranges::find(gateways, v6, &IpAddress::v6) != gateways.end();
}

Result<> remove_default_routes(netlink::Netlink& pod, int index, const std::vector<IpAddress>& gateways) {
  VMLANE_ASSIGN(const auto routes, pod.routes(index));
  for (const netlink::Route& route : routes) {
    const bool replaced =
        route.destination.length == 0 && has_family(gateways, route.destination.address.v6) && !route.table;
    if (replaced) VMLANE_TRY(pod.remove_route(route));
  }
  return {};
}

std::unexpected<Error> not_usable(const std::string& ifname, const std::string& why) {
  return fail(Code::kInvalidConfig, "\"default-route\" cannot be set: interface " + ifname + " " + why);
}

constexpr std::uint8_t kLinkScope = 253;  // RT_SCOPE_LINK: an IPv6 link-local address gives no default route

}  // namespace

Result<> move_default_routes(netlink::Netlink& pod, const std::vector<std::string>& ifnames,
                             const std::string& chosen, const std::vector<IpAddress>& gateways) {
  VMLANE_ASSIGN(const auto target, pod.find_link(chosen));
  if (!target) return not_usable(chosen, "is not in the pod's namespace");
  VMLANE_ASSIGN(const auto addresses, pod.addresses(target->index));
  for (const IpAddress& gateway : gateways) {
    const bool held = std::ranges::any_of(addresses, [&](const netlink::AddressEntry& entry) {
      return entry.prefix.address.v6 == gateway.v6 && entry.scope != kLinkScope;
    });
    if (!held) return not_usable(chosen, std::string("has no IPv") + (gateway.v6 ? "6" : "4") + " address");
  }
  for (const std::string& ifname : ifnames) {
    VMLANE_ASSIGN(const auto link, pod.find_link(ifname));
    if (link) VMLANE_TRY(remove_default_routes(pod, link->index, gateways));
  }
  for (const IpAddress& gateway : gateways) {
    VMLANE_TRY(pod.add_route(
        {.destination = {IpAddress{.v6 = gateway.v6}, 0}, .gateway = gateway, .interface = target->index}));
  }
  return {};
}

Json with_default_routes(Json result, const std::vector<IpAddress>& gateways, bool chosen) {
  const auto replaced = [&](const Json& route) {
    const auto dst = route.find("dst");
    const bool v4 = dst != route.end() && *dst == "0.0.0.0/0";
    const bool v6 = dst != route.end() && *dst == "::/0";
    return (v4 && has_family(gateways, false)) || (v6 && has_family(gateways, true));
  };
  Json routes = Json::array();
  if (const auto old = result.find("routes"); old != result.end() && old->is_array()) {
    for (const Json& route : *old) {
      if (!replaced(route)) routes.push_back(route);
    }
  }
  if (chosen) {
    for (const IpAddress& gateway : gateways) {
      routes.push_back({{"dst", gateway.v6 ? "::/0" : "0.0.0.0/0"}, {"gw", gateway.to_string()}});
    }
  }
  if (routes.empty()) {
    result.erase("routes");
  } else {
    result["routes"] = std::move(routes);
  }
  return result;
}

}  // namespace vmlane::multus
