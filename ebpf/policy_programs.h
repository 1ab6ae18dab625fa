// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/node_config.h"
#include "ebpf/program_pair.h"

namespace vmlane::ebpf {

// The maps of policy.bpf.c. Builds find each other's by this order.
enum class PolicyMap : std::uint8_t { kSubjects, kOwners, kState, kTables, kConnections, kCounters, kEvents };
inline constexpr std::size_t kPolicyMaps = 7;

// As `tc filter show` tells the programs.
inline constexpr const char* kPolicyFromFilter = "vmlane_policy_from";
inline constexpr const char* kPolicyToFilter = "vmlane_policy_to";

// The programs of policy.bpf.c and their maps.
struct PolicyPrograms : ProgramPair {
  int map(PolicyMap which) const { return maps[static_cast<std::size_t>(which)].get(); }
  std::uint32_t map_id(PolicyMap which) const { return map_ids[static_cast<std::size_t>(which)]; }
};

// Those of this build that somebody on this node already has, a link or an agent, else freshly loaded ones,
// which an idle node keeps (keep_alive.h).
Result<PolicyPrograms> policy_programs(const NodeConfig& node);

// Those of each build that somebody on this node has.
Result<std::vector<PolicyPrograms>> all_policy_programs(const std::filesystem::path& run_dir);

}  // namespace vmlane::ebpf
