// SPDX-License-Identifier: Apache-2.0
#include "policy/explain.h"

namespace vmlane::policy {

Json Explanation::to_json() const {
  Json json = policy::to_json(verdict);
  json["trace"] = trace;
  if (disagreement) json["disagreement"] = policy::to_json(*disagreement);
  return json;
}

Result<Explanation> explain(const Verdict& verdict, const Objects& objects, const Probe& probe) {
  Explanation explanation{.verdict = verdict, .trace = {}, .disagreement = {}};
  VMLANE_ASSIGN(const Verdict expected, ask_oracle(objects, probe, &explanation.trace));
  const auto is_too_large = [](const Judgement& judgement) {
    return judgement.reason == Reason::kTooLarge ||
           (judgement.audit && judgement.audit->reason == Reason::kTooLarge);
  };
  const bool too_large = is_too_large(verdict.egress) || is_too_large(verdict.ingress);
  if (verdict != expected && !too_large) explanation.disagreement = expected;
  return explanation;
}

}  // namespace vmlane::policy
