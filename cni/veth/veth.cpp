// SPDX-License-Identifier: Apache-2.0
#include "cni/veth/veth.h"

#include "cni/pod_link.h"

namespace vmlane::cni {

Result<> VethLane::configure_pod_side(ObjectReader&, const Request&, const Node&) {
  return {};
}

Result<> VethLane::wire_pod(Attachment& attachment, netlink::Netlink& pod_links,
                            const netlink::Link& pod_link, const CniResult& result) {
  return configure_pod_link(attachment, pod_links, pod_link, result);
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
