// SPDX-License-Identifier: Apache-2.0
#include "cni/pod_link.h"

#include <algorithm>
#include <chrono>
#include <thread>

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

// Whoever switched IPv6 off for the whole pod does not expect this link to have it.
Result<> refuse_disabled_ipv6(Attachment& attachment, const CniResult& result) {
  const auto ip =
      std::ranges::find_if(result.ips, [](const ResultIp& entry) { return entry.address.address.v6; });
  if (ip == result.ips.end()) return {};
  VMLANE_ASSIGN(const auto disabled,
                attachment.node.kernel.read_link_sysctl(attachment.pod, "ipv6", "all", "disable_ipv6"));
  if (disabled.value_or("0") == "0") return {};
  return fail(Code::kConflict,
              "IPAM gives address " + ip->address.to_string() +
                  ", and IPv6 is switched off in the pod (net.ipv6.conf.all.disable_ipv6=" + *disabled + ")",
              "leave IPv6 on in the pod, or give the network no IPv6 range");
}

Result<> prepare_ipv6(Attachment& attachment, const netlink::Link& link, bool detection) {
  // Addresses given here must survive a link that goes down and up again, as IPv4's do.
  VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "keep_addr_on_down", "1"}));
  if (detection) {
    VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "accept_dad", "1"}));
    // RFC 7527: a probe that a hairpin port sends back is known for one's own by its nonce.
    VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "enhanced_dad", "1"}));
  }
  return set_in_pod(attachment, {"ipv6", link.name, "disable_ipv6", "0"});
}

Result<> add_addresses(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                       const CniResult& result, bool detection) {
  for (const ResultIp& ip : result.ips) {
    VMLANE_TRY(attachment.transaction.step("add address " + ip.address.to_string(), [&] {
      return pod.add_address(link.index, {ip.address, !detection});
    }));
  }
  return {};
}

// Returns when the kernel has looked for other owners of all addresses.
Result<> await_detection(netlink::Netlink& pod, const netlink::Link& link, const CniResult& result) {
  // A probe goes out within a second and is waited upon for another; the reference plugin's limit.
  constexpr auto kLimit = std::chrono::seconds(5);
  constexpr auto kPoll = std::chrono::milliseconds(20);
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  const auto ours = [&](const netlink::AddressEntry& entry) {
    return std::ranges::find(result.ips, entry.prefix, &ResultIp::address) != result.ips.end();
  };
  for (;;) {
    VMLANE_ASSIGN(auto addresses, pod.addresses(link.index));
    std::erase_if(addresses, [&](const auto& entry) { return !ours(entry); });
    const auto failed = std::ranges::find_if(addresses, &netlink::AddressEntry::dad_failed);
    if (failed != addresses.end()) {
      return fail(Code::kConflict,
                  "address " + failed->prefix.to_string() + " is used by another node of the network already",
                  "find its owner, or keep the address out of the IPAM range");
    }
    const auto waiting = std::ranges::find_if(addresses, &netlink::AddressEntry::tentative);
    if (waiting == addresses.end()) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Code::kTryAgain, "duplicate detection for address " + waiting->prefix.to_string() +
                                       " did not end within 5 s");
    }
    std::this_thread::sleep_for(kPoll);
  }
}

Result<> bring_up(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link) {
  return attachment.transaction.step("bring the pod's link up",
                                     [&] { return pod.change_link(link.index, {.up = true}); });
}

}  // namespace

Result<> configure_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                            const CniResult& result, const DuplicateDetection& detection) {
  const bool detect = detection.on && has_family(result, true);
  VMLANE_TRY(refuse_disabled_ipv6(attachment, result));
  if (has_family(result, true)) VMLANE_TRY(prepare_ipv6(attachment, link, detect));
  if (detect) {
    // A probe that is lost on the way would find nobody.
    VMLANE_TRY(bring_up(attachment, pod, link));
    detection.await_path();
    VMLANE_TRY(add_addresses(attachment, pod, link, result, true));
    VMLANE_TRY(await_detection(pod, link, result));
  } else {
    VMLANE_TRY(add_addresses(attachment, pod, link, result, false));
    VMLANE_TRY(bring_up(attachment, pod, link));
  }
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

Result<> silence_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                          std::optional<std::uint32_t> group) {
  VMLANE_TRY(set_in_pod(attachment, {"ipv6", link.name, "disable_ipv6", "1"}));
  return attachment.transaction.step("silence " + link.name, [&] {
    return pod.change_link(link.index, {.arp = false, .group = group, .no_ipv6_address_generation = true});
  });
}

}  // namespace vmlane::cni
