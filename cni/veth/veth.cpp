// SPDX-License-Identifier: Apache-2.0
#include "cni/veth/veth.h"

#include <chrono>
#include <thread>

#include "cni/pod_link.h"
#include "cni/sysctl.h"

namespace vmlane::cni {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(1);

// Asks until the answer is yes, or the limit is over.
template <class Condition>
void wait_for(std::chrono::milliseconds limit, const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kPoll);
}

// A bridge opens a port a moment after both ends of the pair are up, and drops what comes before. The moment
// is long on a node that is busy with other links. With spanning tree it is half a minute more, which an ADD
// does not wait for.
void await_forwarding(netlink::Netlink& host, int port) {
  constexpr auto kToNotice = std::chrono::seconds(5);
  wait_for(kToNotice, [&] {
    const auto state = host.bridge_port(port);
    return !state || !state->disabled;
  });
  constexpr auto kToOpen = std::chrono::milliseconds(500);
  wait_for(kToOpen, [&] {
    const auto state = host.bridge_port(port);
    return !state || state->forwarding;
  });
}

// A bridge whose first port this is has its carrier from now on, and so have its VLAN devices, but they send
// nothing, and so answer nothing, before the kernel has noticed. It may take a second; since 6.8 being asked
// makes it look at once.
void await_running(netlink::Netlink& host, const std::string& name) {
  constexpr auto kToNotice = std::chrono::milliseconds(1500);
  wait_for(kToNotice, [&] {
    const auto link = host.find_link(name);
    return !link || !*link || !(*link)->carrier || (*link)->running;
  });
}

// Returns when what the pod sends reaches the network and the gateway can answer.
void await_path(const Attachment& attachment) {
  const Json& handles = attachment.record.handles;
  const auto host = attachment.node.kernel.netlink(attachment.host);
  if (!host) return;
  const auto port = (*host)->find_link(handles.value("host_link", ""));
  if (!port || !*port) return;
  await_forwarding(**host, (*port)->index);
  const std::string bridge = handles.value("bridge", "");
  const std::string gateway = handles.value("gateway_device", bridge);
  await_running(**host, bridge);
  if (gateway != bridge) await_running(**host, gateway);
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

Result<> VethLane::configure_pod_side(ObjectReader&, const Request&, const NodeConfig&) {
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
