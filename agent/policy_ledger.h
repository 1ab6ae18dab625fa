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
// often rules were hit; connections, of the kernel's lanes. Errors are Code::kNotAvailable while the kernel
// has no policy stage.
class PolicyLedger {
 public:
  static constexpr std::size_t kRecentDrops = 1024;

  // Both must outlive this.
  PolicyLedger(const NodeState& state, KernelSink& kernel, const std::filesystem::path& switch_socket);

  // Takes the drops that there are, those of the switch only `with_switch`: it keeps them until somebody
  // asks. Each new one is given to `tell`.
  void collect(bool with_switch, const std::function<void(const Json& drop)>& tell);
  // The last ones, the oldest first: {time, attachment, pod, network, direction, source, destination,
  // protocol, reason, kind, policy, rule}.
  Json recent_drops();

  // Every rule of every policy that is about a pod of the node, and what isolation dropped (rule null):
  // {kind, policy, rule, direction, hits, last}, hits since the agent began, on the switch's ports since that
  // did.
  Result<Json> counters();
  // {attachment, pod, network, direction, source, destination, protocol, state, idle, kind, policy, rule}; of
  // one attachment or of all.
  Result<Json> connections(const std::optional<std::string>& attachment) const;
  // Forgets connections; how many there were.
  Result<std::size_t> flush(const std::optional<std::string>& attachment);

  // The living connections and the recent drops as probes, each once: what a simulation is about.
  Result<Json> probes();

 private:
  // Kind and id of the policy, index of the rule (-1: isolation), whether ingress.
  using RuleKey = std::tuple<std::string, std::string, std::int64_t, bool>;
  struct Count {
    std::uint64_t hits = 0;
    std::chrono::nanoseconds last{};
  };
  using Counts = std::map<RuleKey, Count>;

  Result<ebpf::PolicyTables*> tables() const;
  void add_counts(const std::vector<ebpf::PolicyCount>& counts, Counts& into) const;
  Json drop_row(const ebpf::PolicyDrop& drop) const;
  std::optional<Json> switch_drop_row(const Json& told) const;
  void add_drop(Json row);
  void collect_from_switch(const std::function<void(const Json& drop)>& tell);
  Json connection_row(const ebpf::PolicyConnection& connection) const;
  // attachment, pod, network, direction and the packet.
  Json packet_row(const std::string& attachment, bool ingress, const ebpf::PolicyTuple& packet) const;
  void add_policy(Json& row, const std::optional<std::uint32_t>& policy,
                  const std::optional<std::uint32_t>& rule, std::uint64_t generation) const;

  const NodeState& state_;
  KernelSink& kernel_;
  SwitchPolicy switch_;
  std::deque<Json> drops_;
  Counts counted_;  // under earlier tables
};

}  // namespace vmlane::agent
