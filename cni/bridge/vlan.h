// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cni/lane.h"
#include "core/error.h"
#include "core/json.h"
#include "netlink/netlink.h"

// VLANs of the bridge lanes. A port is in exactly the VLANs that its keys name: an access port in one, a
// trunk in those listed, each with nothing besides unless `preserveDefaultVlan` asks for the bridge's own
// default VLAN.
//
// What a port is in stands in the record ("port_vlans") before the bridge is touched, so that whoever
// releases an attachment can tell what the others still need of bridge and uplink.
namespace vmlane::cni {

struct VlanConfig {
  std::uint16_t native = 0;               // "vlan": PVID and untagged; 0 for none
  std::vector<netlink::PortVlans> trunk;  // "vlanTrunk": tagged
  bool preserve_default = false;          // the port stays in the bridge's default VLAN as well

  bool any() const { return native != 0 || !trunk.empty(); }
  // Memberships of the port; the native VLAN counts as such where the trunk lists it too.
  std::vector<netlink::PortVlans> port() const;
};

// Keys "vlan", "vlanTrunk" and "preserveDefaultVlan". Errors name key, entry and value.
Result<VlanConfig> parse_vlan_config(ObjectReader& reader);

// Memberships as they stand in a record: [{"first":20,"last":25}, {"first":7,"last":7,"pvid":true,...}].
Json vlans_to_json(const std::vector<netlink::PortVlans>& vlans);
// What is no membership is skipped: records are read leniently.
std::vector<netlink::PortVlans> vlans_of(const AttachmentRecord& record);
// "20-25,100" for messages.
std::string vlans_to_text(const std::vector<netlink::PortVlans>& vlans);
// Those VLANs of `wanted` that `present` lacks, tagged.
std::vector<netlink::PortVlans> missing_vlans(const std::vector<netlink::PortVlans>& wanted,
                                              const std::vector<netlink::PortVlans>& present);

// Sees to it that a bridge that is there filters VLANs: our own is switched on, an administrator's that does
// not is Code::kConflict.
Result<> require_filtering(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                           bool own);

// Puts a port, still down, into its VLANs and no others; the record then has what CHECK is to find.
Result<> join_vlans(Attachment& attachment, netlink::Netlink& host, int port, const VlanConfig& vlan);
// Code::kChanged naming what the port is in.
Result<> check_vlans(netlink::Netlink& host, const netlink::Link& port, const AttachmentRecord& record);

// Where a VLAN's gateway address goes: the bridge's device in that VLAN.
struct GatewayDevice {
  netlink::Link link;
  bool own = false;  // made here, removed with the VLAN's last attachment
};
// The device, made and up, the bridge itself being in the VLAN.
Result<GatewayDevice> ensure_gateway_device(Attachment& attachment, netlink::Netlink& host,
                                            const netlink::Link& bridge, std::uint16_t vlan);

// Takes back, of a bridge that stays, what no record in `others` needs: gateway devices, and, when the bridge
// is ours, its filtering. Each change is one step of `reclaim`.
Result<> release_vlans(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& bridge, bool own,
                       const std::vector<AttachmentRecord>& others);

}  // namespace vmlane::cni
