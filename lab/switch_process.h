// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "core/node_config.h"
#include "lab/process.h"

// The node's vhost-user switch with its keeper, for a lab or a measurement.
namespace vmlane::lab {

struct SwitchPlace {
  std::filesystem::path program;            // vmlane-keeper, with vmlane-switch beside it
  std::filesystem::path network_namespace;  // of the node
  std::filesystem::path output;             // standard output and error
};

// Starts it for the node of `config`, which was read from a file, and returns when the switch forwards.
// With the keeper, which is what is returned, the switch ends too. `record` as for start_daemon. Errors quote
// what it said last.
Result<ProcessRef> start_switch(const SwitchPlace& place, const NodeConfig& config,
                                const std::function<Result<>(const ProcessRef&)>& record);

}  // namespace vmlane::lab
