// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include "policy/connection.h"
#include "policy/subject.h"
#include "policy/verdict.h"

// What people are told of a packet that policy dropped; the same on every lane.
namespace vmlane::policy {

// In the order of VMLANE_STAGE_*.
inline constexpr std::array<std::string_view, VMLANE_STAGE_REASONS> kStageReasons = {
    "", "policy", "not-judged-yet", "malformed", "fragment", "no-connection", "ct-full", "not-ip"};

// In the order of VMLANE_POLICY_* reasons.
inline constexpr std::array<std::string_view, 7> kVerdictReasons = {
    "not-isolated", "rule", "isolated", "own-node", "broken", "too-large", "bad-tables"};

// `verdict_reason` says more where the tables decided.
constexpr std::string_view drop_reason_name(std::uint32_t stage_reason, std::uint32_t verdict_reason) {
  if (stage_reason == VMLANE_STAGE_BY_POLICY && verdict_reason < kVerdictReasons.size())
    return kVerdictReasons[verdict_reason];
  return stage_reason < kStageReasons.size() ? kStageReasons[stage_reason] : "unknown";
}

// Whether an answer for that reason names a policy.
constexpr bool names_a_policy(std::uint32_t verdict_reason) {
  return verdict_reason == VMLANE_POLICY_BY_RULE || verdict_reason == VMLANE_POLICY_ISOLATED ||
         verdict_reason == VMLANE_POLICY_TOO_LARGE;
}

// How far a connection has come.
constexpr std::string_view connection_state_name(const vmlane_connection& entry) {
  if ((entry.flags & VMLANE_CONNECTION_BLOCKED) != 0) return "blocked";
  if ((entry.kind & VMLANE_CONNECTION_FRAGMENTS) != 0) return "fragments";
  if (entry.protocol != VMLANE_POLICY_TCP)
    return (entry.flags & VMLANE_CONNECTION_ANSWERED) != 0 ? "answered" : "new";
  constexpr std::array<std::string_view, 4> kStates = {"new", "open", "half-closed", "closed"};
  return kStates[entry.state % kStates.size()];
}

}  // namespace vmlane::policy
