// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "perf/result.h"

namespace vmlane::perf {

// kNoFactor: it was 0 before and is not now, which no percentage tells.
enum class Verdict { kSame, kBetter, kWorse, kTooFew, kNoFactor };

// One quantity of one lane in both runs, as a ratio to the container: that takes out what changed about the
// machine.
struct Change {
  std::string lane;
  std::string guest;
  std::string quantity;
  double before = 0;
  double after = 0;
  std::optional<Estimate> factor;  // after / before with its interval; none with too few epochs, or from 0
  Verdict verdict = Verdict::kSame;
};

struct Comparison {
  std::vector<Change> changes;
  double confidence = 0;              // of each interval, so that all together hold with 95 %
  std::vector<std::string> warnings;  // why the two may not be comparable
  std::vector<std::string> notes;     // lanes that one of them, or both, have not measured, or not wholly

  bool worse() const;
};

// A change counts when its interval excludes none at all and it is at least 5 %; with fewer than three
// epochs on a side there is no saying. The intervals hold together: of 100 comparisons in which nothing
// changed, about five name something, however many quantities there are.
Comparison compare(const RunResult& before, const RunResult& after);

// A table, with warnings first and the conclusion last.
std::string render_comparison(const Comparison& comparison);

}  // namespace vmlane::perf
