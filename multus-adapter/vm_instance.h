// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/json.h"

namespace vmlane::multus {

// One entry of spec.domain.devices.interfaces.
struct VmInterface {
  std::string name;     // of the network it belongs to
  std::string binding;  // "bridge", "masquerade", "sriov", or the name of a network binding plugin
  bool binding_plugin = false;
  std::optional<MacAddress> mac;
  std::string model = "virtio";
};

// One entry of spec.networks.
struct VmNetwork {
  std::string name;
  bool pod = false;            // the pod network; else a Multus network
  std::string multus_network;  // multus.networkName, "[namespace/]name"
  bool is_default = false;     // multus.default: takes the place of the pod network
};

// VirtualMachineInstance of kubevirt.io/v1, as far as networking and the lab need it.
struct VirtualMachineInstance {
  std::string ns;
  std::string name;
  std::string uid;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::uint64_t memory_bytes = 0;
  unsigned vcpus = 1;                   // cores * sockets * threads
  std::vector<VmInterface> interfaces;  // one for each network, in the order of the spec
  std::vector<VmNetwork> networks;
  bool multiqueue = false;  // spec.domain.devices.networkInterfaceMultiqueue
  std::string user_data;    // cloud-init NoCloud or ConfigDrive, decoded; empty when not given
  std::string network_data;
  std::vector<std::string> unread_keys;  // cloud-init keys that refer to Secrets, which files do not give
  std::string source;
  bool from_vm = false;  // read from a VirtualMachine's template

  std::string id() const { return ns + "/" + name; }
  // The interface of a network; validation has made sure that there is one.
  const VmInterface& interface_of(const VmNetwork& network) const;
};

// A Kubernetes quantity ("512Mi", "2G", "1.5Gi", "1e9", plain bytes) in whole bytes. The error names `what`.
Result<std::uint64_t> parse_quantity(const Json& quantity, const std::string& what);

}  // namespace vmlane::multus
