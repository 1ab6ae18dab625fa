// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "perf/result.h"

namespace vmlane::perf {

// One HTML document without any other resource and without script, in light and dark: for each run a summary,
// plots (latency distribution, ratio to the container with its interval, throughput, CPU per packet, drift
// over the run) and tables with all figures. Texts of the result are escaped.
std::string html_report(const std::vector<RunResult>& results);

}  // namespace vmlane::perf
