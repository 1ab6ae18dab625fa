// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/networks.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <ranges>

#include "cni/version.h"
#include "core/files.h"
#include "core/names.h"
#include "multus-adapter/config_check.h"
#include "multus-adapter/json_text.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;

// For configurations that name no version: the newest that every released reference plugin speaks.
constexpr std::string_view kDefaultVersion = "1.0.0";

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool is_config_file(const fs::path& path) {
  constexpr std::array<std::string_view, 3> kExtensions = {".conf", ".conflist", ".json"};
  return std::ranges::find(kExtensions, path.extension().string()) != kExtensions.end();
}

// The node's configuration of that network name. What a file is called says nothing; files that are broken
// are somebody else's.
Result<ConfigText> find_in_directory(const fs::path& directory, const NetworkAttachmentDefinition& nad) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (is_config_file(it->path())) files.push_back(it->path());
  }
  std::ranges::sort(files);
  for (const fs::path& file : files) {
    const auto text = read_file(file);
    if (!text || !*text) continue;
    const auto config = parse_json(**text, file.string());
    if (!config || !config->is_object()) continue;
    const auto name = config->find("name");
    if (name != config->end() && *name == nad.name) return ConfigText{**text, file.string()};
  }
  return fail(Code::kNotFound,
              "NetworkAttachmentDefinition " + nad.id() + " has no config, and no configuration in " +
                  directory.string() + " has the name \"" + nad.name + "\"",
              "give spec.config, or a .conf or .conflist file whose key \"name\" is \"" + nad.name + "\"");
}

std::string subject_of(const NetworkAttachmentDefinition& nad, const ConfigText& text) {
  return "NetworkAttachmentDefinition " + nad.id() + ", " + text.source;
}

bool switched_on(const Json& config, std::string_view key) {
  const auto it = config.find(key);
  return it != config.end() && (*it == true || *it == "true");
}

// The newest of the versions that the configuration allows and we know.
Result<std::string> choose_version(const Json& config, const std::string& subject) {
  std::vector<std::string> allowed;
  if (const auto it = config.find("cniVersion"); it != config.end() && it->is_string())
    allowed.push_back(it->get<std::string>());
  if (const auto it = config.find("cniVersions"); it != config.end() && it->is_array()) {
    for (const Json& version : *it) allowed.push_back(version.get<std::string>());
  }
  std::erase(allowed, "");
  if (allowed.empty()) return std::string(kDefaultVersion);
  std::optional<cni::Version> best;
  std::string listed;
  for (const std::string& text : allowed) {
    listed += (listed.empty() ? "\"" : ", \"") + text + "\"";
    const auto version = cni::Version::parse(text);
    if (version && cni::is_supported(*version) && (!best || *best < *version)) best = *version;
  }
  if (best) return best->to_string();
  std::string supported;
  for (const std::string_view version : cni::kSupportedVersions)
    supported += (supported.empty() ? "" : ", ") + std::string(version);
  return fail(Code::kIncompatibleVersion, subject + " allows the CNI versions " + listed + " only",
              "supported are " + supported);
}

Result<> first_error(const std::vector<ConfigProblem>& problems, const std::string& text,
                     const std::string& subject) {
  const auto error = std::ranges::find(problems, LintProblem::Severity::kError, &ConfigProblem::severity);
  if (error == problems.end()) return {};
  return fail(Code::kInvalidConfig,
              subject + " at " + position_of(text, error->path) + ": " + error->message);
}

// runtimeConfig: a capability's name there, and what the pod asks for under it.
Json wanted_capabilities(const RuntimeData& data) {
  Json wanted = data.runtime_config;
  const NetworkSelection& selection = data.selection;
  if (selection.mac) wanted["mac"] = selection.mac->to_string();
  if (!selection.ips.empty()) wanted["ips"] = selection.ips;
  if (!selection.port_mappings.is_null()) wanted["portMappings"] = selection.port_mappings;
  if (!selection.bandwidth.is_null()) wanted["bandwidth"] = selection.bandwidth;
  if (selection.infiniband_guid) wanted["infinibandGUID"] = *selection.infiniband_guid;
  if (selection.device_id) wanted["deviceID"] = *selection.device_id;
  if (!data.device_info_file.empty()) wanted["CNIDeviceInfoFile"] = data.device_info_file;
  return wanted;
}

bool declares(const Json& plugin, std::string_view capability) {
  const auto capabilities = plugin.find("capabilities");
  if (capabilities == plugin.end() || !capabilities->is_object()) return false;
  const auto declared = capabilities->find(capability);
  return declared != capabilities->end() && *declared == true;
}

Json comparable(const NetworkConfig& network) {
  Json plugins = network.plugins;
  // What version they are run with is no setting of the network; the name is the same by definition.
  for (Json& plugin : plugins) {
    for (const char* key : {"cniVersion", "cniVersions", "name", "disableCheck", "disableGC"})
      plugin.erase(key);
  }
  return plugins.size() == 1 ? plugins[0] : Json{{"plugins", plugins}};
}

// "/plugins/1/ipam/subnet" of a JSON patch in the form people write.
std::string dotted(const std::string& pointer) {
  std::string out;
  const Json::json_pointer path(pointer);
  std::vector<std::string> steps;
  for (Json::json_pointer rest = path; !rest.empty(); rest = rest.parent_pointer())
    steps.push_back(rest.back());
  for (const std::string& step : std::views::reverse(steps)) {
    const bool index = !out.empty() && !step.empty() &&
                       std::ranges::all_of(step, [](char c) { return c >= '0' && c <= '9'; });
    out += index ? "[" + step + "]" : (out.empty() ? "" : ".") + step;
  }
  return out;
}

}  // namespace

Result<NetworkConfig> resolve_network(const NetworkAttachmentDefinition& nad, const fs::path& conf_dir) {
  VMLANE_ASSIGN(const ConfigText text, config_text(nad, conf_dir));
  const std::string subject = subject_of(nad, text);
  VMLANE_ASSIGN(const Json config, parse_json(text.text, subject));
  VMLANE_TRY(first_error(check_structure(config), text.text, subject));

  NetworkConfig network;
  network.nad = nad.id();
  network.source = text.source;
  ObjectReader reader(config, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto name, reader.string("name"));
  network.name = name && !name->empty() ? *name : nad.name;
  VMLANE_ASSIGN(network.cni_version, choose_version(config, subject));
  network.disable_check = switched_on(config, "disableCheck");
  network.disable_gc = switched_on(config, "disableGC");
  if (const Json* plugins = reader.find("plugins")) {
    network.plugins = plugins->get<std::vector<Json>>();
  } else {
    network.plugins = {config};
  }
  return network;
}

Json plugin_input(const NetworkConfig& network, std::size_t index, const RuntimeData& data) {
  Json input = network.plugins[index];
  // What only a runtime may say, and what it has chosen from.
  for (const char* key : {"cniVersions", "prevResult", "runtimeConfig"}) input.erase(key);
  input["name"] = network.name;
  input["cniVersion"] = network.cni_version;
  if (data.selection.device_id) {
    input["deviceID"] = *data.selection.device_id;
    input["pciBusID"] = *data.selection.device_id;
  }
  const Json wanted = wanted_capabilities(data);
  for (const auto& [capability, value] : wanted.items()) {
    if (declares(network.plugins[index], capability)) input["runtimeConfig"][capability] = value;
  }
  if (!input.contains("args") || !input["args"].is_object()) input["args"] = Json::object();
  Json& args = input["args"]["cni"];
  if (!args.is_object()) args = Json::object();
  args.update(data.selection.cni_args);
  args["nad"] = network.nad;
  return input;
}

Result<> check_capabilities(const NetworkConfig& network, const NetworkSelection& selection) {
  const auto check = [&](bool asked, const char* key, const char* capability) -> Result<> {
    const bool declared = std::ranges::any_of(
        network.plugins, [&](const Json& plugin) { return declares(plugin, capability); });
    if (!asked || declared) return {};
    return fail(Code::kInvalidConfig,
                selection.origin + ": \"" + key + "\" is asked for, but no plugin of network " + network.nad +
                    " declares the capability \"" + capability + "\"",
                std::string("add \"capabilities\": {\"") + capability + "\": true} to a plugin that has it");
  };
  VMLANE_TRY(check(!selection.port_mappings.is_null(), "portMappings", "portMappings"));
  VMLANE_TRY(check(!selection.bandwidth.is_null(), "bandwidth", "bandwidth"));
  return check(selection.infiniband_guid.has_value(), "infiniband-guid", "infinibandGUID");
}

std::vector<std::string> differing_keys(const NetworkConfig& a, const NetworkConfig& b) {
  std::vector<std::string> keys;
  for (const Json& change : Json::diff(comparable(a), comparable(b))) {
    const std::string key = dotted(change["path"].get<std::string>());
    if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
  }
  return keys;
}

Result<ConfigText> config_text(const NetworkAttachmentDefinition& nad, const fs::path& conf_dir) {
  if (is_blank(nad.config)) return find_in_directory(conf_dir, nad);
  return ConfigText{nad.config, "spec.config"};
}

LintProblem lint_problem(const NetworkAttachmentDefinition& nad, const ConfigText& text,
                         const ConfigProblem& problem) {
  std::string path = "$";
  for (const std::string& step : problem.path) {
    const bool is_index = std::ranges::all_of(step, [](unsigned char c) { return std::isdigit(c) != 0; });
    path += is_index && !step.empty() ? "[" + step + "]" : "." + step;
  }
  return {.severity = problem.severity,
          .object = nad.id(),
          .path = path,
          .position = position_of(text.text, problem.path),
          .message = problem.message};
}

std::string LintProblem::text() const {
  return std::string(severity == Severity::kError ? "error: " : "warning: ") + object +
         (position.empty() ? "" : ", " + position) + ": " + message;
}

Json LintProblem::to_json() const {
  return {{"severity", severity == Severity::kError ? "error" : "warning"},
          {"object", object},
          {"path", path},
          {"position", position},
          {"message", message}};
}

std::vector<LintProblem> lint_structure(const NetworkAttachmentDefinition& nad, const fs::path& conf_dir) {
  const auto whole = [&](const Error& error) {
    return LintProblem{.object = nad.id(), .message = error.text()};
  };
  const auto text = config_text(nad, conf_dir);
  if (!text) return {whole(text.error())};
  const auto config = parse_json(text->text, text->source);
  if (!config) return {whole(config.error())};
  std::vector<LintProblem> problems;
  for (const auto& found : {check_structure(*config), check_keys(*config)}) {
    for (const ConfigProblem& problem : found) problems.push_back(lint_problem(nad, *text, problem));
  }
  // A warning about something else does not make up for it.
  if (first_error(check_structure(*config), text->text, text->source)) {
    const auto version = choose_version(*config, text->source);
    if (!version) problems.push_back(whole(version.error()));
  }
  // The same slip may be seen by both checks.
  std::vector<LintProblem> unique;
  for (LintProblem& problem : problems) {
    const bool seen = std::ranges::any_of(unique, [&](const LintProblem& other) {
      return other.position == problem.position && other.message == problem.message;
    });
    if (!seen) unique.push_back(std::move(problem));
  }
  return unique;
}

}  // namespace vmlane::multus
