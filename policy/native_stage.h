// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "policy/connection.h"
#include "policy/packet.h"
#include "policy/subject.h"
#include "policy/verdict.h"

namespace vmlane::policy {

// The policy stage (stage.h) outside of the kernel: over a block of tables and connections in this process's
// memory. For one thread.
class NativeStage {
 public:
  struct Outcome {
    std::uint32_t reason = VMLANE_STAGE_PASS;   // VMLANE_STAGE_*
    vmlane_policy_answer answer{};              // when tables or a known connection decided
    bool loose = false;                         // see vmlane_stage
    std::uint32_t audited = VMLANE_STAGE_PASS;  // what it would be dropped for but for audit
    vmlane_policy_answer would{};               // when that is VMLANE_STAGE_BY_POLICY
    bool passes() const { return reason == VMLANE_STAGE_PASS; }
  };

  // How often a rule decided about a connection, or that the endpoint is isolated (VMLANE_POLICY_NO_RULE).
  struct Count {
    std::uint32_t policy = 0;  // number in the tables
    std::uint32_t rule = 0;
    std::uint8_t direction = 0;
    std::uint64_t hits = 0;
    std::uint64_t audited = 0;  // that passed, but that it would have denied were it not in audit
    std::uint32_t last = 0;     // tick
  };
  using Counts = std::unordered_map<std::uint64_t, Count>;

  // Addresses of an endpoint's node, while no tables say them.
  struct MetNode {
    std::uint32_t incarnation = 0;
    std::uint32_t v6 = 0;
    std::array<std::uint32_t, 4> address{};
    bool operator==(const MetNode&) const = default;
  };
  struct MetNodes {
    std::array<MetNode, 64> all{};
    std::size_t next = 0;
  };

  // Room for `connections`, a power of two from 8 on. Whoever knows `seed` can aim at one set.
  NativeStage(std::size_t connections, std::uint32_t seed);

  // The block stays the caller's. Connections that were judged by another generation are judged again.
  void use_tables(const vmlane_policy_tables& tables, std::uint32_t generation);

  // What is made of a frame (from its Ethernet header on) that `workload` sends (VMLANE_POLICY_EGRESS) or
  // gets, at `now` in ticks. Its number in the tables is endpoint[0]. `from_node`: the node itself made it.
  Outcome decide(std::span<const std::uint8_t> frame, vmlane_policy_workload& workload,
                 std::uint8_t direction, std::uint32_t now, bool from_node = false);

  std::span<const vmlane_connection_set> connections() const { return sets_; }
  // What was counted since the last call.
  std::vector<Count> take_counts();
  // What policy knows of a frame.
  static vmlane_packet read(std::span<const std::uint8_t> frame);

 private:
  std::vector<vmlane_connection_set> sets_;
  Counts counts_;
  MetNodes met_;
  vmlane_policy_tables tables_{};
  std::uint32_t generation_ = 0;
  std::uint32_t seed_ = 0;
};

}  // namespace vmlane::policy
