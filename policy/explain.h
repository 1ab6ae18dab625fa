// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "policy/oracle.h"
#include "policy/probe.h"

namespace vmlane::policy {

// A verdict with what each policy says about the connection.
struct Explanation {
  Verdict verdict;  // by the tables
  Trace trace;      // by the text of the specifications
  // What the text says, if the tables say something else: a fault of ours. Tables past a limit are none.
  std::optional<Verdict> disagreement;

  // to_json(verdict) with "trace", and "disagreement" if there is one.
  Json to_json() const;
};

// `verdict` is what the tables of these objects say. Code::kNotFound for a pod that does not exist.
Result<Explanation> explain(const Verdict& verdict, const Objects& objects, const Probe& probe);

}  // namespace vmlane::policy
