// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace vmlane {

// The time of day, RFC 3339 in UTC with microseconds: "2026-01-31T12:00:00.000001Z". Texts of two moments
// compare as the moments do.
std::string utc_now();

}  // namespace vmlane
