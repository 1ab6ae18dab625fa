// SPDX-License-Identifier: Apache-2.0
#include "cli/node_source.h"

#include <CLI/CLI.hpp>

#include "lab/lab.h"

namespace vmlane::cli {

void NodeSource::add_options(CLI::App& command) {
  auto* file =
      command.add_option("--config", config, "node config (default: $VMLANE_CONFIG, else the system's)")
          ->type_name("FILE");
  auto* of_lab = command.add_flag("--lab", lab, "attachments of the lab")->excludes(file);
  directory.add_option(command)->needs(of_lab);
}

Result<NodeConfig> NodeSource::read(const Context& context) const {
  Invocation invocation = context.invocation;
  if (lab) {
    const lab::LabPaths paths = directory.paths();
    VMLANE_TRY(lab::open_lab(paths));
    invocation.env["VMLANE_CONFIG"] = paths.node_config().string();
  } else if (!config.empty()) {
    invocation.env["VMLANE_CONFIG"] = config;
  }
  return load_node_config(invocation);
}

}  // namespace vmlane::cli
