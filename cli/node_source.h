// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/app.h"
#include "cli/lab_options.h"
#include "core/error.h"
#include "core/node_config.h"

namespace vmlane::cli {

// The options `--config`, `--lab` and `--dir` of every command that reads the records of a node: which one.
struct NodeSource {
  std::string config;
  bool lab = false;
  LabDirectory directory;

  void add_options(CLI::App& command);
  bool given() const { return lab || !config.empty(); }
  Result<NodeConfig> read(const Context& context) const;
};

}  // namespace vmlane::cli
