// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "cni/lane.h"
#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"
#include "ebpf/policy.h"

// The keys `policyDefault` and `requirePolicy`: whether a link has the policy stage, and its verdict until
// tables know the workload.
namespace vmlane::cni {

struct PolicyConfig {
  std::optional<PolicyDefault> verdict;  // none: the node's
  bool required = false;
};

// Errors name the key.
Result<PolicyConfig> parse_policy(ObjectReader& reader);

// Whether a link gets the stage, and whether it denies until tables know the workload. It is asked for by
// either key, or by an agent having run on the node.
struct PolicyPlan {
  bool deny = true;
  // The hook is in the pod, where a workload that is no VM can go round it.
  bool cooperative = false;
};
// `in_pod`: the link itself is the pod's. Code::kUnsupportedField when policy is required and cannot be held.
Result<std::optional<PolicyPlan>> plan_policy(const Attachment& attachment, const PolicyConfig& config,
                                              bool in_pod);

// As steps of ADD, after the workload has its key; fills the record's handles.
Result<> attach_policy(Attachment& attachment, const PolicyPlan& plan, const ebpf::WorkloadLink& link,
                       std::uint16_t key);

// Code::kChanged when the stage is not as ADD left it; nothing when ADD left none.
Result<> check_policy(const Inspection& inspection, const ebpf::WorkloadLink& link);

// For reclaim, once the link is gone and before the workload's key goes back.
Result<> forget_policy(const Reclaim& reclaim);

}  // namespace vmlane::cni
