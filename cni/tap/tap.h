// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/bridge/lane.h"

namespace vmlane::cni {

// vmlane-tap: a tap that QEMU opens, joined to the veth pair's end by an eBPF redirect in both directions; no
// bridge in the pod and nothing to enforce there.
//
//   bridge -- host veth ====== pod veth (CNI_IFNAME) <--splice--> tap (names::tap_link) -- QEMU
//
// Addresses and routes belong to the guest: they are in the result and the record, never on a link. The pod
// veth carries the guest's MAC and MTU for KubeVirt
// (`domainAttachmentType: tap`). No frame with the guest's MAC leaves before the guest sends one.
class TapLane final : public BridgeLane {
 public:
  std::string type() const override { return "vmlane-tap"; }
  std::string about() const override { return "wires a virtual machine to a Linux bridge by a tap"; }
  std::vector<std::string> pod_links(const AttachmentKey& key) const override;
  void plan(AttachmentRecord& record) const override;
  Result<> silence(const Reclaim& reclaim) const override;
  Result<> reclaim(const Reclaim& reclaim) const override;
  Result<> check(const Inspection& inspection) override;
  Result<> status(const Request& request, const Node& node) override;

 private:
  bool is_for_guests() const override { return true; }
  Result<> refuse_keys_of_containers() const;
  Result<> configure_pod_side(ObjectReader& reader, const Request& request, const NodeConfig& node) override;
  Result<> wire_pod(Attachment& attachment, netlink::Netlink& pod_links, const netlink::Link& pod_link,
                    const CniResult& result) override;

  Result<> make_tap(Attachment& attachment, const netlink::TapSpec& spec) const;

  netlink::TapSpec tap_;
  std::string selinux_context_;  // as the key has it; empty without the key
};

}  // namespace vmlane::cni
