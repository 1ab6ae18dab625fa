// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/app.h"
#include "cli/node_source.h"
#include "core/error.h"
#include "core/json_rpc.h"

namespace vmlane::cli {

// A connection to the agent of a node. Code::kNotAvailable when none runs.
Result<json_rpc::Client> connect_agent(const NodeSource& node, const Context& context);

}  // namespace vmlane::cli
