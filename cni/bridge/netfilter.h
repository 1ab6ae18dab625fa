// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cni/lane.h"
#include "cni/result.h"
#include "core/error.h"
#include "core/json.h"

// The key `bridgeNetfilter`: what to do when the node's firewall would silently drop frames that the bridge
// forwards (netlink/forward_filter.h). The node-wide sysctl is never written.
namespace vmlane::cni {

enum class BridgeNetfilter {
  kFail,    // ADD fails and says what drops them
  kAccept,  // an accept rule of ours in each chain that drops, while an attachment on the bridge needs it
  kIgnore,  // nothing, but a line in the log
};

// Code::kInvalidConfig for another word.
Result<BridgeNetfilter> parse_bridge_netfilter(ObjectReader& reader);

// For lane.plan(): notes in the record that there may be something for release_bridge_netfilter().
void plan_bridge_netfilter(AttachmentRecord& record, BridgeNetfilter mode);

// Part of ADD, under the bridge's lock. Families are those of the addresses in `result`, both without
// addresses. Code::kConflict naming switch, table and chain when frames are dropped and that is to fail or
// cannot be helped.
Result<> settle_bridge_netfilter(Attachment& attachment, const std::string& bridge, BridgeNetfilter mode,
                                 const CniResult& result);

// The same test again: Code::kChanged, or, with kAccept, the rule put back with a warning in the log.
Result<> check_bridge_netfilter(const Inspection& inspection, BridgeNetfilter mode);

// Step of DEL, when the record says so or there is none: withdraws the rules for the bridge unless another
// attachment on it needs them. Takes the bridge's lock.
Result<> release_bridge_netfilter(const Reclaim& reclaim, const std::string& bridge);

// The same test for STATUS, for the families that the config's "ipam" names, both when it names none:
// Code::kNotAvailable.
Result<> bridge_netfilter_status(const Node& node, const netlink::Namespace& host, const std::string& bridge,
                                 BridgeNetfilter mode, const Json& config);

}  // namespace vmlane::cni
