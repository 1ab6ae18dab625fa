// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"
#include "ebpf/workload.h"

// The policy stage of a workload's link: programs behind those of workload.h, at the same hooks, which judge
// what the guard and the answers leave (policy/stage.h). They are there only where a key asks for them. By
// themselves they have the default verdict; what policies say comes by policy_tables.h.
//
// Loaded once for a node and build like the guard's, found by `<runDir>/programs/`, and kept by the links; on
// an idle node by a pin (keep_alive.h).
namespace vmlane::ebpf {

struct PolicySpec {
  std::string attachment_id;
  bool deny = true;      // the verdict while no tables know the workload
  bool no_node = false;  // on this link the node's own packets cannot be told from others with its address
};

// By what the stage of a link is found again. Ids of the kernel, valid for this boot.
struct PolicyHandle {
  std::uint16_t key = 0;
  std::uint32_t subjects_map = 0;
  std::uint32_t owners_map = 0;
  std::uint32_t from_program = 0;
  std::uint32_t to_program = 0;

  Json to_json() const;
  // No value when it is none of ours.
  static std::optional<PolicyHandle> from_json(const Json& json);
};

// Puts the stage on a link that attach_workload() has given `key`, while the link is down. Either all is
// there or nothing.
Result<PolicyHandle> attach_policy(const NodeConfig& node, const WorkloadLink& link, std::uint16_t key,
                                   const PolicySpec& spec);

// Code::kChanged naming the link when the stage is not what attach_policy left, or what the publisher of
// another build has put there since (PolicyTables::move_links).
Result<> check_policy(const std::filesystem::path& run_dir, const WorkloadLink& link,
                      const PolicyHandle& handle, const PolicySpec& spec);

// Takes the workload's entries out, by the handle and wherever else builds have them; before its key goes
// back. Without them every frame is dropped. Gone already is success.
Result<> forget_policy(const std::filesystem::path& run_dir, const std::string& attachment_id,
                       const std::optional<PolicyHandle>& handle);

// Attachment ids of the workloads that have the stage on this node, sorted.
Result<std::vector<std::string>> policed_workloads(const std::filesystem::path& run_dir);

}  // namespace vmlane::ebpf
