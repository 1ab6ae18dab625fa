// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "answers/plan.h"
#include "core/error.h"
#include "ebpf/guest_answers.h"

namespace vmlane::answers {

// The templates of ARP replies and neighbour advertisements, and for which addresses they are given.
Result<> build_neighbours(const AnswerPlan& plan, const std::vector<IpAddress>& addresses,
                          vmlane_answers& answers);

}  // namespace vmlane::answers
