// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/nad_lint.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "cni/lanes.h"
#include "core/names.h"
#include "multus-adapter/config_check.h"
#include "multus-adapter/ipam_check.h"
#include "multus-adapter/json_text.h"
#include "multus-adapter/lane_types.h"
#include "multus-adapter/network_selection.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;
using LintSeverity = LintProblem::Severity;

std::string type_of(const Json& plugin) {
  const auto type = plugin.find("type");
  return type != plugin.end() && type->is_string() ? type->get<std::string>() : std::string();
}

// One plugin of a network as its lane reads it.
class LaneCheck {
 public:
  LaneCheck(const NetworkAttachmentDefinition& nad, const NodeConfig& node, Json plugin)
      : nad_(nad), node_(node), plugin_(std::move(plugin)) {}

  // Problems with paths that start at the plugin. A lane stops at the first error, so what it complains of is
  // taken away and the rest read again.
  std::vector<ConfigProblem> run() {
    std::vector<ConfigProblem> problems;
    for (;;) {
      const auto keys = read(plugin_);
      if (keys) {
        for (const std::string& key : keys->unknown) problems.push_back(unknown(key, keys->known));
        return problems;
      }
      const std::string culprit = find_culprit(keys.error());
      // What is missing now may be what was taken away.
      if (culprit.empty() && !problems.empty()) return problems;
      problems.push_back({LintSeverity::kError, place_in(culprit, keys.error()), keys.error().text()});
      if (culprit.empty()) return problems;
      plugin_.erase(culprit);
    }
  }

 private:
  // As ADD would, with what Multus adds.
  Result<cni::ConfigKeys> read(const Json& plugin) const {
    const std::unique_ptr<cni::Lane> lane = cni::make_lane(type_of(plugin));
    cni::Request request;
    request.command = cni::Command::kAdd;
    request.config = plugin;
    request.config["name"] = nad_.name;
    request.key = {nad_.name, "lint", "net1"};
    if (!nad_.resource_name.empty() && lane->type() == "vmlane-macvtap") {
      const auto lower = plugin.find("lowerDevice");
      request.config["deviceID"] =
          (lower != plugin.end() && lower->is_string() ? lower->get<std::string>() : "eth0") + "-" +
          std::to_string(names::MacvtapSlot::kFirstIndex);
    }
    VMLANE_TRY(cni::parse_nic_request(request));
    return lane->configure(request, node_);
  }

  // The key without which the error would not be: one that it names, if there is one.
  std::string find_culprit(const Error& error) const {
    std::string culprit;
    for (const auto& [key, value] : plugin_.items()) {
      if (key == "type") continue;
      Json without = plugin_;
      without.erase(key);
      const auto keys = read(without);
      if (!keys && keys.error().text() == error.text()) continue;
      if (names_key(error, key)) return key;
      if (culprit.empty()) culprit = key;
    }
    return culprit;
  }

  static bool names_key(const Error& error, const std::string& key) {
    return std::ranges::any_of(std::array{'"', '.', '['}, [&](char next) {
      return error.message.find("\"" + key + next) != std::string::npos;
    });
  }

  // Steps to the value that an error is about: `"ipam.ranges[0]"` in its text leads further than the key.
  std::vector<std::string> place_in(const std::string& culprit, const Error& error) const {
    if (culprit.empty()) return {};
    std::vector<std::string> steps = {culprit};
    const auto begin = error.message.find("\"" + culprit);
    if (begin == std::string::npos) return steps;
    const std::size_t at = begin + 1 + culprit.size();
    const std::string rest = error.message.substr(at, error.message.find('"', at) - at);
    std::string step;
    for (const char c : rest + ".") {
      if (c != '.' && c != '[' && c != ']') {
        step += c;
      } else if (!step.empty()) {
        steps.push_back(std::move(step));
        step.clear();
      }
    }
    return steps;
  }

  static ConfigProblem unknown(const std::string& key, const std::vector<std::string>& known) {
    const std::vector<std::string_view> words(known.begin(), known.end());
    return {LintSeverity::kWarning,
            {key},
            "unknown key " + to_text(Json(key)) + ", which nobody reads" + did_you_mean(key, words)};
  }

  const NetworkAttachmentDefinition& nad_;
  const NodeConfig& node_;
  Json plugin_;
};

bool declares_capability(const Json& plugin, const std::string& capability) {
  const auto capabilities = plugin.find("capabilities");
  return capabilities != plugin.end() && capabilities->is_object() &&
         capabilities->value(capability, Json(false)) == true;
}

// What works without, and not as its owner will expect.
std::vector<ConfigProblem> check_lane_capabilities(const NetworkAttachmentDefinition& nad,
                                                   const Json& plugin) {
  std::vector<ConfigProblem> problems;
  if (type_of(plugin) != "vmlane-vhostuser" || nad.resource_name.empty()) return problems;
  if (!declares_capability(plugin, "CNIDeviceInfoFile")) {
    problems.push_back(
        {LintSeverity::kWarning,
         {"capabilities"},
         "the capability \"CNIDeviceInfoFile\" is not declared, so that the virtual machine is not told "
         "where its socket is: add \"capabilities\": {\"CNIDeviceInfoFile\": true}"});
  }
  return problems;
}

std::vector<ConfigProblem> check_lane(const NetworkAttachmentDefinition& nad, const NodeConfig& node,
                                      const Json& plugin) {
  std::vector<ConfigProblem> problems;
  const auto take = [&](std::vector<ConfigProblem> more) {
    std::ranges::move(more, std::back_inserter(problems));
  };
  if (!plugin.is_object()) return problems;
  take(check_ipam_addresses(plugin));
  if (cni::make_lane(type_of(plugin)) == nullptr) return problems;
  take(LaneCheck(nad, node, plugin).run());
  take(check_lane_capabilities(nad, plugin));
  return problems;
}

// The plugins of a network with the steps to each; none where the structure is broken.
std::vector<std::pair<std::vector<std::string>, Json>> plugins_of(const Json& config) {
  std::vector<std::pair<std::vector<std::string>, Json>> plugins;
  if (!config.is_object()) return plugins;
  const auto list = config.find("plugins");
  if (list == config.end() || list->is_null()) {
    plugins.emplace_back(std::vector<std::string>{}, config);
    return plugins;
  }
  for (std::size_t i = 0; list->is_array() && i < list->size(); i++)
    plugins.emplace_back(std::vector<std::string>{"plugins", std::to_string(i)}, (*list)[i]);
  return plugins;
}

// The type of the plugin that gives a network its NIC; empty when it cannot be told.
std::string main_plugin(const NetworkAttachmentDefinition& nad, const fs::path& conf_dir) {
  const auto network = resolve_network(nad, conf_dir);
  return network ? type_of(network->plugins.front()) : std::string();
}

// Whether KubeVirt's binding of an interface can have a NIC of that plugin (contracts.md 8.1).
std::optional<std::string> misfit(const VmInterface& interface, const std::string& type) {
  const bool in_pod =
      !interface.binding_plugin && (interface.binding == "bridge" || interface.binding == "masquerade");
  if (in_pod && is_guest_lane(type))
    return "KubeVirt moves an interface of the pod into a bridge of its own, and the NIC of " + type +
           " is the virtual machine's already: use a network of vmlane-veth, or a network binding plugin for "
           "the "
           "interface";
  if (!interface.binding_plugin && interface.binding == "sriov" && type.starts_with("vmlane-") &&
      type != "vmlane-sriov")
    return "it wants a PCI device, and " + type +
           " gives none: use a network of vmlane-sriov, or a network binding "
           "plugin for the interface";
  return std::nullopt;
}

void lint_vm(const VirtualMachineInstance& vm, const ObjectStore& objects, const fs::path& conf_dir,
             std::vector<LintProblem>& problems) {
  const std::string object =
      std::string(vm.from_vm ? "VirtualMachine " : "VirtualMachineInstance ") + vm.id();
  const auto add = [&](LintSeverity severity, const std::string& message) {
    problems.push_back(
        {.severity = severity, .object = object, .path = {}, .position = {}, .message = message});
  };
  for (const VmNetwork& network : vm.networks) {
    if (network.pod) continue;
    const auto name = parse_network_name(network.multus_network, vm.ns, "network \"" + network.name + "\"");
    if (!name) {
      add(LintSeverity::kError, name.error().text());
      continue;
    }
    const NetworkAttachmentDefinition* nad = objects.find_network(name->ns, name->name);
    if (nad == nullptr) {
      add(LintSeverity::kWarning, "network \"" + network.name + "\" is of NetworkAttachmentDefinition " +
                                      name->id() + ", which is not among the objects");
      continue;
    }
    const VmInterface& interface = vm.interface_of(network);
    const auto why = misfit(interface, main_plugin(*nad, conf_dir));
    if (why)
      add(LintSeverity::kError, "interface \"" + interface.name + "\" has the binding \"" +
                                    interface.binding + "\", which does not fit network " + nad->id() + ": " +
                                    *why);
  }
}

}  // namespace

std::vector<LintProblem> lint_network(const NetworkAttachmentDefinition& nad, const fs::path& conf_dir,
                                      const NodeConfig& node) {
  std::vector<LintProblem> problems = lint_structure(nad, conf_dir);
  const auto text = config_text(nad, conf_dir);
  const auto config = text ? parse_json(text->text, text->source) : Result<Json>(Json());
  if (!text || !config) return problems;
  for (const auto& [path, plugin] : plugins_of(*config)) {
    for (ConfigProblem& problem : check_lane(nad, node, plugin)) {
      problem.path.insert(problem.path.begin(), path.begin(), path.end());
      LintProblem found = lint_problem(nad, *text, problem);
      // What is wrong with the structure has been told.
      const bool told =
          std::ranges::any_of(problems, [&](const LintProblem& other) { return other.path == found.path; });
      if (!told) problems.push_back(std::move(found));
    }
  }
  return problems;
}

std::vector<LintProblem> lint_objects(const ObjectStore& objects, const fs::path& conf_dir,
                                      const NodeConfig& node) {
  std::vector<LintProblem> problems;
  for (const NetworkAttachmentDefinition& nad : objects.networks()) {
    for (LintProblem& problem : lint_network(nad, conf_dir, node)) problems.push_back(std::move(problem));
  }
  for (const VirtualMachineInstance& vm : objects.vms()) lint_vm(vm, objects, conf_dir, problems);
  return problems;
}

}  // namespace vmlane::multus
