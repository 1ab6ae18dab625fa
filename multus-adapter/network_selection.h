// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/json.h"
#include "multus-adapter/objects.h"

namespace vmlane::multus {

inline constexpr std::string_view kNetworksAnnotation = "k8s.v1.cni.cncf.io/networks";
inline constexpr std::string_view kDefaultNetworkAnnotation = "v1.multus-cni.io/default-network";
inline constexpr std::string_view kNetworkStatusAnnotation = "k8s.v1.cni.cncf.io/network-status";

// One network that a pod asks for: an element of the networks annotation (multi-network
// specification 1.3, 4.1.1).
struct NetworkSelection {
  std::string ns;
  std::string name;
  std::string ifname;  // as asked for, else net<position>
  std::optional<MacAddress> mac;
  std::vector<std::string> ips;          // addresses, with or without prefix length
  std::vector<IpAddress> default_route;  // gateways, one of a family at most
  Json cni_args = Json::object();
  Json port_mappings;  // null when not given, here and below
  Json bandwidth;
  std::optional<std::string> infiniband_guid;
  std::optional<std::string> device_id;
  std::string origin;  // "pod a/b, annotation k8s.v1.cni.cncf.io/networks, element 2"

  std::string id() const { return ns + "/" + name; }
};

// The value of the networks annotation, in short form ("ns/name@if, name2") or as a JSON list. `pod_ns` is
// the namespace of names without one, `origin` goes before errors. Checks each element and the whole: names
// that clash, more than one default route. Code::kInvalidConfig; the error says which element and, for JSON,
// line and column of what is broken.
Result<std::vector<NetworkSelection>> parse_networks_annotation(std::string_view text,
                                                                const std::string& pod_ns,
                                                                const std::string& origin,
                                                                std::size_t first_index = 1);

// The value of the default-network annotation: one network in either form. `multus_ns` is the namespace of a
// name without one.
Result<NetworkSelection> parse_default_network(std::string_view text, const std::string& multus_ns,
                                               const std::string& origin);

// "[namespace/]name".
Result<NetworkSelection> parse_network_name(std::string_view text, const std::string& default_ns,
                                            const std::string& origin);

}  // namespace vmlane::multus
