// SPDX-License-Identifier: Apache-2.0
#include "cni/policy.h"

#include <filesystem>
#include <string>
#include <utility>

namespace vmlane::cni {
namespace {

// In the record's handles: {"mode", "default", "programs"}.
constexpr const char* kPolicy = "policy";
constexpr const char* kPolicyPrograms = "programs";
constexpr const char* kCooperative = "cooperative";
constexpr const char* kEnforced = "enforced";
constexpr const char* kDeny = "deny";
constexpr const char* kAllow = "allow";

std::optional<ebpf::PolicyHandle> policy_handle_in(const AttachmentRecord& record) {
  if (!record.handles.contains(kPolicy)) return std::nullopt;
  return ebpf::PolicyHandle::from_json(record.handles[kPolicy].value(kPolicyPrograms, Json()));
}

// On a macvtap's own device the node's packets come from the lower device like all others.
ebpf::PolicySpec spec_for(const AttachmentRecord& record, const ebpf::WorkloadLink& link, bool deny) {
  return {.attachment_id = record.key.id(),
          .deny = deny,
          .no_node = link.from_workload == netlink::Direction::kEgress};
}

bool has_agent(const NodeConfig& config) {
  std::error_code error;
  return std::filesystem::exists(config.agent_marker(), error);
}

}  // namespace

Result<PolicyConfig> parse_policy(ObjectReader& reader) {
  PolicyConfig config;
  VMLANE_ASSIGN(const auto word, reader.string("policyDefault"));
  if (word) {
    config.verdict = parse_policy_default(*word);
    if (!config.verdict) return reader.wrong("policyDefault", "auto, deny or allow");
  }
  VMLANE_ASSIGN(const auto required, reader.boolean("requirePolicy"));
  config.required = required.value_or(false);
  return config;
}

Result<std::optional<PolicyPlan>> plan_policy(const Attachment& attachment, const PolicyConfig& config,
                                              bool in_pod) {
  const AttachmentRecord& record = attachment.record;
  const NodeConfig& node = attachment.node.config;
  const PolicyDefault verdict = config.verdict.value_or(node.policy_default);
  const bool agent = has_agent(node);
  if (verdict == PolicyDefault::kAuto && !agent && !config.required) return std::optional<PolicyPlan>();
  const PolicyPlan plan{.deny = verdict == PolicyDefault::kAuto ? agent : verdict == PolicyDefault::kDeny,
                        .cooperative = in_pod && record.pod.vm.empty()};
  if (!plan.cooperative) return std::optional(plan);
  if (config.required) {
    return fail(Code::kUnsupportedField,
                "key \"requirePolicy\" is true, and a macvtap cannot hold a container to policy",
                "its link is in the pod, where a process with CAP_NET_RAW goes round the programs on it; "
                "only a VM cannot. Attach it by vmlane-veth");
  }
  attachment.node.log.warning("policy of this NIC is cooperative: the pod runs no VM, and can go round it",
                              {{"ifname", record.key.ifname}});
  return std::optional(plan);
}

Result<> attach_policy(Attachment& attachment, const PolicyPlan& plan, const ebpf::WorkloadLink& link,
                       std::uint16_t key) {
  AttachmentRecord& record = attachment.record;
  return attachment.transaction.step("put policy on the workload's link", [&]() -> Result<> {
    VMLANE_ASSIGN(const ebpf::PolicyHandle handle,
                  attachment.node.kernel.attach_policy(attachment.node.config, link, key,
                                                       spec_for(record, link, plan.deny)));
    record.handles[kPolicy] = {{"mode", plan.cooperative ? kCooperative : kEnforced},
                               {"default", plan.deny ? kDeny : kAllow},
                               {kPolicyPrograms, handle.to_json()}};
    return {};
  });
}

Result<> check_policy(const Inspection& inspection, const ebpf::WorkloadLink& link) {
  const AttachmentRecord& record = inspection.record;
  if (!record.handles.contains(kPolicy)) return {};
  const auto handle = policy_handle_in(record);
  if (!handle) return fail(Code::kDecode, "the record's handles.policy names no programs");
  const bool deny = record.handles[kPolicy].value("default", "") == kDeny;
  return inspection.node.kernel.check_policy(inspection.node.config.run_dir, link, *handle,
                                             spec_for(record, link, deny));
}

Result<> forget_policy(const Reclaim& reclaim) {
  std::optional<ebpf::PolicyHandle> handle;
  if (reclaim.record != nullptr) {
    handle = policy_handle_in(*reclaim.record);
    // The record of an ADD that came to its end tells that there is none; an intent cannot.
    if (!handle && !reclaim.record->result.is_null()) return {};
  }
  return reclaim.step("forget the workload's policy", [&] {
    return reclaim.node.kernel.forget_policy(reclaim.node.config.run_dir, reclaim.key.id(), handle);
  });
}

}  // namespace vmlane::cni
