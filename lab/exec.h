// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "lab/command_response.h"
#include "lab/progress.h"
#include "lab/state.h"

namespace vmlane::lab {

// Exit status when the command could not be run at all, as env(1) and container runtimes have it.
inline constexpr int kExecFailed = 125;

struct ExecRequest {
  std::vector<std::string> command;
  unsigned limit = 0;  // seconds, 0: none
  Interrupted interrupted;
  CommandResponse::Sink output;  // of a VM's command; a pod's command writes to our own streams
  CommandResponse::Sink error;
};

// Runs the command and gives its exit status (128 + signal for a killed one, kLimitStatus at the limit): in a
// pod's network namespace with our standard streams and the machine's files, or in a VM's guest without
// standard input, one at a time.
Result<int> exec_in_workload(const LabPaths& paths, std::string_view name, const ExecRequest& request);

// The same in the lab's node namespace.
Result<int> exec_on_node(const LabPaths& paths, const ExecRequest& request);

}  // namespace vmlane::lab
