// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cni/bridge/config.h"
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
// is an administrator's and keeps what it has; of it we only take back gateway addresses that we gave.
namespace vmlane::cni {

Result<ObjectLock> lock_bridge(const NodeConfig& node, const std::string& name);

// Records of other attachments on the bridge.
Result<std::vector<AttachmentRecord>> others_on_bridge(const Node& node, const std::string& bridge,
                                                       const std::string& attachment_id);

// The MAC of a bridge that this node makes: stable across reboots, different from another node's on the same
// machine.
MacAddress own_bridge_mac(const NodeConfig& node, const std::string& name);

// The bridge, made and up. With `config.mtu` unset a new one gets 1500. Code::kConflict when the name is
// another kind of link.
Result<netlink::Link> ensure_bridge(Attachment& attachment, netlink::Netlink& host,
                                    const BridgeConfig& config);

// Gives the bridge the gateway of each address in `ips`, filling in the first host address where IPAM named
// none. Code::kConflict when the bridge has another address in that subnet.
Result<> ensure_gateways(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                         std::vector<ResultIp>& ips);

// The other half of both: takes back gateway addresses that no other attachment needs, and the bridge when it
// is ours and without ports. Takes the bridge's lock.
Result<> release_bridge(const Node& node, netlink::Netlink& host, const std::string& name,
                        const std::string& attachment_id);

}  // namespace vmlane::cni
