// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/node_config.h"

namespace vmlane::ebpf {

// The programs of workload.bpf.c and their maps, held for as long as this object lives or a link has them.
struct WorkloadPrograms {
  Fd from;
  Fd to;
  Fd guards;
  Fd answers;
  Fd plains;
  Fd claims;
  std::uint32_t from_id = 0;
  std::uint32_t to_id = 0;
  std::uint32_t guards_id = 0;
  std::uint32_t answers_id = 0;
  std::uint32_t plains_id = 0;
  std::uint32_t claims_id = 0;
};

// Those that this node already has, else freshly loaded ones; they are kept for its next ADD (keep_alive.h).
Result<WorkloadPrograms> workload_programs(const NodeConfig& node);

// Those of each build that this node has.
Result<std::vector<WorkloadPrograms>> all_workload_programs(const std::filesystem::path& run_dir);

}  // namespace vmlane::ebpf
