// SPDX-License-Identifier: Apache-2.0
// Kubernetes objects in YAML or JSON, as multus-adapter/ reads them: NADs and their configurations, pods and
// their annotations, VMs.
#include <algorithm>

#include "multus-adapter/kubevirt.h"
#include "multus-adapter/network_selection.h"
#include "multus-adapter/networks.h"
#include "tests/fuzz/fuzz.h"

namespace vmlane::fuzz {
namespace {

void read_network(const multus::NetworkAttachmentDefinition& nad) {
  const auto findings = multus::lint_structure(nad, "/nonexistent");
  for (const auto& finding : findings) require(!finding.text().empty(), "a finding has a text");
  const auto network = multus::resolve_network(nad, "/nonexistent");
  if (!network) {
    require_told(network.error());
    const auto is_error = [](const auto& f) { return f.severity == multus::LintProblem::Severity::kError; };
    require(std::ranges::any_of(findings, is_error), "lint finds what an ADD refuses", nad.config);
    return;
  }
  const auto selection = multus::parse_network_name("blue", "default", "fuzzer");
  for (std::size_t i = 0; i < network->plugins.size(); i++) {
    const Json input = multus::plugin_input(*network, i, {.selection = *selection, .device_info_file = ""});
    require(input.value("name", "") == network->name, "a plugin is told the network's name");
  }
}

void read_pod(const multus::Pod& pod) {
  const auto annotation = pod.annotations.find(std::string(multus::kNetworksAnnotation));
  if (annotation == pod.annotations.end()) return;
  const auto networks = multus::parse_networks_annotation(annotation->second, pod.ns, "fuzzer");
  if (!networks) require_told(networks.error());
}

void read_vm(const multus::VirtualMachineInstance& vm) {
  const auto pod = multus::launcher_pod(vm);
  if (!pod) return require_told(pod.error());
  const auto annotation = pod->annotations.find(std::string(multus::kNetworksAnnotation));
  if (annotation == pod->annotations.end()) return;
  const auto networks = multus::parse_networks_annotation(annotation->second, pod->ns, "fuzzer");
  require(networks.has_value(), "the annotation that we write can be read", annotation->second);
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  multus::ObjectStore objects;
  const auto added = objects.add_text(fuzz::text_of(data, size), "fuzzer");
  if (!added) fuzz::require_told(added.error());
  for (const auto& nad : objects.networks()) fuzz::read_network(nad);
  for (const auto& pod : objects.pods()) fuzz::read_pod(pod);
  for (const auto& vm : objects.vms()) fuzz::read_vm(vm);
  return 0;
}
