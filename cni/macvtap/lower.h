// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cni/lane.h"
#include "core/address.h"
#include "core/error.h"
#include "core/record.h"
#include "netlink/netlink.h"

// The device of the node that a macvtap is on: a NIC, a bond, a VLAN device. It is an administrator's;
// nothing of it is changed, but for its MAC in mode passthru, which the kernel puts back when the macvtap
// goes.
namespace vmlane::cni {

// The lower device of that name, one that can carry a macvtap. Code::kNotFound when it is not there,
// kConflict when it is down or something else than a free Ethernet device; each says what to do.
Result<netlink::Link> find_lower(netlink::Netlink& host, const std::string& name);

// Whether a NIC with these fits on it. Code::kInvalidConfig for an MTU above the device's, kConflict for a
// MAC that is the device's own, which only mode passthru shares.
Result<std::uint32_t> lower_mtu(const netlink::Link& lower, std::optional<std::uint32_t> wanted);
Result<> check_lower_mac(const netlink::Link& lower, const MacAddress& mac, netlink::MacvtapMode mode);

// Code::kConflict naming the attachment that stands in the way of one in `mode`: mode passthru takes the
// device for itself alone. Attachments whose sandbox is gone stand in nobody's way.
Result<> refuse_shared_lower(const Node& node, const AttachmentRecord& record, netlink::MacvtapMode mode);

// Code::kChanged when the device is gone, is down or has another name.
Result<> check_lower(netlink::Netlink& host, const AttachmentRecord& record);

std::string to_string(netlink::MacvtapMode mode);
// None for a word that is no mode.
std::optional<netlink::MacvtapMode> parse_macvtap_mode(const std::string& word);

}  // namespace vmlane::cni
