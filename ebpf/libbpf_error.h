// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/error.h"

namespace vmlane::ebpf {

// From now on libbpf, which prints on the standard error stream by itself, keeps its warnings for
// libbpf_error(); earlier ones are forgotten. Call it at the start of each public function.
void silence_libbpf();

// "<message>: <strerror(err)>" with Code::kKernel and, as details, libbpf's last warning on this thread.
Error libbpf_error(const std::string& message, int err);

}  // namespace vmlane::ebpf
