// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "core/node_config.h"
#include "lab/process.h"

// The node's vhost-user switch, for a lab or a measurement.
namespace vmlane::lab {

struct SwitchPlace {
  std::filesystem::path program;            // vmlane-switch
  std::filesystem::path network_namespace;  // of the node
  std::filesystem::path output;             // standard output and error
};

// Starts it for the node of `config`, which was read from a file, and returns when it answers on its socket.
// `record` as for start_daemon. Errors quote what it said last.
Result<ProcessRef> start_switch(const SwitchPlace& place, const NodeConfig& config,
                                const std::function<Result<>(const ProcessRef&)>& record);

}  // namespace vmlane::lab
