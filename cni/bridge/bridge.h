// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cni/bridge/config.h"
#include "cni/bridge/uplink.h"
#include "cni/lane.h"
#include "cni/result.h"
#include "core/error.h"
#include "core/lock.h"
#include "netlink/netlink.h"

// The bridge under the veth and tap lanes. One lock for each bridge spans "make it if it is missing" to "the
// port is in it" and "no port is left" to "it is gone", so that a port never loses the bridge it is about to
// join.
//
// A bridge is ours when it has the MAC we derive for its name on this node: the MAC is in the very request
// that makes the bridge, so no kill can come between. It is removed when its last port goes. Any other bridge
// is an administrator's and keeps what it has; of it we only take back what we gave, gateway addresses and
// VLAN devices, and give back the addresses that a gateway replaced.
namespace vmlane::cni {

Result<ObjectLock> lock_bridge(const NodeConfig& node, const std::string& name);

Result<bool> has_ports(netlink::Netlink& host, const netlink::Link& bridge);

// Records of other attachments on the bridge.
Result<std::vector<AttachmentRecord>> others_on_bridge(const Node& node, const std::string& bridge,
                                                       const std::string& attachment_id);
// The same for who takes something back of a bridge. No value when they cannot be read: then nobody can tell
// what they need, so it stays, and the attachment goes all the same.
std::optional<std::vector<AttachmentRecord>> others_to_spare(const Reclaim& reclaim,
                                                             const std::string& bridge);

// The MAC of a bridge that this node makes: stable across reboots, different from another node's on the same
// machine.
MacAddress own_bridge_mac(const NodeConfig& node, const std::string& name);

bool is_own_bridge(const NodeConfig& node, const netlink::Link& bridge);

// What an attachment stands on.
struct Ground {
  netlink::Link bridge;
  bool own = false;                     // the bridge is ours
  std::optional<netlink::Link> uplink;  // a port of it
  std::uint32_t mtu = 0;                // the most that bridge and uplink carry
};

// The bridge, made and up, filtering VLANs when the attachment has some, with its uplink. With `config.mtu`
// unset a new one gets the uplink's MTU, else 1500. Code::kConflict when the name is another kind of link;
// other errors are those of the uplink and of VLAN filtering.
Result<Ground> ensure_bridge(Attachment& attachment, netlink::Netlink& host, const BridgeConfig& config);

// Gives `device`, the bridge or its device in a VLAN, the gateway of each address in `ips`, filling in the
// first host address where IPAM named none. Another address of the device in that subnet is replaced with
// `config.force_address`, else Code::kConflict.
Result<> ensure_gateways(Attachment& attachment, netlink::Netlink& host, const GatewayDevice& device,
                         const BridgeConfig& config, std::vector<ResultIp>& ips);

// The other half of both: takes back what no other attachment needs of gateway addresses, VLANs and uplink,
// and the bridge when it is ours and has no port left. Takes the bridge's lock; each change is one step of
// `reclaim`.
Result<> release_bridge(const Reclaim& reclaim, netlink::Netlink& host, const std::string& name);

// For STATUS: Code::kNotAvailable when an ADD could not have the bridge or its uplink,
// Code::kLimitedConnectivity when the bridge is down under the ports that it has.
Result<> bridge_status(const Node& node, netlink::Netlink& host, const BridgeConfig& config);

// Adds the default routes of `isDefaultGateway`: through each gateway, where the result has none.
void add_default_routes(CniResult& result);

}  // namespace vmlane::cni
