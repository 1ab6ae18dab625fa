// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "core/error.h"
#include "ebpf/policy_programs.h"
#include "ebpf/policy_tables.h"

// From the stage of one build to that of another, newer or older, while traffic goes on (contracts 3.7). A
// workload's links keep the programs of the build that attached them, with the last state that was published
// for it. The publisher of another build takes over in three steps, each of which it may be killed in:
//
//   1. connections: both builds work on one map where they have the same layout of it;
//   2. entries: what a workload is goes to this build's maps, which then get tables;
//   3. links: one workload after another gets this build's programs, and its old entries go last.
//
// What connections another layout has nobody can read: for some seconds a workload's packets in the middle of
// unknown connections are judged as either end's (policy/stage.h). Internal to this room.
namespace vmlane::ebpf {

// Those of other builds that somebody on this node has.
Result<std::vector<PolicyPrograms>> other_policy_builds(const std::filesystem::path& run_dir,
                                                        const PolicyPrograms& own);

// The highest generation that any of the builds has in force.
std::uint64_t highest_generation(std::span<const PolicyPrograms> builds);

// Step 1, where `own` has no connections yet.
Result<> share_connections(const std::vector<PolicyPrograms>& others, const PolicyPrograms& own);

// Step 2, for the workloads that `endpoints` has.
Result<> adopt_workloads(const std::filesystem::path& run_dir, const PolicyPrograms& own,
                         const PolicyEndpoints& endpoints);

// Step 3, for workloads that were adopted. Goes on after an error and returns the first one.
Result<> move_policy_links(const std::filesystem::path& run_dir, const PolicyPrograms& own,
                           const PolicyNamespaces& namespaces);

}  // namespace vmlane::ebpf
