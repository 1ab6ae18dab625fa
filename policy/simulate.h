// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "policy/probe.h"
#include "policy/store.h"

namespace vmlane::policy {

// A connection that other objects would judge otherwise.
struct VerdictChange {
  std::size_t probe = 0;  // its index
  Verdict before;
  Verdict after;
};

struct Simulation {
  std::vector<VerdictChange> changes;
  std::vector<Problem> problems;  // that the candidates bring along

  // {"asked", "changes": [{"probe", "before", "after"}, ...], "problems": [text, ...]}; `asked` are the
  // probes as they were given.
  Json to_json(const Json& asked) const;
};

// What `probes` would get if `candidates` were among the objects, each in the place of the one that has its
// kind, namespace and name, else beside them. Nothing is published. Code::kConflict for an object that is
// given twice on one side, Code::kNotFound for a probe about a pod that neither side has.
Result<Simulation> simulate(const std::vector<Change>& objects, const std::vector<Change>& candidates,
                            const std::vector<Probe>& probes);

}  // namespace vmlane::policy
