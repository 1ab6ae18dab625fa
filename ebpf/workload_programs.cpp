// SPDX-License-Identifier: Apache-2.0
#include "ebpf/workload_programs.h"

#include <bpf/libbpf.h>
#include <workload.skel.h>

#include <array>
#include <cerrno>
#include <memory>

#include "ebpf/libbpf_error.h"

namespace vmlane::ebpf {
namespace {

struct DestroyWorkloadSkeleton {
  void operator()(workload_bpf* skeleton) const { workload_bpf::destroy(skeleton); }
};
using WorkloadSkeleton = std::unique_ptr<workload_bpf, DestroyWorkloadSkeleton>;

Result<ProgramPair> load_workload_programs() {
  const WorkloadSkeleton skeleton(workload_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the programs for workloads' links", errno));
  if (const int error = workload_bpf::load(skeleton.get()); error != 0)
    return fail(libbpf_error("cannot load the programs for workloads' links", -error));
  const auto& maps = skeleton->maps;
  // In the order of WorkloadMap.
  const std::array<const bpf_map*, kWorkloadMaps> all{maps.vmlane_guards, maps.vmlane_answers,
                                                      maps.vmlane_plains, maps.vmlane_claims};
  return take_pair(skeleton->progs.vmlane_from_workload, skeleton->progs.vmlane_to_workload, all,
                   "the programs for workloads' links");
}

ProgramKind workload_kind() {
  std::size_t size = 0;
  const auto* bytes = static_cast<const char*>(workload_bpf::elf_bytes(&size));
  return {.name = "workload",
          .from_name = "vmlane_from_wor",
          .maps = kWorkloadMaps,
          .object = {bytes, size},
          .load = load_workload_programs};
}

}  // namespace

Result<WorkloadPrograms> workload_programs(const NodeConfig& node) {
  VMLANE_ASSIGN(ProgramPair pair, find_or_load(node, workload_kind()));
  return WorkloadPrograms{std::move(pair)};
}

Result<std::vector<WorkloadPrograms>> all_workload_programs(const std::filesystem::path& run_dir) {
  VMLANE_ASSIGN(auto pairs, find_all(run_dir, workload_kind()));
  std::vector<WorkloadPrograms> found;
  for (ProgramPair& pair : pairs) found.push_back({std::move(pair)});
  return found;
}

}  // namespace vmlane::ebpf
