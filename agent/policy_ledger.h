// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "agent/kernel_sink.h"
#include "agent/node_state.h"
#include "agent/switch_policy.h"

namespace vmlane::agent {

// What the policy stages of the kernel's lanes and of the switch found, with names for numbers: drops, how
// often rules were hit, connections. Errors are Code::kNotAvailable while the kernel
// has no policy stage.
//
// Counters of the kernel's lanes outlive the agent: those of the tables in force are the kernel's, whose
// numbers the file of tables names (policy/tables_file.h), and those of earlier tables are in
// `<runDir>/policy/counters.json`. They begin with the node's boot. The switch counts its ports' itself,
// since it began.
class PolicyLedger {
 public:
  static constexpr std::size_t kRecentDrops = 1024;

  // All must outlive this. Made before the first publication, it takes up what an agent before this one
  // counted.
  PolicyLedger(const NodeConfig& config, const Log& log, const NodeState& state, KernelSink& kernel);

  // Takes the drops that there are, those of the switch only `with_switch`: it keeps them until somebody
  // asks. Each new one is given to `tell`.
  void collect(bool with_switch, const std::function<void(const Json& drop)>& tell);
  // The last ones, the oldest first: {time, attachment, pod, network, direction, source, destination,
  // protocol, audit, reason, kind, policy, rule}; with `audit` the packet passed, and the rest tells what
  // would deny its connection.
  Json recent_drops();

  // Every rule of every policy that is about a pod of the node, and what isolation dropped (rule null):
  // {kind, policy, rule, direction, hits, audited, last}, connections since the node's boot, on the switch's
  // ports since that began: those that it decided, and those that it would have denied were it not in audit.
  Result<Json> counters();
  // {attachment, pod, network, direction, source, destination, protocol, state, idle, kind, policy, rule}; of
  // one attachment or of all.
  Result<Json> connections(const std::optional<std::string>& attachment);
  // Forgets connections; how many there were.
  Result<std::size_t> flush(const std::optional<std::string>& attachment);

  // The living connections and the recent drops as probes, each once: what a simulation is about.
  Result<Json> probes();

 private:
  // Kind and id of the policy, index of the rule (-1: isolation), whether ingress.
  using RuleKey = std::tuple<std::string, std::string, std::int64_t, bool>;
  struct Count {
    std::uint64_t hits = 0;
    std::uint64_t audited = 0;
    std::chrono::nanoseconds last{};

    void add(const Count& more);
  };
  using Counts = std::map<RuleKey, Count>;

  Result<ebpf::PolicyTables*> tables() const;
  using NameOf = std::function<const policy::PolicyName*(std::uint32_t number)>;
  static void add_counts(const std::vector<ebpf::PolicyCount>& counts, const NameOf& name_of, Counts& into);
  void add_counts(const std::vector<ebpf::PolicyCount>& counts, Counts& into) const;
  void forget_removed(Counts& counts) const;
  // What an agent before this one kept, and what the kernel counted since.
  Result<> take_up();
  Result<> keep(const Counts& counts, std::uint64_t generation) const;
  Json drop_row(const ebpf::PolicyDrop& drop) const;
  std::optional<Json> switch_drop_row(const Json& told) const;
  void add_drop(Json row);
  void collect_from_switch(const std::function<void(const Json& drop)>& tell);
  Json connection_row(const ebpf::PolicyConnection& connection) const;
  // attachment, pod, network, direction and the packet.
  Json packet_row(const std::string& attachment, bool ingress, const ebpf::PolicyTuple& packet) const;
  void add_policy(Json& row, const std::optional<std::uint32_t>& policy,
                  const std::optional<std::uint32_t>& rule, std::uint64_t generation) const;

  const NodeConfig& config_;
  const Log& log_;
  const NodeState& state_;
  KernelSink& kernel_;
  SwitchPolicy switch_;
  std::deque<Json> drops_;
  Counts counted_;  // under earlier tables
  Counts taken_;    // with those that are about to go
};

}  // namespace vmlane::agent
