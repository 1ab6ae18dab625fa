// SPDX-License-Identifier: Apache-2.0
#include "cni/pod_link.h"

#include <algorithm>

#include "cni/sysctl.h"

namespace vmlane::cni {
namespace {

netlink::Route kernel_route(const ResultRoute& route, const std::vector<ResultIp>& ips, int interface) {
  netlink::Route out{.destination = route.destination,
                     .gateway = route.gateway,
                     .interface = interface,
                     .priority = route.priority,
                     .table = route.table,
                     .scope = route.scope,
                     .mtu = route.mtu,
                     .advmss = route.advmss};
  // The specification: a route without a gateway goes by that of the address of its family.
  if (!out.gateway && !out.scope) {
    const auto ip = std::ranges::find_if(ips, [&](const ResultIp& candidate) {
      return candidate.gateway && candidate.gateway->v6 == route.destination.address.v6;
    });
    if (ip != ips.end()) out.gateway = ip->gateway;
  }
  return out;
}

bool has_family(const CniResult& result, bool v6) {
  return std::ranges::any_of(result.ips, [v6](const ResultIp& ip) { return ip.address.address.v6 == v6; });
}

Result<> set_in_pod(Attachment& attachment, const LinkSysctl& sysctl) {
  return attachment.transaction.step("set " + sysctl.family + " " + sysctl.key, [&] {
    return set_link_sysctl(attachment.node, attachment.pod, sysctl);
  });
}

}  // namespace

Result<> configure_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                            const CniResult& result) {
  if (has_family(result, true)) {
    // Addresses given here must survive a link that goes down and up again, as IPv4's do.
    VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "keep_addr_on_down", "1"}));
    VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "disable_ipv6", "0"}));
  }
  for (const ResultIp& ip : result.ips) {
    VMLANE_TRY(attachment.transaction.step("add address " + ip.address.to_string(), [&] {
      return pod.add_address(link.index, {ip.address, true});
    }));
  }
  VMLANE_TRY(attachment.transaction.step("bring the pod's link up",
                                         [&] { return pod.change_link(link.index, {.up = true}); }));
  for (const ResultRoute& route : result.routes) {
    VMLANE_TRY(attachment.transaction.step("add route " + route.destination.to_string(), [&] {
      return pod.add_route(kernel_route(route, result.ips, link.index));
    }));
  }
  return {};
}

Result<> check_pod_addresses(netlink::Netlink& pod, const netlink::Link& link,
                             const AttachmentRecord& record) {
  VMLANE_ASSIGN(const CniResult result,
                CniResult::from_json(record.result, kNewestVersion, "recorded result"));
  VMLANE_ASSIGN(const auto addresses, pod.addresses(link.index));
  for (const ResultIp& ip : result.ips) {
    const bool ours = ip.interface && *ip.interface < result.interfaces.size() &&
                      result.interfaces[*ip.interface].name == record.key.ifname;
    if (!ours) continue;
    const auto found =
        std::ranges::find_if(addresses, [&](const auto& entry) { return entry.prefix == ip.address; });
    if (found == addresses.end())
      return fail(Code::kChanged, "address " + ip.address.to_string() + " is gone from " + link.name);
    if (found->dad_failed)
      return fail(Code::kChanged, "address " + ip.address.to_string() + " of " + link.name +
                                      " is used by another node of the network");
  }
  VMLANE_ASSIGN(const auto routes, pod.routes(link.index));
  for (const ResultRoute& route : result.routes) {
    const netlink::Route wanted = kernel_route(route, result.ips, link.index);
    const bool there = std::ranges::any_of(routes, [&](const netlink::Route& entry) {
      return entry.destination.network() == wanted.destination.network() &&
             (!wanted.gateway || entry.gateway == wanted.gateway);
    });
    if (!there)
      return fail(Code::kChanged, "route " + route.destination.to_string() + " is gone from " + link.name);
  }
  return {};
}

Result<> silence_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link) {
  VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "disable_ipv6", "1"}));
  return attachment.transaction.step("silence " + link.name, [&] {
    return pod.change_link(link.index, {.arp = false, .no_ipv6_address_generation = true});
  });
}

}  // namespace vmlane::cni
