// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/error.h"
#include "lab/state.h"

namespace vmlane::lab {

// Joins our terminal (standard input and output) with a VM's serial console until Ctrl-], the end of input,
// or the end of the VM. The terminal is as before afterwards. Code::kTryAgain when another console of that VM
// is open.
Result<> attach_console(const LabPaths& paths, std::string_view name);

}  // namespace vmlane::lab
