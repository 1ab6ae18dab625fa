// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/error.h"
#include "perf/client.h"
#include "perf/cross_check.h"
#include "perf/site.h"

namespace vmlane::perf {

// What the harness adds to a round trip of the container lane.
struct SelfTest {
  double container_p50_us = 0;
  // Reading the clock twice and recording a sample, in nanoseconds: all that is within a measured round trip
  // and not the path's own.
  double instruments_ns = 0;
  double instruments_percent = 0;  // of container_p50_us
  // Loop-back round trips in blocks of which only the ends are timed, against blocks of which each round trip
  // is timed and recorded: the same loop, with and without the instruments.
  double bare_us = 0;
  double timed_us = 0;
  double difference_percent = 0;  // of bare_us; what noise leaves of it may be negative
  // The container's lane by well-known generators, if they were asked for.
  std::vector<CrossCheck> cross_checks;
};

// A second or so, and six more for each generator with `cross_checks`. Needs root, like a run.
Result<SelfTest> self_test(const SiteOptions& options, bool cross_checks, const Interrupted& interrupted);

}  // namespace vmlane::perf
