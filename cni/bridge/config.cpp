// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/config.h"

#include "cni/bridge/masquerade.h"
#include "cni/keys.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

Result<std::string> parse_uplink(ObjectReader& reader, const std::string& bridge) {
  VMLANE_ASSIGN(const auto uplink, reader.string("uplink"));
  if (!uplink || uplink->empty()) return std::string();
  VMLANE_TRY(names::check_link_name(*uplink, "key \"uplink\"", Code::kInvalidConfig));
  if (*uplink == bridge) {
    return fail(Code::kInvalidConfig, "key \"uplink\" is \"" + bridge + "\", the bridge itself",
                "name the NIC that the bridge is to use");
  }
  return *uplink;
}

// Keys that say how the workload's interface comes up.
Result<> parse_interface_keys(ObjectReader& reader, bool has_ipam, BridgeConfig& config) {
  VMLANE_ASSIGN(config.duplicate_detection, parse_flag(reader, "enabledad"));
  VMLANE_ASSIGN(config.leave_down, parse_flag(reader, "disableContainerInterface"));
  if (!config.leave_down || !has_ipam) return {};
  return fail(Code::kInvalidConfig, "key \"disableContainerInterface\" is true together with \"ipam\"",
              "an interface that stays down has no use for addresses: remove one of the two");
}

}  // namespace

Result<BridgeConfig> parse_bridge_config(ObjectReader& reader, bool has_ipam) {
  BridgeConfig config;
  VMLANE_ASSIGN(const auto bridge, reader.string("bridge"));
  if (bridge && !bridge->empty()) {
    VMLANE_TRY(names::check_link_name(*bridge, "key \"bridge\"", Code::kInvalidConfig));
    config.bridge = *bridge;
  }
  VMLANE_ASSIGN(config.is_default_gateway, parse_flag(reader, "isDefaultGateway"));
  VMLANE_ASSIGN(config.is_gateway, parse_flag(reader, "isGateway"));
  config.is_gateway = config.is_gateway || config.is_default_gateway;
  VMLANE_ASSIGN(config.hairpin_mode, parse_flag(reader, "hairpinMode"));
  VMLANE_ASSIGN(config.promisc_mode, parse_flag(reader, "promiscMode"));
  VMLANE_ASSIGN(config.force_address, parse_flag(reader, "forceAddress"));
  VMLANE_ASSIGN(config.vlan, parse_vlan_config(reader));
  VMLANE_ASSIGN(config.uplink, parse_uplink(reader, config.bridge));
  VMLANE_TRY(parse_interface_keys(reader, has_ipam, config));
  VMLANE_ASSIGN(config.mtu, parse_mtu(reader));
  if (config.hairpin_mode && config.promisc_mode) {
    return fail(Code::kInvalidConfig, "keys \"hairpinMode\" and \"promiscMode\" are both true",
                "a promiscuous bridge sends each frame back as well: choose one");
  }
  VMLANE_ASSIGN(config.ip_masq, parse_ip_masq(reader, has_ipam));
  VMLANE_ASSIGN(config.bridge_netfilter, parse_bridge_netfilter(reader));
  VMLANE_ASSIGN(config.port_isolation, parse_flag(reader, "portIsolation"));
  if (config.is_gateway && !has_ipam) {
    return fail(Code::kInvalidConfig,
                "key \"" + std::string(config.is_default_gateway ? "isDefaultGateway" : "isGateway") +
                    "\" is true without \"ipam\"",
                "the gateway address comes from the IPAM result");
  }
  return config;
}

}  // namespace vmlane::cni
