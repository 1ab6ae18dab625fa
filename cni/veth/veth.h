// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/bridge/lane.h"

namespace vmlane::cni {

// vmlane-veth: the veth pair's end is the container's NIC and carries its addresses and routes. For
// containers, and for VMs on KubeVirt's core bindings, which build their own bridge or NAT on it.
class VethLane final : public BridgeLane {
 public:
  std::string type() const override { return "vmlane-veth"; }
  std::string about() const override { return "wires a container to a Linux bridge by a veth pair"; }
  Result<> check(const Inspection& inspection) override;

 private:
  Result<> configure_pod_side(ObjectReader& reader, const Request& request, const NodeConfig& node) override;
  Result<> wire_pod(Attachment& attachment, netlink::Netlink& pod_links, const netlink::Link& pod_link,
                    const CniResult& result) override;
};

}  // namespace vmlane::cni
