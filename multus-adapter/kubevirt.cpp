// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/kubevirt.h"

#include <algorithm>
#include <charconv>

#include "core/hash.h"
#include "core/names.h"
#include "manifests/fields.h"
#include "multus-adapter/network_selection.h"

namespace vmlane::multus {
namespace {

// The API server's generateName: the base is cut so that five random characters fit a name of 63, drawn from
// letters and digits that form no words. Ours are derived instead of random.
std::string generated_name(std::string base, std::string_view seed) {
  constexpr std::size_t kMaxBase = 58;
  constexpr std::size_t kRandom = 5;
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  base.resize(std::min(base.size(), kMaxBase));
  const std::string hash = sha256_hex(seed);
  for (std::size_t i = 0; i < kRandom; i++) {
    unsigned value = 0;
    std::from_chars(hash.data() + 4 * i, hash.data() + 4 * i + 4, value, 16);
    base += kAlphabet[value % kAlphabet.size()];
  }
  return base;
}

}  // namespace

std::string pod_ifname(const VmNetwork& network) {
  return network.pod || network.is_default ? "eth0" : names::kubevirt_pod_ifname(network.name);
}

Result<Pod> launcher_pod(const VirtualMachineInstance& vm) {
  Pod pod;
  pod.ns = vm.ns;
  pod.name = generated_name("virt-launcher-" + vm.name + "-", vm.uid);
  pod.uid = derived_uid("Pod", pod.ns, pod.name);
  pod.labels = vm.labels;
  pod.labels["kubevirt.io"] = "virt-launcher";
  pod.labels["kubevirt.io/created-by"] = vm.uid;
  pod.labels["vm.kubevirt.io/name"] = vm.name;
  pod.annotations = vm.annotations;
  pod.annotations["kubevirt.io/domain"] = vm.name;
  pod.containers = {{.name = "compute"}};
  pod.source = vm.source;

  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const VmNetwork& network : vm.networks) {
    if (network.pod) continue;
    const std::string origin = "VirtualMachineInstance " + vm.id() + ", network \"" + network.name + "\"";
    VMLANE_ASSIGN(const NetworkSelection selection,
                  parse_network_name(network.multus_network, vm.ns, origin));
    if (network.is_default) {
      pod.annotations[std::string(kDefaultNetworkAnnotation)] = network.multus_network;
      continue;
    }
    // Keys in the order KubeVirt writes them.
    nlohmann::ordered_json element = {{"name", selection.name}, {"namespace", selection.ns}};
    if (const auto& mac = vm.interface_of(network).mac) element["mac"] = mac->to_string();
    element["interface"] = pod_ifname(network);
    list.push_back(std::move(element));
  }
  if (!list.empty()) pod.annotations[std::string(kNetworksAnnotation)] = list.dump();
  return pod;
}

}  // namespace vmlane::multus
