// SPDX-License-Identifier: Apache-2.0
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

// Priority that the kernel gives an IPv6 route without one (IP6_RT_PRIO_USER); an IPv4 one gets 0, which is
// not reported.
constexpr std::uint32_t kDefaultIpv6Priority = 1024;

std::uint8_t default_scope(const Route& route) {
  // IPv6 has no scopes: the kernel reports "universe" whatever was asked for.
  return route.gateway || route.destination.address.v6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
}

// RTA_VIA carries a gateway of the other family than the destination: a family number, then the address.
void put_via(Message& message, const IpAddress& gateway) {
  const std::uint16_t family = gateway.v6 ? AF_INET6 : AF_INET;
  std::vector<std::uint8_t> via(sizeof(family) + gateway.bits() / 8);
  std::ranges::copy(std::as_bytes(std::span(&family, 1)), reinterpret_cast<std::byte*>(via.data()));
  std::copy_n(gateway.bytes.begin(), gateway.bits() / 8, via.begin() + sizeof(family));
  message.put(RTA_VIA, via);
}

// Which route: what the kernel tells routes apart by, and their next hop.
Message route_message(std::uint16_t type, int flags, rtmsg header, const Route& route) {
  const IpPrefix destination = route.destination.network();
  header.rtm_family = destination.address.v6 ? AF_INET6 : AF_INET;
  header.rtm_dst_len = static_cast<std::uint8_t>(destination.length);
  header.rtm_table = RT_TABLE_UNSPEC;
  header.rtm_type = RTN_UNICAST;
  Message message(type, flags, header);
  if (destination.length > 0) message.put(RTA_DST, destination.address);
  if (route.gateway && route.gateway->v6 == destination.address.v6) message.put(RTA_GATEWAY, *route.gateway);
  if (route.gateway && route.gateway->v6 != destination.address.v6) put_via(message, *route.gateway);
  message.put_u32(RTA_TABLE, route.table.value_or(RT_TABLE_MAIN));
  message.put_u32(RTA_OIF, static_cast<std::uint32_t>(route.interface));
  if (route.priority) message.put_u32(RTA_PRIORITY, *route.priority);
  return message;
}

Message add_message(const Route& route) {
  rtmsg header{};
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_scope = route.scope.value_or(default_scope(route));
  Message message = route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, header, route);
  if (!route.mtu && !route.advmss) return message;
  message.nest(RTA_METRICS, [&] {
    if (route.mtu) message.put_u32(RTAX_MTU, *route.mtu);
    if (route.advmss) message.put_u32(RTAX_ADVMSS, *route.advmss);
  });
  return message;
}

// Whoever made it (no protocol) and whatever its scope ("nowhere").
Message remove_message(const Route& route) {
  rtmsg header{};
  header.rtm_scope = RT_SCOPE_NOWHERE;
  return route_message(RTM_DELROUTE, 0, header, route);
}

std::optional<IpAddress> parse_gateway(const Attributes& attributes, bool v6) {
  if (attributes.has(RTA_GATEWAY)) return attributes.address(RTA_GATEWAY, v6);
  const auto via = attributes.bytes(RTA_VIA);
  IpAddress gateway{.v6 = !v6};
  if (via.size() != sizeof(std::uint16_t) + gateway.bits() / 8) return std::nullopt;
  std::ranges::copy(via.subspan(sizeof(std::uint16_t)), gateway.bytes.begin());
  return gateway;
}

// One Route for each next hop of a multipath route, in the attribute's layout of rtnexthop followed by
// attributes.
std::vector<Route> split_multipath(Route route, std::span<std::uint8_t> hops, bool v6) {
  std::vector<Route> routes;
  while (hops.size() >= sizeof(rtnexthop)) {
    const auto* hop = reinterpret_cast<const rtnexthop*>(hops.data());
    if (hop->rtnh_len < sizeof(rtnexthop) || hop->rtnh_len > hops.size()) break;
    const Attributes attributes(hops.subspan(sizeof(rtnexthop), hop->rtnh_len - sizeof(rtnexthop)), RTA_MAX);
    route.gateway = parse_gateway(attributes, v6);
    route.interface = hop->rtnh_ifindex;
    routes.push_back(route);
    hops = hops.subspan(std::min<std::size_t>(NLMSG_ALIGN(hop->rtnh_len), hops.size()));
  }
  return routes;
}

// Values that the kernel would have chosen by itself become unset, so that a route reads back as it was asked
// for.
void clear_defaults(Route& route, const rtmsg& header) {
  const bool v6 = route.destination.address.v6;
  if (route.table == RT_TABLE_MAIN) route.table.reset();
  if (route.priority == (v6 ? kDefaultIpv6Priority : 0)) route.priority.reset();
  if (header.rtm_scope != default_scope(route)) route.scope = header.rtm_scope;
}

std::vector<Route> parse_route(const ReceivedMessage& message) {
  const auto header = message.head<rtmsg>();
  if (header.rtm_family != AF_INET && header.rtm_family != AF_INET6) return {};
  if (header.rtm_type != RTN_UNICAST || (header.rtm_flags & RTM_F_CLONED) != 0) return {};
  const auto attributes = message.attributes<rtmsg>(RTA_MAX);
  const bool v6 = header.rtm_family == AF_INET6;
  Route route;
  route.destination = {attributes.address(RTA_DST, v6).value_or(IpAddress{.v6 = v6}), header.rtm_dst_len};
  route.table = attributes.u32(RTA_TABLE).value_or(header.rtm_table);
  if (route.table == RT_TABLE_LOCAL) return {};
  route.priority = attributes.u32(RTA_PRIORITY);
  const auto metrics = attributes.nested(RTA_METRICS, RTAX_MAX);
  route.mtu = metrics.u32(RTAX_MTU);
  route.advmss = metrics.u32(RTAX_ADVMSS);
  route.interface = attributes.s32(RTA_OIF).value_or(0);
  route.gateway = parse_gateway(attributes, v6);
  std::vector<Route> routes = {route};
  if (attributes.has(RTA_MULTIPATH)) routes = split_multipath(route, attributes.bytes(RTA_MULTIPATH), v6);
  for (Route& each : routes) clear_defaults(each, header);
  return routes;
}

std::string subject(const Route& route) {
  std::string text = "route to " + route.destination.to_string();
  if (route.gateway) text += " via " + route.gateway->to_string();
  return text + " on link with index " + std::to_string(route.interface);
}

// Whether the kernel, which tells routes apart by destination, table and priority only, has just this one and
// not another in its place.
bool same_path(const Route& present, const Route& wanted) {
  const auto priority = [](const Route& route) {
    return route.priority.value_or(route.destination.address.v6 ? kDefaultIpv6Priority : 0);
  };
  return present.destination == wanted.destination.network() && present.gateway == wanted.gateway &&
         present.interface == wanted.interface && priority(present) == priority(wanted) &&
         present.table.value_or(RT_TABLE_MAIN) == wanted.table.value_or(RT_TABLE_MAIN);
}

}  // namespace

Result<std::vector<Route>> KernelNetlink::routes(int interface) {
  Message message(RTM_GETROUTE, NLM_F_DUMP, rtmsg{});
  if (interface != 0) message.put_u32(RTA_OIF, static_cast<std::uint32_t>(interface));
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  if (reply.error == ENODEV) return std::vector<Route>{};
  if (!reply.ok()) return fail(reply.to_error("list routes"));
  std::vector<Route> routes;
  for (const ReceivedMessage& received : reply.messages)
    std::ranges::copy(parse_route(received), std::back_inserter(routes));
  // The kernel's own filter lets a multipath route through whole, and one before 4.20 has none.
  if (interface != 0) std::erase_if(routes, [&](const Route& route) { return route.interface != interface; });
  return routes;
}

Result<> KernelNetlink::add_route(const Route& route) {
  Message message = add_message(route);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok()) return {};
  if (reply.error != EEXIST) return fail(reply.to_error("add " + subject(route)));
  VMLANE_ASSIGN(const auto present, routes(route.interface));
  if (std::ranges::any_of(present, [&](const Route& other) { return same_path(other, route); })) return {};
  return fail(Code::kConflict,
              "cannot add " + subject(route) + ": another route to " +
                  route.destination.network().to_string() + " has the same priority",
              "give this one another priority or table");
}

Result<> KernelNetlink::remove_route(const Route& route) {
  Message message = remove_message(route);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  // ENODEV: the link is gone, and its routes with it.
  if (reply.ok() || reply.error == ESRCH || reply.error == ENODEV) return {};
  return fail(reply.to_error("remove " + subject(route)));
}

}  // namespace vmlane::netlink
