// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/config_check.h"

#include <algorithm>
#include <array>
#include <span>

#include "cni/request.h"
#include "cni/version.h"
#include "core/names.h"
#include "multus-adapter/json_text.h"

namespace vmlane::multus {
namespace {

using Severity = LintProblem::Severity;
using Path = std::vector<std::string>;
using Problems = std::vector<ConfigProblem>;

constexpr std::string_view kOwnType = "vmlane-multus";

constexpr std::array<std::string_view, 8> kListKeys = {
    "cniVersion", "cniVersions", "name", "disableCheck", "disableGC", "loadOnlyInlinedPlugins",
    "plugins",    "type"};
constexpr std::array<std::string_view, 10> kPluginKeys = {"cniVersion",   "cniVersions",  "name", "type",
                                                          "capabilities", "args",         "ipam", "dns",
                                                          "plugins",      "runtimeConfig"};

Path below(Path path, std::string step) {
  path.push_back(std::move(step));
  return path;
}

void add(Problems& problems, Path path, std::string message, Severity severity = Severity::kError) {
  problems.push_back({severity, std::move(path), std::move(message)});
}

void add(Problems& problems, Path path, const Result<>& result) {
  if (!result) add(problems, std::move(path), result.error().text());
}

// The value of a key, null when it is absent or null.
const Json* value_of(const Json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string is_not(std::string_view key, const Json& value, std::string_view expected) {
  return "key \"" + std::string(key) + "\" is " + to_text(value) + ", expected " + std::string(expected);
}

void check_versions(const Json& config, Problems& problems) {
  if (const Json* version = value_of(config, "cniVersion"); version != nullptr && !version->is_string()) {
    add(problems, {"cniVersion"}, is_not("cniVersion", *version, "a string"));
  }
  const Json* versions = value_of(config, "cniVersions");
  if (versions == nullptr) return;
  const bool strings = versions->is_array() && std::ranges::all_of(*versions, [](const Json& version) {
                         return version.is_string();
                       });
  if (!strings) add(problems, {"cniVersions"}, is_not("cniVersions", *versions, "a list of strings"));
}

// libcni takes these as booleans and as "true" and "false".
void check_switches(const Json& config, Problems& problems) {
  for (const std::string key : {"disableCheck", "disableGC"}) {
    const Json* value = value_of(config, key);
    if (value == nullptr || value->is_boolean() || *value == "true" || *value == "false") continue;
    add(problems, {key}, is_not(key, *value, "true or false"));
  }
}

void check_capability_map(const Json& plugin, const Path& path, Problems& problems) {
  const Json* capabilities = value_of(plugin, "capabilities");
  if (capabilities == nullptr) return;
  const bool valid = capabilities->is_object() &&
                     std::ranges::all_of(*capabilities, [](const Json& value) { return value.is_boolean(); });
  if (!valid)
    add(problems, below(path, "capabilities"),
        is_not("capabilities", *capabilities, "an object of true and false"));
}

void check_ipam(const Json& plugin, const Path& path, Problems& problems) {
  const Json* ipam = value_of(plugin, "ipam");
  if (ipam == nullptr) return;
  const Path place = below(path, "ipam");
  if (!ipam->is_object()) return add(problems, place, is_not("ipam", *ipam, "an object"));
  const Json* type = value_of(*ipam, "type");
  if (type == nullptr) {
    if (!ipam->empty()) add(problems, place, "key \"ipam\" has no \"type\"");
    return;
  }
  if (!type->is_string()) return add(problems, below(place, "type"), is_not("ipam.type", *type, "a string"));
  add(problems, below(place, "type"),
      names::check_plugin_type(type->get_ref<const std::string&>(), "key \"ipam.type\"",
                               Code::kInvalidConfig));
}

// The key that somebody wrote instead of one that is needed; ": did you mean ..." with the misspelt one, or
// nothing.
std::string misspelt(const Json& object, std::string_view wanted) {
  const std::array<std::string_view, 1> known = {wanted};
  for (const auto& [key, value] : object.items()) {
    if (key != wanted && likely_meant(key, known))
      return ", there is " + to_text(Json(key)) + ": did you mean \"" + std::string(wanted) + "\"?";
  }
  return {};
}

void check_plugin(const Json& plugin, const Path& path, Problems& problems) {
  const Json* type = value_of(plugin, "type");
  if (type == nullptr) {
    add(problems, path, "the plugin has no \"type\"" + misspelt(plugin, "type"));
  } else if (!type->is_string()) {
    add(problems, below(path, "type"), is_not("type", *type, "a string"));
  } else if (*type == kOwnType) {
    add(problems, below(path, "type"),
        "\"type\" is \"" + std::string(kOwnType) + "\": the meta plugin cannot be its own delegate");
  } else {
    add(problems, below(path, "type"),
        names::check_plugin_type(type->get_ref<const std::string&>(), "key \"type\"", Code::kInvalidConfig));
  }
  check_capability_map(plugin, path, problems);
  check_ipam(plugin, path, problems);
  if (const Json* args = value_of(plugin, "args"); args != nullptr && !args->is_object()) {
    add(problems, below(path, "args"), is_not("args", *args, "an object"));
  }
}

void check_plugin_list(const Json& plugins, Problems& problems) {
  if (!plugins.is_array()) return add(problems, {"plugins"}, is_not("plugins", plugins, "a list of objects"));
  if (plugins.empty()) return add(problems, {"plugins"}, "\"plugins\" is an empty list");
  for (std::size_t i = 0; i < plugins.size(); i++) {
    const Path path = {"plugins", std::to_string(i)};
    if (plugins[i].is_object()) {
      check_plugin(plugins[i], path, problems);
    } else {
      add(problems, path, is_not("plugins[" + std::to_string(i) + "]", plugins[i], "an object"));
    }
  }
}

// What keys a plugin has, its own check knows, if any (nad_lint.h); only what looks like a slip in a key of
// the specification is told.
void check_foreign_keys(const Json& object, const Path& path, std::span<const std::string_view> known,
                        Problems& problems) {
  for (const auto& [name, value] : object.items()) {
    if (cni::is_common_config_key(name) || std::ranges::find(known, name) != known.end()) continue;
    const std::string meant = did_you_mean(name, known);
    if (!meant.empty())
      add(problems, below(path, name), "unknown key " + to_text(Json(name)) + meant, Severity::kWarning);
  }
}

}  // namespace

std::vector<ConfigProblem> check_structure(const Json& config) {
  Problems problems;
  if (!config.is_object()) {
    add(problems, {}, "the configuration is " + to_text(config) + ", expected an object");
    return problems;
  }
  check_versions(config, problems);
  if (const Json* name = value_of(config, "name")) {
    if (!name->is_string()) {
      add(problems, {"name"}, is_not("name", *name, "a string"));
    } else if (!name->get_ref<const std::string&>().empty()) {
      add(problems, {"name"},
          names::check_identifier(name->get_ref<const std::string&>(), "network name", Code::kInvalidConfig));
    }
  }
  check_switches(config, problems);
  if (const Json* plugins = value_of(config, "plugins")) {
    check_plugin_list(*plugins, problems);
  } else if (config.contains("plugins")) {
    add(problems, {"plugins"}, is_not("plugins", config["plugins"], "a list of objects"));
  } else if (value_of(config, "type") == nullptr) {
    const std::string meant = misspelt(config, "plugins");
    add(problems, {},
        "the configuration has neither \"type\" nor \"plugins\"" +
            (meant.empty() ? misspelt(config, "type") : meant));
  } else {
    check_plugin(config, {}, problems);
  }
  return problems;
}

std::vector<ConfigProblem> check_keys(const Json& config) {
  Problems problems;
  if (!config.is_object()) return problems;
  const Json* plugins = value_of(config, "plugins");
  if (plugins == nullptr) {
    check_foreign_keys(config, {}, kPluginKeys, problems);
    return problems;
  }
  check_foreign_keys(config, {}, kListKeys, problems);
  if (value_of(config, "type") != nullptr) {
    add(problems, {"type"}, "\"type\" beside \"plugins\" is ignored", Severity::kWarning);
  }
  if (!plugins->is_array()) return problems;
  for (std::size_t i = 0; i < plugins->size(); i++) {
    if ((*plugins)[i].is_object())
      check_foreign_keys((*plugins)[i], {"plugins", std::to_string(i)}, kPluginKeys, problems);
  }
  return problems;
}

}  // namespace vmlane::multus
