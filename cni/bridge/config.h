// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "cni/bridge/netfilter.h"
#include "cni/bridge/vlan.h"
#include "core/error.h"
#include "core/json.h"

namespace vmlane::cni {

// Keys that the lanes on a Linux bridge share; names and defaults are those of the reference `bridge` plugin.
struct BridgeConfig {
  std::string bridge = "cni0";       // made when it is missing, used as it is otherwise
  bool is_gateway = false;           // the bridge gets the gateway address of the IPAM result
  bool is_default_gateway = false;   // and the result a default route through it; implies is_gateway
  std::optional<std::uint32_t> mtu;  // unset: the bridge's
  bool hairpin_mode = false;
  bool promisc_mode = false;   // of the bridge device
  bool force_address = false;  // a gateway address takes the place of another in its subnet
  bool ip_masq = false;
  bool port_isolation = false;
  BridgeNetfilter bridge_netfilter = BridgeNetfilter::kFail;
  VlanConfig vlan;
  std::string uplink;                // the bridge's way out of the node; empty: none of ours
  bool duplicate_detection = false;  // "enabledad"
  bool leave_down = false;           // "disableContainerInterface"
};

// Reads the shared keys from `config` through `reader`, which the lane goes on to ask for its own.
// Code::kInvalidConfig names key and value.
Result<BridgeConfig> parse_bridge_config(ObjectReader& reader, bool has_ipam);

}  // namespace vmlane::cni
