// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/error.h"
#include "lab/state.h"

namespace vmlane::lab {

// Runs vmlane-multus for a workload's pod in the lab's "host" namespace, as a container runtime would:
// `command` is ADD or DEL. Errors are the plugin's own.
Result<> call_multus(const LabPaths& paths, const LabState& state, const Workload& workload,
                     std::string_view command);

}  // namespace vmlane::lab
