// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/invocation.h"

namespace vmlane::keeper {

// vmlane-keeper with its arguments (without the program's name), until SIGTERM or SIGINT. Exit statuses:
// 0 ended by signal, 1 failed, 2 wrong usage.
int run_keeper(std::vector<std::string> arguments, const Invocation& invocation);

}  // namespace vmlane::keeper
