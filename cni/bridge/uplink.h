// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cni/bridge/vlan.h"
#include "cni/lane.h"
#include "core/error.h"
#include "netlink/netlink.h"

// The bridge's way out of the node (key "uplink"): a NIC, a vxlan or VLAN device, or `<nic>.<vlan>`, which is
// made when it is missing.
//
// What was done for it must outlive every record, since the last attachment that needs it need not be the one
// that brought it. So it stands in the alias of our bridge, before it is done. On an administrator's bridge
// nothing is done: the uplink must be a port already.
namespace vmlane::cni {

// The alias of a bridge of ours.
struct BridgeNote {
  std::string uplink;  // the port we put in; empty for none
  std::string raised;  // the link that was down before: the uplink, or the NIC below it

  std::string alias() const;
  // Of an alias that is not ours: nothing.
  static BridgeNote parse(const std::string& alias);
};

// An uplink that may be used.
struct Uplink {
  std::string name;
  std::optional<netlink::Link> link;   // unset: to be made, VLAN `vlan` of `lower`
  std::optional<netlink::Link> lower;  // of a VLAN device that is ours or to be made
  std::uint16_t vlan = 0;
  std::uint32_t mtu = 0;
};

// Judges the key before anything is made. `bridge` is unset while it does not exist. Code::kNotFound for a
// link that is not there, kConflict for one that may not be used, kInvalidConfig when `mtu` is more than it
// carries; each says what to do.
Result<Uplink> judge_uplink(netlink::Netlink& host, const std::string& name, std::optional<std::uint32_t> mtu,
                            const std::optional<netlink::Link>& bridge, bool own);

// Makes the uplink a port of our bridge, up; the link as it is then.
Result<netlink::Link> join_uplink(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                                  const Uplink& uplink);

// Sees to it that the uplink carries the VLANs of the attachment, tagged: on our bridge they are added, on an
// administrator's a missing one is Code::kConflict.
Result<> ensure_uplink_vlans(Attachment& attachment, netlink::Netlink& host, const netlink::Link& uplink,
                             const std::vector<netlink::PortVlans>& wanted, bool own);

// Takes the uplink out of our bridge and leaves it as it was, unless a record in `others` needs it; then only
// VLANs go that none of them needs. Each change is one step of `reclaim`.
Result<> release_uplink(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& bridge,
                        const std::vector<AttachmentRecord>& others);

// Code::kChanged when the uplink is no port of the bridge any more.
Result<> check_uplink(netlink::Netlink& host, const netlink::Link& bridge, const AttachmentRecord& record);

}  // namespace vmlane::cni
