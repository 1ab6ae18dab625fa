// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "cni/request.h"
#include "core/error.h"
#include "core/log.h"

// What every program that speaks CNI writes into the node's log.
namespace vmlane::cni {

// Fields of all lines of an operation: op, network, and where it is about an attachment, container, ifname
// and id.
Log::Fields log_context(const Request& request);

// The one line that sums an operation up: `context`, outcome ok|error, code (0 for success), duration in ms,
// and the error's text. It finds the log by itself, so that a call that could not even be read has its line;
// with an unreadable node config there is no log.
void log_operation(const Request& request, const std::string& program, const Log::Fields& context,
                   const Error* error, std::chrono::microseconds took);

}  // namespace vmlane::cni
