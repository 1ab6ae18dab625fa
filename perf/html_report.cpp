// SPDX-License-Identifier: Apache-2.0
#include "perf/html_report.h"
namespace vmlane::perf {
std::string html_report(const std::vector<RunResult>&) { return ""; }
}
