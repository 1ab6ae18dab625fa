// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "cni/bridge/bridge.h"
#include "cni/bridge/config.h"
#include "cni/lane.h"
#include "core/error.h"
#include "netlink/netlink.h"

// A network's way from the switch to the kernel: one tap for each L2 segment, a port of the segment's bridge.
// The first attachment makes it and the last one removes it; the switch attaches to it whenever it runs, as
// the user that the tap belongs to. All attachments of the segment share it, so what a bridge port can only
// have once, isolation, must be the same for all of them.
namespace vmlane::cni {

// Part of ADD, under the bridge's lock. Code::kConflict when the name is taken or isolation differs.
Result<netlink::Link> ensure_kernel_uplink(Attachment& attachment, netlink::Netlink& host,
                                           const netlink::Link& bridge, const std::string& segment,
                                           const BridgeConfig& config, std::uint32_t mtu);

// Steps of DEL: removes the uplinks of this node that no other attachment's record names. Returns the names
// of the bridges that lost one. Takes the bridges' locks.
Result<std::vector<std::string>> release_kernel_uplinks(const Reclaim& reclaim, netlink::Netlink& host);

// Code::kChanged when the tap is gone, down, or no port of the bridge with its VLANs.
Result<> check_kernel_uplink(const Inspection& inspection, netlink::Netlink& host);

}  // namespace vmlane::cni
