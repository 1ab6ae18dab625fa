// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "answers/plan.h"
#include "core/error.h"
#include "ebpf/guest_answers.h"

namespace vmlane::answers {

// The frames that a datapath answers with. Code::kInvalidConfig names the key of `guestAnswers`
// (docs/plugins.md) or the list that is at fault and its limit: a template holds 1,024 bytes, and no reply
// may be above the MTU.
//
// DHCPv4 follows RFC 2131 and 2132 with classless routes (RFC 3442), search list (RFC 3397) and long options
// (RFC 3396); DHCPv6 RFC 8415; router advertisements RFC 4861, 4191 and 8106.
Result<std::unique_ptr<vmlane_answers>> build_answers(const AnswerPlan& plan);

// The address that names our DHCP server where no gateway does: link-local, of the part that hosts never
// choose from (RFC 3927, 2.1).
IpAddress nameless_server();

}  // namespace vmlane::answers
