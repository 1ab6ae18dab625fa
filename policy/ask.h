// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"
#include "policy/probe.h"
#include "policy/tables.h"
#include "policy/verdict.h"

namespace vmlane::policy {

// The verdict that a block gives, with the ends found by the names that `tables` knows. Internal to this
// room.
Result<Verdict> ask_block(const Tables& tables, const vmlane_policy_tables& block, const Probe& probe);

}  // namespace vmlane::policy
