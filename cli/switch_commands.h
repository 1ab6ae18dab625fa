// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/app.h"
#include "core/json_rpc.h"
#include "core/node_config.h"

// What the commands of the group `switch` share.
namespace vmlane::cli {

// A connection to the node's switch; the error says that it is the switch that cannot be asked.
Result<json_rpc::Client> connect_switch(const NodeConfig& config);

void add_switch_capture(CLI::App& group, Context& context);
void add_switch_trace(CLI::App& group, Context& context);

}  // namespace vmlane::cli
