// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/pod_plan.h"

#include <algorithm>
#include <map>

#include "core/names.h"
#include "multus-adapter/lane_types.h"

namespace vmlane::multus {
namespace {

template <class Range>
bool contains(const Range& range, std::string_view value) {
  return std::ranges::find(range, value) != std::ranges::end(range);
}

// A network the pod gets, before its configuration is known.
struct Wanted {
  NetworkSelection selection;
  bool is_default = false;
  bool by_pod = false;  // by the pod's own annotation, so that isolation applies
};

std::string annotation_origin(const Pod& pod, std::string_view annotation) {
  return "pod " + pod.id() + ", annotation " + std::string(annotation);
}

// The network of the pod's first interface: the annotation's, else the cluster's, else none.
Result<> add_default_network(const MultusSettings& settings, const Pod& pod, const Sandbox& sandbox,
                             std::vector<Wanted>& wanted) {
  Wanted network{.is_default = true};
  if (const auto it = pod.annotations.find(std::string(kDefaultNetworkAnnotation));
      it != pod.annotations.end()) {
    VMLANE_ASSIGN(network.selection,
                  parse_default_network(it->second, settings.multus_namespace,
                                        annotation_origin(pod, kDefaultNetworkAnnotation)));
  } else if (!settings.cluster_network.empty()) {
    VMLANE_ASSIGN(network.selection, parse_network_name(settings.cluster_network, settings.multus_namespace,
                                                        "key \"clusterNetwork\""));
  } else {
    return {};
  }
  if (network.selection.ifname.empty()) network.selection.ifname = sandbox.ifname;
  wanted.push_back(std::move(network));
  return {};
}

Result<std::vector<Wanted>> wanted_networks(const MultusSettings& settings, const Pod& pod,
                                            const Sandbox& sandbox) {
  std::vector<Wanted> wanted;
  VMLANE_TRY(add_default_network(settings, pod, sandbox, wanted));
  std::size_t index = 1;
  if (!contains(settings.system_namespaces, pod.ns)) {
    for (const std::string& name : settings.default_networks) {
      VMLANE_ASSIGN(NetworkSelection selection,
                    parse_network_name(name, settings.multus_namespace, "key \"defaultNetworks\""));
      selection.ifname = "net" + std::to_string(index++);
      wanted.push_back({.selection = std::move(selection)});
    }
  }
  const auto it = pod.annotations.find(std::string(kNetworksAnnotation));
  if (it == pod.annotations.end()) return wanted;
  VMLANE_ASSIGN(auto selections, parse_networks_annotation(
                                     it->second, pod.ns, annotation_origin(pod, kNetworksAnnotation), index));
  for (NetworkSelection& selection : selections)
    wanted.push_back({.selection = std::move(selection), .by_pod = true});
  return wanted;
}

Result<> check_names(const std::vector<Wanted>& wanted, const Sandbox& sandbox) {
  std::map<std::string, std::string> taken;
  const NetworkSelection* routed = nullptr;
  for (const Wanted& network : wanted) {
    const NetworkSelection& selection = network.selection;
    const auto [other, added] = taken.emplace(selection.ifname, selection.id());
    if (!added) {
      return fail(Code::kInvalidConfig, "networks " + other->second + " and " + selection.id() +
                                            " both get interface \"" + selection.ifname + "\" of the pod");
    }
    if (!network.is_default && selection.ifname == sandbox.ifname) {
      return fail(Code::kInvalidConfig, "network " + selection.id() + " asks for interface \"" +
                                            selection.ifname + "\", which is the pod's first interface");
    }
    if (selection.default_route.empty()) continue;
    if (routed != nullptr) {
      return fail(Code::kInvalidConfig,
                  "both " + routed->id() + " and " + selection.id() + " have \"default-route\"",
                  "only one network of a pod may have it");
    }
    routed = &selection;
  }
  return {};
}

Result<> check_isolation(const MultusSettings& settings, const Pod& pod, const Wanted& network) {
  const std::string& ns = network.selection.ns;
  if (!settings.namespace_isolation || !network.by_pod || ns == pod.ns ||
      contains(settings.global_namespaces, ns))
    return {};
  return fail(Code::kInvalidConfig,
              network.selection.origin + ": network " + network.selection.id() +
                  " is in another namespace than the pod",
              "namespaceIsolation is on: only networks of namespace \"" + pod.ns +
                  "\" and of globalNamespaces may be used");
}

Result<> check_default_route(const NetworkConfig& network, const NetworkSelection& selection) {
  if (selection.default_route.empty()) return {};
  for (const Json& plugin : network.plugins) {
    const auto& type = plugin["type"].get_ref<const std::string&>();
    if (!is_guest_lane(type)) continue;
    return fail(Code::kInvalidConfig,
                selection.origin + ": \"default-route\" cannot be set on network " + network.nad + ": with " +
                    type + " addresses and routes belong to the guest, the pod's interface has none",
                "give the network's IPAM a default route instead");
  }
  return {};
}

// CNI_ARGS as Multus writes them, in its order.
std::string cni_args(const Pod& pod, const Sandbox& sandbox, const NetworkSelection& selection) {
  std::string args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=" + pod.ns + ";K8S_POD_NAME=" + pod.name +
                     ";K8S_POD_INFRA_CONTAINER_ID=" + sandbox.container_id + ";K8S_POD_UID=" + pod.uid;
  if (!sandbox.extra_args.empty()) args += ";" + sandbox.extra_args;
  if (selection.mac) args += ";MAC=" + selection.mac->to_string();
  for (std::size_t i = 0; i < selection.ips.size(); i++) args += (i == 0 ? ";IP=" : ",") + selection.ips[i];
  return args;
}

bool takes_device_info(const NetworkConfig& network) {
  return std::ranges::any_of(network.plugins, [](const Json& plugin) {
    const auto capabilities = plugin.find("capabilities");
    if (capabilities == plugin.end() || !capabilities->is_object()) return false;
    const auto declared = capabilities->find("CNIDeviceInfoFile");
    return declared != capabilities->end() && *declared == true;
  });
}

class Planner {
 public:
  Planner(const NodeConfig& config, const MultusSettings& settings, PluginExec& exec,
          const ObjectStore& objects, const Pod& pod, const Sandbox& sandbox)
      : config_(config), settings_(settings), exec_(exec), objects_(objects), pod_(pod), sandbox_(sandbox) {}

  Result<PlannedAttachment> plan(const Wanted& wanted) {
    const NetworkSelection& selection = wanted.selection;
    VMLANE_TRY(check_isolation(settings_, pod_, wanted));
    VMLANE_ASSIGN(const NetworkConfig network, resolve(selection));
    VMLANE_TRY(check_capabilities(network, selection));
    VMLANE_TRY(check_default_route(network, selection));
    VMLANE_TRY(check_plugins(network));
    return PlannedAttachment{attachment(network, wanted), selection.default_route};
  }

 private:
  Result<NetworkConfig> resolve(const NetworkSelection& selection) const {
    const NetworkAttachmentDefinition* nad = objects_.find_network(selection.ns, selection.name);
    if (nad != nullptr) return resolve_network(*nad, settings_.conf_dir);
    return fail(Code::kTryAgain, "NetworkAttachmentDefinition " + selection.id() + " was not found",
                "asked for by " + selection.origin + "; searched in " +
                    (objects_.searched().empty() ? "no file: the node config has no objectPaths"
                                                 : objects_.searched()));
  }

  Result<> check_plugins(const NetworkConfig& network) const {
    for (const Json& plugin : network.plugins) {
      const auto found = exec_.find(plugin_path(settings_, sandbox_.env), plugin["type"].get<std::string>());
      if (!found)
        return fail(found.error().code, "network " + network.nad + ": " + found.error().message,
                    found.error().details);
    }
    return {};
  }

  AttachmentState attachment(const NetworkConfig& network, const Wanted& wanted) const {
    const NetworkSelection& selection = wanted.selection;
    AttachmentState state{.nad = network.nad,
                          .network = network.name,
                          .ifname = selection.ifname,
                          .is_default = wanted.is_default,
                          .cni_version = network.cni_version,
                          .plugins = network.plugins,
                          .cni_args = cni_args(pod_, sandbox_, selection),
                          .disable_check = network.disable_check,
                          .disable_gc = network.disable_gc};
    if (takes_device_info(network)) {
      const std::string id = names::attachment_id(network.name, sandbox_.container_id, selection.ifname);
      state.device_info_file = config_.run_dir / "device-info" / (id + ".json");
    }
    const RuntimeData data{.selection = selection,
                           .device_info_file = state.device_info_file,
                           .runtime_config = wanted.is_default ? sandbox_.runtime_config : Json::object()};
    for (std::size_t i = 0; i < network.plugins.size(); i++)
      state.inputs.push_back(plugin_input(network, i, data));
    return state;
  }

  const NodeConfig& config_;
  const MultusSettings& settings_;
  PluginExec& exec_;
  const ObjectStore& objects_;
  const Pod& pod_;
  const Sandbox& sandbox_;
};

// The difference of two attachments of one network name by different objects, if there is one.
Result<> check_pair(const AttachmentState& wanted, const AttachmentState& other) {
  if (wanted.network != other.network || wanted.nad == other.nad) return {};
  const auto keys = differing_keys({.plugins = wanted.plugins}, {.plugins = other.plugins});
  if (keys.empty()) return {};
  std::string listed;
  for (const std::string& key : keys) listed += (listed.empty() ? "" : ", ") + key;
  return fail(Code::kConflict,
              "NetworkAttachmentDefinitions " + other.nad + " and " + wanted.nad +
                  " both configure network \"" + wanted.network + "\", with different " + listed,
              "give one of them another \"name\" in its config, or the same settings");
}

}  // namespace

std::string plugin_path(const MultusSettings& settings, const Environment& env) {
  const auto given = env.find("CNI_PATH");
  std::string path = settings.bin_dir.string();
  if (given != env.end() && !given->second.empty()) path += ":" + given->second;
  return path;
}

Result<std::vector<PlannedAttachment>> plan_pod(const NodeConfig& config, const MultusSettings& settings,
                                                PluginExec& exec, const ObjectStore& objects, const Pod& pod,
                                                const Sandbox& sandbox) {
  VMLANE_ASSIGN(const auto wanted, wanted_networks(settings, pod, sandbox));
  VMLANE_TRY(check_names(wanted, sandbox));
  Planner planner(config, settings, exec, objects, pod, sandbox);
  std::vector<PlannedAttachment> plan;
  for (const Wanted& network : wanted) {
    VMLANE_ASSIGN(PlannedAttachment attachment, planner.plan(network));
    plan.push_back(std::move(attachment));
  }
  VMLANE_TRY(check_network_names(plan, {}));
  return plan;
}

Result<> check_network_names(const std::vector<PlannedAttachment>& plan,
                             const std::vector<PodState>& running) {
  for (std::size_t i = 0; i < plan.size(); i++) {
    for (std::size_t j = 0; j < i; j++) VMLANE_TRY(check_pair(plan[i].state, plan[j].state));
    for (const PodState& pod : running) {
      for (const AttachmentState& other : pod.attachments) VMLANE_TRY(check_pair(plan[i].state, other));
    }
  }
  return {};
}

}  // namespace vmlane::multus
