// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/error.h"
#include "core/json.h"
#include "ebpf/guest_answers.h"

namespace vmlane::answers {

// Answers as they stand in an attachment's record, for a datapath that learns of attachments from there: the
// layout's size, what is before the templates, and the templates that there are, in hex.
Json answers_to_json(const vmlane_answers& answers);
// Code::kDecode when it is of another layout: the plugin and the reader are of different releases.
Result<std::unique_ptr<vmlane_answers>> answers_from_json(const Json& json);

}  // namespace vmlane::answers
