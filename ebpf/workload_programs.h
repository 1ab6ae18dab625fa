// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/node_config.h"
#include "ebpf/program_pair.h"

namespace vmlane::ebpf {

// The maps of workload.bpf.c.
enum class WorkloadMap : std::uint8_t { kGuards, kAnswers, kPlains, kClaims };
inline constexpr std::size_t kWorkloadMaps = 4;

// The programs of workload.bpf.c and their maps.
struct WorkloadPrograms : ProgramPair {
  const Fd& map(WorkloadMap which) const { return maps[static_cast<std::size_t>(which)]; }
  std::uint32_t map_id(WorkloadMap which) const { return map_ids[static_cast<std::size_t>(which)]; }
};

// Those that this node already has, else freshly loaded ones, which an idle node keeps (keep_alive.h).
Result<WorkloadPrograms> workload_programs(const NodeConfig& node);

// Those of each build that links of this node have.
Result<std::vector<WorkloadPrograms>> all_workload_programs(const std::filesystem::path& run_dir);

}  // namespace vmlane::ebpf
