// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"

namespace vmlane::perf {

// Answers measurements (wire.h) on all addresses of the namespace or guest it runs in, IPv4 and IPv6, until
// the process is ended. Writes "ready\n" to standard output once it listens. Returns only with an error
// (Code::kIo naming the port).
Result<> respond();

// The TCP part alone, by threads that go on until the process ends.
Result<> respond_on_tcp();

}  // namespace vmlane::perf
