// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cni/keys.h"
#include "cni/lane.h"
#include "cni/workload.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

// vmlane-macvtap: a macvtap in the pod on a device of the node, the shortest way there is from a VM to the
// network: no bridge, no veth pair, nothing in the pod but the link whose other end QEMU opens.
//
//   NIC, bond, VLAN device (host) ----- macvtap (pod, CNI_IFNAME) -- /dev/tap<index> -- QEMU
//
// The link is made in the pod's namespace by one request, under its name, number, MAC and owner; a kill
// leaves it or does not. Nothing is left on the host but the device node where the kernel does not make that
// by itself. Addresses and routes belong to the guest: they are in the result and the record, never on the
// link, which sends nothing by itself.
class MacvtapLane final : public Lane {
 public:
  std::string type() const override { return "vmlane-macvtap"; }
  std::string about() const override {
    return "wires a virtual machine to a device of the node by a macvtap";
  }
  Result<ConfigKeys> configure(const Request& request, const NodeConfig& node) override;
  std::string segment() const override { return "lower:" + lower_; }
  std::vector<std::string> pod_links(const AttachmentKey& key) const override { return {key.ifname}; }
  void plan(AttachmentRecord& record) const override;
  Result<> prepare(Attachment& attachment) override;
  Result<CniResult> apply(Attachment& attachment) override;
  Result<> silence(const Reclaim& reclaim) const override;
  Result<> reclaim(const Reclaim& reclaim) const override;
  Result<> check(const Inspection& inspection) override;
  Result<> status(const Request& request, const Node& node) override;

 private:
  Result<> choose_lower(ObjectReader& reader, const Request& request);
  // The link with its device node, down.
  Result<netlink::Link> make_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& lower);
  Result<> create(Attachment& attachment, netlink::Netlink& pod, const netlink::MacvtapSpec& spec) const;
  Result<> own_device(Attachment& attachment, const netlink::Link& link) const;
  Result<> open_ears(Attachment& attachment, netlink::Netlink& pod) const;
  Result<> bring_up(Attachment& attachment, netlink::Netlink& pod) const;

  std::string lower_;        // empty while nobody said it, which only ADD minds
  std::optional<int> slot_;  // the link's number, when a device plugin gave one
  netlink::MacvtapMode mode_ = netlink::MacvtapMode::kBridge;
  std::optional<std::uint32_t> mtu_;  // unset: the lower device's
  bool promiscuous_ = false;
  GuestDevice device_;
  WorkloadConfig workload_;
  std::optional<netlink::Link> link_;  // what prepare() made and apply() goes on with
};

}  // namespace vmlane::cni
