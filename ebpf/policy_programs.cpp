// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_programs.h"

#include <bpf/libbpf.h>
#include <policy.skel.h>

#include <array>
#include <cerrno>
#include <memory>

#include "ebpf/libbpf_error.h"

namespace vmlane::ebpf {
namespace {

struct DestroyPolicySkeleton {
  void operator()(policy_bpf* skeleton) const { policy_bpf::destroy(skeleton); }
};
using PolicySkeleton = std::unique_ptr<policy_bpf, DestroyPolicySkeleton>;

Result<ProgramPair> load_policy_programs() {
  const PolicySkeleton skeleton(policy_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the policy programs", errno));
  if (const int error = policy_bpf::load(skeleton.get()); error != 0)
    return fail(libbpf_error("cannot load the policy programs", -error));
  const auto& maps = skeleton->maps;
  // In the order of PolicyMap.
  const std::array<const bpf_map*, kPolicyMaps> all{
      maps.vmlane_subjects,    maps.vmlane_owners,   maps.vmlane_state, maps.vmlane_tables,
      maps.vmlane_connections, maps.vmlane_counters, maps.vmlane_events};
  return take_pair(skeleton->progs.vmlane_judge_from, skeleton->progs.vmlane_judge_to, all,
                   "the policy programs");
}

ProgramKind policy_kind() {
  std::size_t size = 0;
  const auto* bytes = static_cast<const char*>(policy_bpf::elf_bytes(&size));
  return {.name = "policy",
          .from_name = "vmlane_judge_fr",
          .maps = kPolicyMaps,
          .object = {bytes, size},
          .load = load_policy_programs};
}

}  // namespace

Result<PolicyPrograms> policy_programs(const NodeConfig& node) {
  VMLANE_ASSIGN(ProgramPair pair, find_or_load(node, policy_kind()));
  return PolicyPrograms{std::move(pair)};
}

Result<std::vector<PolicyPrograms>> all_policy_programs(const std::filesystem::path& run_dir) {
  VMLANE_ASSIGN(auto pairs, find_all(run_dir, policy_kind()));
  std::vector<PolicyPrograms> found;
  for (ProgramPair& pair : pairs) found.push_back({std::move(pair)});
  return found;
}

}  // namespace vmlane::ebpf
