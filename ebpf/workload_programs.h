// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::ebpf {

// The programs of workload.bpf.c and their maps, held for as long as this object lives or a link has them.
struct WorkloadPrograms {
  Fd from;
  Fd to;
  Fd guards;
  Fd answers;
  Fd plains;
  std::uint32_t from_id = 0;
  std::uint32_t to_id = 0;
  std::uint32_t guards_id = 0;
  std::uint32_t answers_id = 0;
  std::uint32_t plains_id = 0;
};

// Those that links of this node already have, else freshly loaded ones.
Result<WorkloadPrograms> workload_programs(const std::filesystem::path& run_dir);

// Those of each build that links of this node have.
Result<std::vector<WorkloadPrograms>> all_workload_programs(const std::filesystem::path& run_dir);

}  // namespace vmlane::ebpf
