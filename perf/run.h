// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "lab/progress.h"
#include "perf/client.h"
#include "perf/lane.h"
#include "perf/result.h"
#include "perf/site.h"

namespace vmlane::perf {

struct RunOptions {
  SiteOptions site;
  LaneOptions lane;
  std::vector<std::string> lanes;   // empty: all
  std::vector<std::string> guests;  // empty: all
  double duration = 10;             // seconds of headline round trips for each lane, over all epochs
  unsigned epochs = 5;              // set-ups and tear-downs of each lane
  unsigned rounds = 4;              // pairs of blocks in an epoch
  std::vector<double> rates = {2000, 10000};  // of the open loops, requests a second
  // Of payload in a request and its answer; the first is the headline's, and that of a flood's datagrams.
  std::vector<std::uint32_t> sizes = {64, 1400};
  std::uint64_t seed = 1;  // of orders and schedules
  bool allow_busy = false;
};

// All that can be said before anything is set up: unknown lanes and guests, CPUs that are not there, a user
// who is not root, a busy machine, no yardstick, nothing to measure. Each error says what to do.
Result<> check_run(const RunOptions& options);

// The run. Everything is taken down again whatever happens; when `interrupted`, or when a lane fails, the
// result has what was measured until then and says so.
Result<RunResult> run(const RunOptions& options, const lab::Progress& progress,
                      const Interrupted& interrupted);

}  // namespace vmlane::perf
