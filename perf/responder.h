// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"

namespace vmlane::perf {

// Answers measurements (wire.h) on all addresses of the namespace or guest it runs in, IPv4 and IPv6, until
// the process is ended. Writes "ready\n" to standard output once it listens. Returns only with an error
// (Code::kIo naming the port).
Result<> respond();

}  // namespace vmlane::perf
