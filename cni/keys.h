// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "cni/lane.h"
#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"

// Keys that more than one lane has. Errors are Code::kInvalidConfig and name key and value, unless said
// otherwise.
namespace vmlane::cni {

// A boolean, false when it is absent.
Result<bool> parse_flag(ObjectReader& reader, std::string_view key);

// "mtu": 0, which is the reference plugins' "not set", or what IPv4 and a 16-bit length allow.
Result<std::optional<std::uint32_t>> parse_mtu(ObjectReader& reader);

// The device that a VM's QEMU opens.
struct GuestDevice {
  std::uint32_t queues = 1;
  std::uint32_t owner = 0;  // uid and gid that may open it
  std::uint32_t group = 0;
};
// "queues", "owner" and "group"; the node config's owner and group when they are absent.
Result<GuestDevice> parse_guest_device(ObjectReader& reader, const NodeConfig& node);

// Code::kUnsupportedField when "ipam.type" is "dhcp": on a guest's lane the guest itself is the client.
// `lane` is the lane's name in the error.
Result<> refuse_dhcp(const Json& config, std::string_view lane);

// What the lane has read of its keys. One that nobody knows counts unless it says nothing (false, 0 or empty)
// or belongs to the specification.
ConfigKeys config_keys(const Json& config, const ObjectReader& reader);

}  // namespace vmlane::cni
