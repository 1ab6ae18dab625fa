// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "multus-adapter/networks.h"

// The checks of a network configuration that resolve_network and lint share. Internal to this room.
namespace vmlane::multus {

struct ConfigProblem {
  LintProblem::Severity severity = LintProblem::Severity::kError;
  std::vector<std::string> path;  // keys and indexes to the place
  std::string message;
};

// What keeps a configuration from being run, in the order of the text's structure.
std::vector<ConfigProblem> check_structure(const Json& config);

// Unknown, misspelt and ignored keys (warnings) and, for the lanes of this project, known keys of the wrong
// type (errors).
std::vector<ConfigProblem> check_keys(const Json& config);

}  // namespace vmlane::multus
