// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "answers/plan.h"
#include "core/error.h"
#include "ebpf/guest_answers.h"

namespace vmlane::answers {

// The templates of DHCPv6 and of the router advertisement; plan.ipv6 must be there.
Result<> build_dhcp6(const AnswerPlan& plan, vmlane_answers& answers);
Result<> build_router_advertisement(const AnswerPlan& plan, vmlane_answers& answers);

}  // namespace vmlane::answers
