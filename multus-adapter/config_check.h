// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
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

// Misspelt and ignored keys of the specification: warnings.
std::vector<ConfigProblem> check_keys(const Json& config);

// A configuration's text and where it stands.
struct ConfigText {
  std::string text;
  std::string source;
};
Result<ConfigText> config_text(const NetworkAttachmentDefinition& nad, const std::filesystem::path& conf_dir);

LintProblem lint_problem(const NetworkAttachmentDefinition& nad, const ConfigText& text,
                         const ConfigProblem& problem);

}  // namespace vmlane::multus
