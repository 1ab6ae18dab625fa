// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/json.h"
#include "dataplane/policy_gate.h"
#include "policy/store.h"

namespace vmlane::dataplane {

// What policy did in this switch, with names for numbers, for the agent to tell of it as it does of the
// kernel's lanes. Numbers are those of the tables in use, so what was found under tables is added before
// others are used. The control thread's.
class PolicyLog {
 public:
  PolicyLog();

  void use_names(std::vector<policy::PolicyName> names) { names_ = std::move(names); }
  void add(const PolicyGate::Findings& found);

  // {kind, policy, rule (null: isolation), ingress, hits, audited, last (nanoseconds of CLOCK_MONOTONIC)},
  // each since the switch began.
  Json counters() const;
  // What decided about one packet: {reason, kind, policy, rule, audit}.
  Json verdict(const policy::NativeStage::Outcome& outcome) const;
  // {attachment, ingress, protocol, source, destination, source_port, destination_port, state, idle
  // (seconds), kind, policy, rule}
  Json flows(const std::vector<PolicyGate::Flow>& flows) const;
  // The last PolicyGate::kMaxDrops drops whose number is above `after`: {instance, last, drops}. A number is
  // of one instance: of another one, ask from 0.
  Json drops(std::uint64_t after) const;

 private:
  using RuleKey = std::tuple<std::string, std::string, std::int64_t, bool>;
  struct Count {
    std::uint64_t hits = 0;
    std::uint64_t audited = 0;
    std::chrono::nanoseconds last{};
  };
  const policy::PolicyName* name(std::uint32_t policy) const;
  Json drop_json(const PolicyGate::Drop& drop, std::chrono::nanoseconds time) const;

  const std::string instance_;
  std::vector<policy::PolicyName> names_;
  std::map<RuleKey, Count> counts_;
  std::deque<Json> drops_;
  std::uint64_t last_ = 0;  // number of the last drop
};

}  // namespace vmlane::dataplane
