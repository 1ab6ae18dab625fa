// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cni/bridge/bridge.h"
#include "cni/bridge/config.h"
#include "cni/lane.h"
#include "cni/workload.h"

namespace vmlane::cni {

// What the veth and tap lanes share: a veth pair whose host end is a port of a Linux bridge. How the pod's
// end becomes the workload's NIC is the derived lane's part.
//
//   bridge -- host veth (vml...) ====== pod veth (CNI_IFNAME) [ derived lane ]
class BridgeLane : public Lane {
 public:
  Result<ConfigKeys> configure(const Request& request, const NodeConfig& node) final;
  std::string segment() const final;
  std::vector<std::string> pod_links(const AttachmentKey& key) const override { return {key.ifname}; }
  void plan(AttachmentRecord& record) const override;
  Result<> prepare(Attachment& attachment) final;
  Result<CniResult> apply(Attachment& attachment) final;
  Result<> silence(const Reclaim& reclaim) const override;
  Result<> reclaim(const Reclaim& reclaim) const override;
  Result<> check(const Inspection& inspection) override;
  Result<> status(const Request& request, const Node& node) override;

 protected:
  const BridgeConfig& config() const { return config_; }
  // Whether its workloads are virtual machines, which are guarded and answered unless a key says otherwise.
  virtual bool is_for_guests() const { return false; }
  // The lane's own keys.
  virtual Result<> configure_pod_side(ObjectReader& reader, const Request& request,
                                      const NodeConfig& node) = 0;
  // The pod's veth is there, down, with MAC and MTU; its host end is in the bridge and up. Leaves the pod's
  // end up, unless it was asked to stay down.
  virtual Result<> wire_pod(Attachment& attachment, netlink::Netlink& pod_links,
                            const netlink::Link& pod_link, const CniResult& result) = 0;

 private:
  Result<netlink::Link> own_host_end(Attachment& attachment, netlink::Netlink& host, const std::string& name);
  Result<> add_port(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                    const netlink::Link& link);
  Result<netlink::Link> join_bridge(Attachment& attachment, netlink::Netlink& host, CniResult& result);
  Result<> be_gateway(Attachment& attachment, netlink::Netlink& host, const Ground& ground,
                      CniResult& result);
  Result<> set_port_flags(Attachment& attachment, netlink::Netlink& host, int port) const;
  // Brings the port up, its programs first: no frame comes before the guard.
  Result<> open_port(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                     const CniResult& result) const;
  Result<std::string> make_pair(Attachment& attachment, netlink::Netlink& host, std::uint32_t mtu,
                                const MacAddress& mac);
  Result<std::uint32_t> effective_mtu(const Ground& ground) const;

  BridgeConfig config_;
  WorkloadConfig workload_;
  // What prepare() made and apply() goes on with.
  struct Prepared {
    netlink::Link host_link;
    netlink::Link pod_link;
  };
  std::optional<Prepared> prepared_;
};

// Whether a link is the host end of the attachment: by its alias, or by the MAC that is in the request that
// makes it.
bool is_host_end(const netlink::Link& link, const std::string& attachment_id);

}  // namespace vmlane::cni
