// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "multus-adapter/network_selection.h"
#include "multus-adapter/objects.h"

namespace vmlane::multus {

// The network that a NetworkAttachmentDefinition stands for: one plugin or a chain, as the CNI
// specification's network configuration.
struct NetworkConfig {
  std::string name;         // the network's identity; need not be the object's name
  std::string cni_version;  // that every plugin is run with
  std::vector<Json> plugins;
  bool disable_check = false;
  bool disable_gc = false;
  std::string nad;     // "ns/name" of the object
  std::string source;  // where the configuration stands: the object or the node's file
};

// The configuration of an object; without one in the object the node's file in `conf_dir` whose *name key* is
// the object's name. Errors (Code::kInvalidConfig, kNotFound) start with the object's ns/name and give line
// and column inside its configuration text.
Result<NetworkConfig> resolve_network(const NetworkAttachmentDefinition& nad,
                                      const std::filesystem::path& conf_dir);

// What a runtime has to say about one attachment, beside the configuration.
struct RuntimeData {
  const NetworkSelection& selection;
  std::string device_info_file;          // path for capability CNIDeviceInfoFile
  Json runtime_config = Json::object();  // what our own caller gave for the default network
};

// What is written to the standard input of plugin number `index`: its object with name, cniVersion,
// runtimeConfig (of the capabilities it declares), and args.cni (cni-args and `nad`). The caller adds
// prevResult.
Json plugin_input(const NetworkConfig& network, std::size_t index, const RuntimeData& data);

// Refuses what a selection asks for and no plugin of the network can carry out: port mappings, bandwidth, an
// InfiniBand GUID without the capability. MAC and addresses also go by CNI_ARGS, so they need none.
Result<> check_capabilities(const NetworkConfig& network, const NetworkSelection& selection);

// The keys in which two configurations of one network name differ ("bridge", "ipam.subnet",
// "plugins[1].mtu"); empty when they say the same, in whatever order.
std::vector<std::string> differing_keys(const NetworkConfig& a, const NetworkConfig& b);

// One finding about an object.
struct LintProblem {
  enum class Severity { kWarning, kError };
  Severity severity = Severity::kError;
  std::string object;    // "ns/name", with its kind where it is no NetworkAttachmentDefinition
  std::string path;      // "$.plugins[0].mtu" in the configuration, empty when the problem has no place in it
  std::string position;  // "line 3, column 7" inside the configuration text, empty likewise
  std::string message;   // what is wrong, and what to do

  std::string text() const;
  Json to_json() const;
};

// What is wrong with an object whatever its plugins are: what resolve_network() refuses is an error, misspelt
// keys of the specification are warnings with the key that may have been meant.
std::vector<LintProblem> lint_structure(const NetworkAttachmentDefinition& nad,
                                        const std::filesystem::path& conf_dir);

}  // namespace vmlane::multus
