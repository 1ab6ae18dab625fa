// SPDX-License-Identifier: Apache-2.0
#include "cni/veth/veth.h"

#include <chrono>
#include <thread>

#include "cni/pod_link.h"
#include "cni/sysctl.h"

namespace vmlane::cni {
namespace {

// A bridge opens a port a moment after both ends of the pair are up, and drops what comes before. With
// spanning tree the moment is half a minute, which an ADD does not wait for.
void await_forwarding(netlink::Netlink& host, int port) {
  constexpr auto kLimit = std::chrono::milliseconds(500);
  constexpr auto kPoll = std::chrono::milliseconds(1);
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  for (;;) {
    const auto state = host.bridge_port(port);
    if (!state || state->forwarding || std::chrono::steady_clock::now() >= deadline) return;
    std::this_thread::sleep_for(kPoll);
  }
}

void await_path(const Attachment& attachment) {
  const auto host = attachment.node.kernel.netlink(attachment.host);
  const auto port =
      host ? (*host)->find_link(attachment.record.handles.value("host_link", "")) : fail(host.error());
  if (port && *port) await_forwarding(**host, (*port)->index);
}

// Has the kernel send an ARP announcement (RFC 5227, 3) and an unsolicited neighbour advertisement (RFC 4861,
// 7.2.6) for each address, now and whenever the link comes up again. It does so when the MAC is set, to
// whatever value. A packet socket of ours could send the same, but closing one takes the kernel some ten
// milliseconds, during which the ADD would not end.
Result<> make_kernel_announce(const Attachment& attachment, netlink::Netlink& pod_links,
                              const netlink::Link& pod_link) {
  const auto set = [&](const char* family, const char* key) {
    return set_link_sysctl(attachment.node, attachment.pod, {family, pod_link.name, key, "1"});
  };
  VMLANE_TRY(set("ipv4", "arp_notify"));
  VMLANE_TRY(set("ipv6", "ndisc_notify"));
  return pod_links.change_link(pod_link.index, {.mac = pod_link.mac});
}

// Neighbours may still have the addresses with an earlier pod's MAC. They would notice in time, so an
// announcement that cannot be made is no reason to fail the ADD.
void announce(const Attachment& attachment, netlink::Netlink& pod_links, const netlink::Link& pod_link,
              const CniResult& result) {
  if (result.ips.empty()) return;
  await_path(attachment);
  const auto told = make_kernel_announce(attachment, pod_links, pod_link);
  if (!told) attachment.node.log.warning("addresses are not announced", {{"error", told.error().text()}});
}

}  // namespace

Result<> VethLane::configure_pod_side(ObjectReader&, const Request&, const Node&) {
  return {};
}

Result<> VethLane::wire_pod(Attachment& attachment, netlink::Netlink& pod_links,
                            const netlink::Link& pod_link, const CniResult& result) {
  if (config().leave_down) return {};
  const DuplicateDetection detection{.on = config().duplicate_detection,
                                     .await_path = [&attachment] { await_path(attachment); }};
  VMLANE_TRY(configure_pod_link(attachment, pod_links, pod_link, result, detection));
  announce(attachment, pod_links, pod_link, result);
  return {};
}

Result<> VethLane::check(const Inspection& inspection) {
  VMLANE_TRY(BridgeLane::check(inspection));
  VMLANE_ASSIGN(const auto pod, inspection.node.kernel.netlink(inspection.pod));
  VMLANE_ASSIGN(const auto link, pod->find_link(inspection.record.key.ifname));
  // KubeVirt's bridge binding moves the addresses into its DHCP server and leaves a dummy here.
  if (!link || link->kind != "veth") return {};
  return check_pod_addresses(*pod, *link, inspection.record);
}

}  // namespace vmlane::cni
