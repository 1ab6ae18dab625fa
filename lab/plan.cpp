// SPDX-License-Identifier: Apache-2.0
#include "lab/plan.h"

#include <set>

#include "cloud-init/seed.h"
#include "core/names.h"
#include "multus-adapter/kubevirt.h"
#include "multus-adapter/network_selection.h"
#include "multus-adapter/networks.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;
using multus::NetworkAttachmentDefinition;
using multus::ObjectStore;
using multus::Pod;
using multus::VirtualMachineInstance;
using multus::VmInterface;
using multus::VmNetwork;

// Kernel and initramfs of the guest need about half of it.
constexpr std::uint64_t kMinMemory = std::uint64_t{128} << 20;
// Files are named <namespace>_<name>.<suffix>, and a file name holds 255 bytes.
constexpr std::size_t kMaxNames = 200;
constexpr std::string_view kTapPlugin = "vmlane-tap";
constexpr std::string_view kMacvtapPlugin = "vmlane-macvtap";
constexpr std::string_view kVhostuserPlugin = "vmlane-vhostuser";

Result<> check_names(const std::string& subject, const std::string& ns, const std::string& name) {
  if (ns.size() + name.size() <= kMaxNames) return {};
  return fail(Code::kInvalidConfig, subject + ": namespace and name have " +
                                        std::to_string(ns.size() + name.size()) +
                                        " characters, the lab's limit is " + std::to_string(kMaxNames));
}

Result<> check_pod(const Pod& pod) {
  const std::string subject = "Pod " + pod.id();
  VMLANE_TRY(check_names(subject, pod.ns, pod.name));
  if (pod.host_network)
    return fail(Code::kInvalidConfig,
                subject + ": key \"hostNetwork\" is true, but a lab's pods have a network of their own");
  for (const multus::Container& container : pod.containers) {
    if (container.command.empty() && !container.args.empty()) {
      return fail(Code::kInvalidConfig,
                  subject + ": container \"" + container.name + "\" has \"args\" but no \"command\"",
                  "the lab runs no images, so it knows no entry point: give the command");
    }
  }
  return {};
}

// The NAD that an interface of the VM is attached by, "ns/name".
Result<std::string> network_of(const VirtualMachineInstance& vm, const VmNetwork& network,
                               const PlanOptions& options, const std::string& subject) {
  if (!network.pod) {
    VMLANE_ASSIGN(const auto selection, multus::parse_network_name(network.multus_network, vm.ns, subject));
    return selection.id();
  }
  if (options.default_network.empty()) {
    return fail(Code::kInvalidConfig, subject + " is the pod network, which this lab does not have",
                "name a NetworkAttachmentDefinition with --default-network, or use a multus network");
  }
  VMLANE_ASSIGN(const auto selection,
                multus::parse_network_name(options.default_network, "default", subject));
  return selection.id();
}

Result<const NetworkAttachmentDefinition*> find_network(const ObjectStore& objects, const std::string& id,
                                                        const std::string& subject) {
  const auto slash = id.find('/');
  const auto* nad = objects.find_network(id.substr(0, slash), id.substr(slash + 1));
  if (nad != nullptr) return nad;
  return fail(Code::kNotFound, subject + ": NetworkAttachmentDefinition " + id + " is in none of the files",
              "searched in " + objects.searched());
}

// What a macvtap is on; the plugin says what is wrong with the key.
void plan_lower_device(const Json& config, LabPlan& plan) {
  const Json lower = config.value("lowerDevice", Json());
  if (!lower.is_string() || !names::check_link_name(lower.get<std::string>(), "", Code::kInvalidConfig))
    return;
  plan.lower_devices.insert(lower.get<std::string>());
}

Result<> check_interface(const ObjectStore& objects, const VirtualMachineInstance& vm,
                         const VmInterface& interface, const PlanOptions& options, LabPlan& plan) {
  const std::string subject = "VirtualMachineInstance " + vm.id() + ", interface \"" + interface.name + "\"";
  if (interface.model != "virtio")
    return fail(Code::kInvalidConfig, subject + ": key \"model\" is \"" + interface.model +
                                          "\", the lab's guest drives virtio only");
  for (const VmNetwork& network : vm.networks) {
    if (network.name != interface.name) continue;
    VMLANE_ASSIGN(const std::string id, network_of(vm, network, options, subject));
    VMLANE_ASSIGN(const auto* nad, find_network(objects, id, subject));
    VMLANE_ASSIGN(const auto config, multus::resolve_network(*nad, options.conf_dir));
    const std::string type = config.plugins.at(0).value("type", "");
    if (type != kTapPlugin && type != kMacvtapPlugin && type != kVhostuserPlugin) {
      return fail(Code::kInvalidConfig,
                  subject + " is attached by \"" + type + "\" (NetworkAttachmentDefinition " + id +
                      "), the lab runs VMs on the lanes tap, macvtap and vhost-user",
                  "use a network of type " + std::string(kTapPlugin) + ", " + std::string(kMacvtapPlugin) +
                      " or " + std::string(kVhostuserPlugin));
    }
    if (!interface.binding_plugin) {
      return fail(Code::kInvalidConfig,
                  subject + ": core binding \"" + interface.binding + "\" does not go with " + type,
                  "give it a network binding plugin: binding: {name: " + type + "}");
    }
    if (type == kVhostuserPlugin) plan.needs_switch = true;
    if (type == kMacvtapPlugin) plan_lower_device(config.plugins.at(0), plan);
  }
  return {};
}

// What a NoCloud drive would be made of.
Result<> check_drive(const VirtualMachineInstance& vm) {
  const std::string subject = "VirtualMachineInstance " + vm.id();
  if (!vm.unread_keys.empty())
    return fail(Code::kInvalidConfig, subject + ": key \"" + vm.unread_keys[0] + "\" refers to a Secret",
                "a lab has none: give the text itself, as userData and networkData");
  if (vm.user_data.empty()) return {};
  return cloud_init::check_user_data(vm.user_data, subject + ": userData");
}

Result<> check_cloud_init(const VirtualMachineInstance& vm, const PlanOptions& options, LabPlan& plan) {
  if (options.cloud_init == CloudInit::kDrive) return check_drive(vm);
  std::string keys;
  const auto add = [&keys](const std::string& key) { keys += (keys.empty() ? "" : ", ") + key; };
  if (!vm.user_data.empty()) add("userData");
  if (!vm.network_data.empty()) add("networkData");
  for (const std::string& key : vm.unread_keys) add(key);
  if (keys.empty()) return {};
  const std::string problem = "VirtualMachineInstance " + vm.id() + " has cloud-init " + keys +
                              ", which the lab's guest does not run";
  if (options.cloud_init == CloudInit::kRefused) {
    return fail(
        Code::kInvalidConfig, problem,
        "take it out, or start the lab with --ignore-cloud-init, or with --cloud-init and a guest that "
        "runs it");
  }
  plan.warnings.push_back(problem);
  return {};
}

Result<> check_vm(const ObjectStore& objects, const VirtualMachineInstance& vm, const PlanOptions& options,
                  LabPlan& plan) {
  const std::string subject = "VirtualMachineInstance " + vm.id();
  VMLANE_TRY(check_names(subject, vm.ns, vm.name));
  if (vm.memory_bytes < kMinMemory) {
    return fail(Code::kInvalidConfig, subject + " has " + std::to_string(vm.memory_bytes >> 20) +
                                          " MiB of memory, the lab's guest needs " +
                                          std::to_string(kMinMemory >> 20));
  }
  for (const VmInterface& interface : vm.interfaces)
    VMLANE_TRY(check_interface(objects, vm, interface, options, plan));
  return {};
}

// The configuration text with `ipam_dir` for host-local plugins that name no directory; the text as it is
// when there is none.
std::string with_ipam_dir(const std::string& text, const fs::path& ipam_dir) {
  auto config = parse_json(text, "configuration");
  if (!config || !config->is_object()) return text;  // vmlane-multus says what is wrong with it
  bool changed = false;
  const auto set = [&](Json& plugin) {
    if (!plugin.is_object() || !plugin.contains("ipam") || !plugin["ipam"].is_object()) return;
    Json& ipam = plugin["ipam"];
    if (ipam.value("type", Json()) != "host-local" || ipam.contains("dataDir")) return;
    ipam["dataDir"] = ipam_dir.string();
    changed = true;
  };
  set(*config);
  if (config->contains("plugins") && (*config)["plugins"].is_array()) {
    for (Json& plugin : (*config)["plugins"]) set(plugin);
  }
  return changed ? to_text(*config) : text;
}

Json network_object(const NetworkAttachmentDefinition& nad, const fs::path& ipam_dir) {
  Json object = {{"apiVersion", "k8s.cni.cncf.io/v1"},
                 {"kind", "NetworkAttachmentDefinition"},
                 {"metadata", {{"namespace", nad.ns}, {"name", nad.name}}}};
  if (!nad.config.empty()) object["spec"]["config"] = with_ipam_dir(nad.config, ipam_dir);
  if (!nad.resource_name.empty())
    object["metadata"]["annotations"]["k8s.v1.cni.cncf.io/resourceName"] = nad.resource_name;
  return object;
}

Json pod_object(const Pod& pod) {
  Json object = {{"apiVersion", "v1"},
                 {"kind", "Pod"},
                 {"metadata",
                  {{"namespace", pod.ns},
                   {"name", pod.name},
                   {"uid", pod.uid},
                   {"labels", pod.labels},
                   {"annotations", pod.annotations}}},
                 {"spec", {{"containers", Json::array()}}}};
  for (const multus::Container& container : pod.containers)
    object["spec"]["containers"].push_back({{"name", container.name}, {"image", container.image}});
  return object;
}

}  // namespace

Result<LabPlan> plan_lab(const ObjectStore& objects, const PlanOptions& options) {
  LabPlan plan;
  for (const Pod& pod : objects.pods()) {
    VMLANE_TRY(check_pod(pod));
    plan.workloads.push_back({WorkloadKind::kPod, pod, std::nullopt});
  }
  for (const VirtualMachineInstance& vm : objects.vms()) {
    VMLANE_TRY(check_vm(objects, vm, options, plan));
    VMLANE_TRY(check_cloud_init(vm, options, plan));
    VMLANE_ASSIGN(Pod launcher, multus::launcher_pod(vm));
    plan.workloads.push_back({WorkloadKind::kVm, std::move(launcher), vm});
  }
  if (plan.workloads.empty()) {
    return fail(Code::kNotFound,
                "there is no Pod, VirtualMachineInstance or VirtualMachine in " + objects.searched(),
                "a lab needs one to start");
  }
  std::set<std::pair<std::string, std::string>> names;
  for (const PlannedWorkload& workload : plan.workloads) {
    if (!names.emplace(workload.ns(), workload.name()).second) {
      return fail(Code::kConflict, "a Pod and a VM are both called " + workload.ns() + "/" + workload.name(),
                  "the lab addresses them by that name: rename one");
    }
  }
  return plan;
}

std::string objects_text(const ObjectStore& objects, const LabPlan& plan, const fs::path& ipam_dir) {
  Json list = {{"apiVersion", "v1"}, {"kind", "List"}, {"items", Json::array()}};
  for (const NetworkAttachmentDefinition& nad : objects.networks())
    list["items"].push_back(network_object(nad, ipam_dir));
  for (const PlannedWorkload& workload : plan.workloads) list["items"].push_back(pod_object(workload.pod));
  return list.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace vmlane::lab
