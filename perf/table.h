// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "perf/result.h"

namespace vmlane::perf {

// A result for a terminal: a line for each lane that was measured, the reasons of the others, the noise
// verdict.
std::string render_table(const RunResult& result);

// "12.3" with as many digits as a reader can use; "-" when there is nothing.
std::string figure(std::optional<double> value, int digits = 1);
// The median of a series, none when it was not measured.
std::optional<double> series_median(const LaneResult& lane, const std::string& key);
// "1.04 (1.01 to 1.07)", "-" for none.
std::string interval_text(const std::optional<Estimate>& estimate);

}  // namespace vmlane::perf
