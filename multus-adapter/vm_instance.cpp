// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/vm_instance.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>

#include "core/base64.h"
#include "manifests/fields.h"
#include "multus-adapter/vm_decode.h"

namespace vmlane::multus {
namespace {

constexpr std::int64_t kMaxCpus = 1024;

struct Suffix {
  std::string_view text;
  double factor;
};
constexpr std::array<Suffix, 13> kSuffixes = {{{"Ki", 0x1p10},
                                               {"Mi", 0x1p20},
                                               {"Gi", 0x1p30},
                                               {"Ti", 0x1p40},
                                               {"Pi", 0x1p50},
                                               {"Ei", 0x1p60},
                                               {"k", 1e3},
                                               {"M", 1e6},
                                               {"G", 1e9},
                                               {"T", 1e12},
                                               {"P", 1e15},
                                               {"E", 1e18},
                                               {"m", 1e-3}}};

Result<> read_binding(const Json& json, const std::string& what, VmInterface& interface) {
  constexpr std::array<std::string_view, 4> kCore = {"bridge", "masquerade", "sriov", "passtBinding"};
  constexpr std::array<std::string_view, 3> kRemoved = {"slirp", "macvtap", "passt"};
  ObjectReader reader(json, what, Code::kInvalidConfig);
  std::size_t count = 0;
  for (const std::string_view name : kCore) {
    VMLANE_ASSIGN(const Json* value, reader.object(name));
    if (value == nullptr) continue;
    interface.binding = name;
    count++;
  }
  for (const std::string_view name : kRemoved) {
    if (reader.find(name) == nullptr) continue;
    return fail(Code::kInvalidConfig, "key \"" + what + std::string(name) + "\" was removed from KubeVirt",
                "use a network binding plugin: binding: {name: ...}");
  }
  VMLANE_ASSIGN(const Json* plugin, reader.object("binding"));
  if (plugin != nullptr) {
    ObjectReader plugin_reader(*plugin, what + "binding.", Code::kInvalidConfig);
    VMLANE_ASSIGN(interface.binding, read_string(plugin_reader, "name"));
    VMLANE_TRY(check_dns_subdomain(interface.binding, what + "binding.name"));
    interface.binding_plugin = true;
    count++;
  }
  if (count == 1) return {};
  return fail(Code::kInvalidConfig,
              "interface \"" + interface.name + "\" has " + std::to_string(count) + " bindings, expected one",
              "give one of bridge, masquerade, sriov, passtBinding or binding");
}

Result<VmInterface> read_interface(const Json& json, const std::string& what) {
  ObjectReader reader(json, what, Code::kInvalidConfig);
  VmInterface interface;
  VMLANE_ASSIGN(interface.name, read_string(reader, "name"));
  if (interface.name.empty()) return reader.wrong("name", "the name of a network");
  VMLANE_TRY(read_binding(json, what, interface));
  VMLANE_ASSIGN(const auto mac, reader.string("macAddress"));
  if (mac && !mac->empty()) {
    VMLANE_ASSIGN(interface.mac, MacAddress::parse_usable(*mac, what + "macAddress", Code::kInvalidConfig));
  }
  VMLANE_ASSIGN(interface.model, read_string(reader, "model", interface.model));
  return interface;
}

Result<std::vector<VmInterface>> read_interfaces(const Json& list, std::set<std::string>& absent) {
  std::vector<VmInterface> interfaces;
  std::set<std::string> names;
  for (std::size_t i = 0; i < list.size(); i++) {
    const std::string what = "spec.domain.devices.interfaces[" + std::to_string(i) + "]";
    if (!list[i].is_object()) return fail(Code::kInvalidConfig, "key \"" + what + "\" is no object");
    VMLANE_ASSIGN(VmInterface interface, read_interface(list[i], what + "."));
    if (!names.insert(interface.name).second) {
      return fail(Code::kInvalidConfig, "interface name \"" + interface.name + "\" is given twice");
    }
    ObjectReader reader(list[i], what + ".", Code::kInvalidConfig);
    VMLANE_ASSIGN(const auto state, reader.string("state"));
    if (state == "absent") {
      absent.insert(interface.name);  // unplugged: KubeVirt leaves it out of the pod
    } else {
      interfaces.push_back(std::move(interface));
    }
  }
  return interfaces;
}

Result<VmNetwork> read_network(const Json& json, const std::string& what) {
  ObjectReader reader(json, what, Code::kInvalidConfig);
  VmNetwork network;
  VMLANE_ASSIGN(network.name, read_string(reader, "name"));
  VMLANE_TRY(check_dns_label(network.name, what + "name"));
  VMLANE_ASSIGN(const Json* pod, reader.object("pod"));
  VMLANE_ASSIGN(const Json* multus, reader.object("multus"));
  if ((pod == nullptr) == (multus == nullptr)) {
    return fail(Code::kInvalidConfig, "network \"" + network.name + "\" needs one of \"pod\" and \"multus\"");
  }
  network.pod = pod != nullptr;
  if (multus == nullptr) return network;
  ObjectReader multus_reader(*multus, what + "multus.", Code::kInvalidConfig);
  VMLANE_ASSIGN(network.multus_network, read_string(multus_reader, "networkName"));
  if (network.multus_network.empty())
    return multus_reader.wrong("networkName", "[namespace/]name of a network");
  VMLANE_ASSIGN(const auto is_default, multus_reader.boolean("default"));
  network.is_default = is_default.value_or(false);
  return network;
}

Result<std::vector<VmNetwork>> read_networks(const Json& list, const std::set<std::string>& absent) {
  std::vector<VmNetwork> networks;
  std::set<std::string> names;
  std::size_t defaults = 0;
  for (std::size_t i = 0; i < list.size(); i++) {
    const std::string what = "spec.networks[" + std::to_string(i) + "]";
    if (!list[i].is_object()) return fail(Code::kInvalidConfig, "key \"" + what + "\" is no object");
    VMLANE_ASSIGN(VmNetwork network, read_network(list[i], what + "."));
    if (!names.insert(network.name).second) {
      return fail(Code::kInvalidConfig, "network name \"" + network.name + "\" is given twice");
    }
    defaults += network.pod || network.is_default ? 1 : 0;
    if (!absent.contains(network.name)) networks.push_back(std::move(network));
  }
  if (defaults > 1) {
    return fail(Code::kInvalidConfig,
                "spec.networks has " + std::to_string(defaults) + " networks for the pod's first interface",
                "at most one network may be \"pod\" or have multus.default");
  }
  return networks;
}

// Every interface has its network and every network its interface, and the binding suits it.
Result<> check_pairs(const VirtualMachineInstance& vm) {
  for (const VmInterface& interface : vm.interfaces) {
    const auto network = std::ranges::find(vm.networks, interface.name, &VmNetwork::name);
    if (network == vm.networks.end()) {
      return fail(Code::kInvalidConfig,
                  "interface \"" + interface.name + "\" has no network of that name in spec.networks");
    }
    if (interface.binding == "masquerade" && !interface.binding_plugin && !network->pod) {
      return fail(Code::kInvalidConfig,
                  "interface \"" + interface.name + "\" has binding masquerade on a Multus network",
                  "masquerade works on the pod network only");
    }
    if (interface.binding == "sriov" && !interface.binding_plugin && network->pod) {
      return fail(Code::kInvalidConfig,
                  "interface \"" + interface.name + "\" has binding sriov on the pod network",
                  "sriov works on Multus networks only");
    }
  }
  for (const VmNetwork& network : vm.networks) {
    if (std::ranges::find(vm.interfaces, network.name, &VmInterface::name) == vm.interfaces.end()) {
      return fail(
          Code::kInvalidConfig,
          "network \"" + network.name + "\" has no interface of that name in spec.domain.devices.interfaces");
    }
  }
  return {};
}

Result<unsigned> read_vcpus(ObjectReader& domain) {
  VMLANE_ASSIGN(const Json* cpu, read_object(domain, "cpu"));
  ObjectReader reader(*cpu, "spec.domain.cpu.", Code::kInvalidConfig);
  std::int64_t count = 1;
  for (const std::string_view key : {"cores", "sockets", "threads"}) {
    VMLANE_ASSIGN(const auto value, reader.integer(key, 0, kMaxCpus));
    if (value && *value > 0) count *= *value;
    if (count > kMaxCpus) {
      return fail(Code::kInvalidConfig,
                  "spec.domain.cpu makes more than " + std::to_string(kMaxCpus) + " vCPUs");
    }
  }
  return static_cast<unsigned>(count);
}

// domain.memory.guest, else what is requested, else the limit, in KubeVirt's order.
Result<std::uint64_t> read_memory(ObjectReader& domain) {
  VMLANE_ASSIGN(const Json* memory, read_object(domain, "memory"));
  VMLANE_ASSIGN(const Json* resources, read_object(domain, "resources"));
  ObjectReader reader(*resources, "spec.domain.resources.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* requests, read_object(reader, "requests"));
  VMLANE_ASSIGN(const Json* limits, read_object(reader, "limits"));
  struct Place {
    const Json* object;
    const char* key;
    const char* what;
  };
  for (const Place& place : {Place{memory, "guest", "spec.domain.memory.guest"},
                             Place{requests, "memory", "spec.domain.resources.requests.memory"},
                             Place{limits, "memory", "spec.domain.resources.limits.memory"}}) {
    const auto value = place.object->find(place.key);
    if (value == place.object->end() || value->is_null()) continue;
    VMLANE_ASSIGN(const std::uint64_t bytes, parse_quantity(*value, place.what));
    if (bytes == 0) return fail(Code::kInvalidConfig, std::string("key \"") + place.what + "\" is 0");
    return bytes;
  }
  return fail(Code::kInvalidConfig, "the VM has no memory",
              "give spec.domain.memory.guest or spec.domain.resources.requests.memory");
}

// `name` in plain text, or `name`Base64.
Result<std::string> read_cloud_text(ObjectReader& reader, const std::string& name, const std::string& what) {
  VMLANE_ASSIGN(auto plain, read_string(reader, name));
  VMLANE_ASSIGN(const auto encoded, read_string(reader, name + "Base64"));
  if (!plain.empty() && !encoded.empty()) {
    return fail(Code::kInvalidConfig,
                "both \"" + what + name + "\" and \"" + what + name + "Base64\" are given");
  }
  if (encoded.empty()) return plain;
  auto decoded = decode_base64(encoded);
  if (!decoded) return fail(Code::kInvalidConfig, "key \"" + what + name + "Base64\" is not base64");
  return std::move(*decoded);
}

Result<> read_cloud_init(const Json& volumes, VirtualMachineInstance& vm) {
  for (std::size_t i = 0; i < volumes.size(); i++) {
    const std::string what = "spec.volumes[" + std::to_string(i) + "].";
    if (!volumes[i].is_object()) return fail(Code::kInvalidConfig, "a volume in spec.volumes is no object");
    ObjectReader volume(volumes[i], what, Code::kInvalidConfig);
    for (const char* kind : {"cloudInitNoCloud", "cloudInitConfigDrive"}) {
      VMLANE_ASSIGN(const Json* source, volume.object(kind));
      if (source == nullptr) continue;
      const std::string inner = what + kind + ".";
      ObjectReader reader(*source, inner, Code::kInvalidConfig);
      VMLANE_ASSIGN(vm.user_data, read_cloud_text(reader, "userData", inner));
      VMLANE_ASSIGN(vm.network_data, read_cloud_text(reader, "networkData", inner));
      for (const char* key : {"secretRef", "networkDataSecretRef"}) {
        if (reader.find(key) != nullptr) vm.unread_keys.push_back(inner + key);
      }
    }
  }
  return {};
}

// KubeVirt's default: a VM that says nothing of networks is on the pod network, by masquerade.
Result<> default_network(ObjectReader& devices, VirtualMachineInstance& vm) {
  VMLANE_ASSIGN(const auto attach, devices.boolean("autoattachPodInterface"));
  if (!attach.value_or(true)) return {};
  vm.interfaces.push_back({.name = "default", .binding = "masquerade"});
  vm.networks.push_back({.name = "default", .pod = true});
  return {};
}

}  // namespace

const VmInterface& VirtualMachineInstance::interface_of(const VmNetwork& network) const {
  return *std::ranges::find(interfaces, network.name, &VmInterface::name);
}

Result<std::uint64_t> parse_quantity(const Json& quantity, const std::string& what) {
  const auto wrong = [&] {
    return fail(Code::kInvalidConfig,
                "key \"" + what + "\" is " + to_text(quantity) + ", expected a quantity",
                "a number of bytes with k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi or Ei after it, or none");
  };
  if (quantity.is_number_unsigned()) return quantity.get<std::uint64_t>();
  if (!quantity.is_string() && !quantity.is_number()) return wrong();
  const std::string text = quantity.is_string() ? quantity.get<std::string>() : to_text(quantity);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error != std::errc() || text.empty() || !(value >= 0)) return wrong();
  double factor = 1;
  if (!suffix.empty()) {
    const auto found = std::ranges::find(kSuffixes, suffix, &Suffix::text);
    if (found == kSuffixes.end()) return wrong();
    factor = found->factor;
  }
  const double bytes = std::ceil(value * factor);
  if (!(bytes < 0x1p63)) return wrong();
  return static_cast<std::uint64_t>(bytes);
}

Result<> decode_vm_spec(const Json& spec, VirtualMachineInstance& vm) {
  ObjectReader reader(spec, "spec.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* domain_json, reader.object("domain"));
  if (domain_json == nullptr) return reader.wrong("domain", "an object");
  ObjectReader domain(*domain_json, "spec.domain.", Code::kInvalidConfig);
  VMLANE_ASSIGN(vm.memory_bytes, read_memory(domain));
  VMLANE_ASSIGN(vm.vcpus, read_vcpus(domain));
  VMLANE_ASSIGN(const Json* devices_json, read_object(domain, "devices"));
  ObjectReader devices(*devices_json, "spec.domain.devices.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto multiqueue, devices.boolean("networkInterfaceMultiqueue"));
  vm.multiqueue = multiqueue.value_or(false);

  VMLANE_ASSIGN(const Json* interfaces, read_array(devices, "interfaces"));
  VMLANE_ASSIGN(const Json* networks, read_array(reader, "networks"));
  std::set<std::string> absent;
  VMLANE_ASSIGN(vm.interfaces, read_interfaces(*interfaces, absent));
  VMLANE_ASSIGN(vm.networks, read_networks(*networks, absent));
  if (interfaces->empty() && networks->empty()) VMLANE_TRY(default_network(devices, vm));
  VMLANE_TRY(check_pairs(vm));

  VMLANE_ASSIGN(const Json* volumes, read_array(reader, "volumes"));
  return read_cloud_init(*volumes, vm);
}

}  // namespace vmlane::multus
