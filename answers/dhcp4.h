// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "answers/plan.h"
#include "core/error.h"
#include "ebpf/guest_answers.h"

namespace vmlane::answers {

// The templates of DHCPv4; plan.ipv4 must be there.
Result<> build_dhcp4(const AnswerPlan& plan, vmlane_answers& answers);

// Why the option `number` cannot be set by itself: the key that sets it, or what the protocol uses it for.
// Empty: it can.
std::string reserved_dhcp_option(unsigned number);

}  // namespace vmlane::answers
