// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "core/node_config.h"
#include "multus-adapter/networks.h"
#include "multus-adapter/objects.h"

// What is wrong with NetworkAttachmentDefinitions, all of it at once and before a pod waits for one of them.
// The keys of this project's plugins are read by the plugins' own code, so that lint and ADD cannot disagree.
namespace vmlane::multus {

// Errors: what ADD would refuse. Warnings: keys that nobody reads, and what works and is likely not meant.
// `conf_dir` is where the node has the configurations of objects without one.
std::vector<LintProblem> lint_network(const NetworkAttachmentDefinition& nad,
                                      const std::filesystem::path& conf_dir, const NodeConfig& node = {});

// All networks of a store, and its VMs: an interface whose binding does not fit the lane of its network is an
// error, a network that the store does not have a warning.
std::vector<LintProblem> lint_objects(const ObjectStore& objects, const std::filesystem::path& conf_dir,
                                      const NodeConfig& node = {});

}  // namespace vmlane::multus
