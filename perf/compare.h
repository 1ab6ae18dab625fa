// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  Estimate factor;  // after / before with its 99 % interval
  Verdict verdict = Verdict::kSame;
};

struct Comparison {
  std::vector<Change> changes;
  std::vector<std::string> warnings;  // why the two may not be comparable
  std::vector<std::string> notes;     // lanes that one of them, or both, have not measured, or not wholly

  bool worse() const;
};

// A change counts when its interval excludes none at all and it is at least 5 %; with fewer than five
// observations on a side there is no saying.
Comparison compare(const RunResult& before, const RunResult& after);

// A table, with warnings first and the conclusion last.
std::string render_comparison(const Comparison& comparison);

}  // namespace vmlane::perf
