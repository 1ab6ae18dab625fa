// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"
#include "lab/progress.h"
#include "lab/state.h"

namespace vmlane::lab {

// Stops and removes all that a lab's state names, and the directory. The caller holds the lab's lock. Goes on
// after errors and returns the first.
Result<> take_down(const LabPaths& paths, const Progress& progress);

}  // namespace vmlane::lab
