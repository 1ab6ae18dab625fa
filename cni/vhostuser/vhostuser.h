// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cni/bridge/config.h"
#include "cni/keys.h"
#include "cni/lane.h"
#include "cni/vhostuser/port_directory.h"
#include "cni/workload.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

// vmlane-vhostuser: a NIC whose frames never enter the kernel on their way to another VM of the node.
//
//   QEMU -- socket in the port directory -- vmlane-switch -- uplink tap -- bridge (with key "bridge")
//
// The plugin makes what the switch is to find, and tells it by the record alone: it needs no switch to be
// running, unless it is told to. The pod has a placeholder for the NIC, a tap that nobody opens, which
// carries MAC and MTU for KubeVirt. Addresses and routes belong to the guest: they are in the result and the
// record. Source guard and guest answers are the switch's work, by rules and templates in the record.
class VhostuserLane final : public Lane {
 public:
  std::string type() const override { return "vmlane-vhostuser"; }
  std::string about() const override { return "wires a virtual machine to vmlane-switch by vhost-user"; }
  Result<ConfigKeys> configure(const Request& request, const NodeConfig& node) override;
  std::string segment() const override;
  std::vector<std::string> pod_links(const AttachmentKey& key) const override { return {key.ifname}; }
  void plan(AttachmentRecord& record) const override;
  Result<> prepare(Attachment& attachment) override;
  Result<CniResult> apply(Attachment& attachment) override;
  Result<> silence(const Reclaim& reclaim) const override;
  Result<> reclaim(const Reclaim& reclaim) const override;
  Result<> check(const Inspection& inspection) override;
  Result<> status(const Request& request, const Node& node) override;

 private:
  Result<> refuse_foreign_keys(ObjectReader& reader, const Request& request) const;
  Result<> make_placeholder(Attachment& attachment, std::uint32_t mtu);
  // The bridge with the uplink in it; the MTU that both carry.
  Result<std::uint32_t> join_bridge(Attachment& attachment);
  Result<> be_gateway(Attachment& attachment, CniResult& result);

  BridgeConfig config_;
  bool bridged_ = false;  // the network goes on in a bridge of the kernel
  std::string network_;   // the config's name
  GuestDevice device_;
  bool require_switch_ = false;
  WorkloadConfig workload_;
  PortDirectory directory_;
  std::string device_info_;  // file for it; empty: nobody asked
  std::string uplink_tap_;
  Bandwidth bandwidth_;
  bool allow_node_ = false;
  std::optional<netlink::Link> bridge_;  // what prepare() found and apply() goes on with
};

}  // namespace vmlane::cni
