// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "policy/probe.h"

namespace vmlane::policy {

// What was looked at on the way to a verdict, one line each, two spaces deeper for what belongs to the line
// above.
using Trace = std::vector<std::string>;

// The verdict by the text of the specifications: every policy, rule, peer and label is looked at, nothing is
// prepared, and nothing is shared with the compiler but the types of the objects. Slow, plain, and what the
// compiler is tested against. Code::kNotFound for a pod that does not exist.
Result<Verdict> ask_oracle(const Objects& objects, const Probe& probe, Trace* trace = nullptr);

}  // namespace vmlane::policy
