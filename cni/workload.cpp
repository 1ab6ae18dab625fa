// SPDX-License-Identifier: Apache-2.0
#include "cni/workload.h"

#include <memory>
#include <string>
#include <utility>

#include "answers/build.h"
#include "answers/record.h"

namespace vmlane::cni {
namespace {

// Handles of a record.
constexpr const char* kPrograms = "workload";   // what the kernel has
constexpr const char* kGuard = "source_guard";  // what it was told, for CHECK
constexpr const char* kAnswers = "answers_digest";

std::optional<ebpf::WorkloadHandle> workload_handle_in(const AttachmentRecord& record) {
  if (!record.handles.contains(kPrograms)) return std::nullopt;
  return ebpf::WorkloadHandle::from_json(record.handles[kPrograms]);
}

Result<std::unique_ptr<vmlane_answers>> make_answers(const Attachment& attachment,
                                                     const GuestAnswersConfig& config,
                                                     const std::optional<MacAddress>& gateway_mac,
                                                     const CniResult& result) {
  const AttachmentRecord& record = attachment.record;
  AttachmentFacts known{.network = record.key.network,
                        .gateway_mac = gateway_mac,
                        .mtu = record.mtu.value_or(0),
                        .requested_dns = attachment.nic.dns};
  VMLANE_ASSIGN(known.guest, MacAddress::parse(record.mac.value_or("")));
  VMLANE_ASSIGN(const auto plan, make_answer_plan(config, known, result));
  if (!plan) return std::unique_ptr<vmlane_answers>();
  return answers::build_answers(*plan);
}

}  // namespace

Result<WorkloadConfig> parse_workload_config(ObjectReader& reader, bool for_guests, bool has_ipam) {
  WorkloadConfig config;
  VMLANE_ASSIGN(config.guard, parse_source_guard(reader, for_guests, has_ipam));
  VMLANE_ASSIGN(config.policy, parse_policy(reader));
  if (!for_guests) return config;
  VMLANE_ASSIGN(config.answers, parse_guest_answers(reader, has_ipam));
  return config;
}

Result<> attach_workload(Attachment& attachment, const WorkloadConfig& config, const WorkloadFacts& facts,
                         const CniResult& result) {
  AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(record.mac.value_or("")));
  ebpf::WorkloadSpec spec{.attachment_id = record.key.id()};
  spec.guard = source_guard(config.guard, mac, result.ips);
  if (spec.guard) {
    spec.guard->network = record.network_id.value_or(0);
    spec.guard->tags = facts.tags;
    spec.guard->any_destination = facts.any_destination;
    if (facts.gateway_mac) spec.guard->gateway_link_local = facts.gateway_mac->link_local();
  }
  VMLANE_ASSIGN(const auto answers, make_answers(attachment, config.answers, facts.gateway_mac, result));
  spec.answers = answers.get();
  VMLANE_ASSIGN(const auto policy, plan_policy(attachment, config.policy, facts.in_pod));
  if (!spec.guard && !spec.answers && !policy) return {};
  ebpf::WorkloadHandle handle;
  VMLANE_TRY(attachment.transaction.step("put the programs on the workload's link", [&]() -> Result<> {
    const Node& node = attachment.node;
    VMLANE_ASSIGN(handle, node.kernel.attach_workload(node.config, facts.link, spec));
    record.handles[kPrograms] = handle.to_json();
    if (spec.guard) record.handles[kGuard] = ebpf::source_guard_to_json(*spec.guard);
    if (spec.answers != nullptr) record.handles[kAnswers] = ebpf::digest_of(*spec.answers);
    return {};
  }));
  return policy ? attach_policy(attachment, *policy, facts.link, handle.key) : Result<>();
}

Result<> record_workload(Attachment& attachment, const WorkloadConfig& config,
                         const std::optional<MacAddress>& gateway_mac, const CniResult& result) {
  AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(record.mac.value_or("")));
  auto guard = source_guard(config.guard, mac, result.ips);
  if (guard) {
    guard->network = record.network_id.value_or(0);
    guard->learning = ebpf::Learning::kNone;  // only the kernel's programs learn
    if (gateway_mac) guard->gateway_link_local = gateway_mac->link_local();
  }
  if (guard) record.handles[kGuard] = ebpf::source_guard_to_json(*guard);
  VMLANE_ASSIGN(const auto templates, make_answers(attachment, config.answers, gateway_mac, result));
  if (templates) record.handles["answers"] = answers::answers_to_json(*templates);
  return {};
}

Result<> check_workload(const Inspection& inspection, const ebpf::WorkloadLink& link) {
  const AttachmentRecord& record = inspection.record;
  if (!record.handles.contains(kPrograms)) return {};
  const auto handle = workload_handle_in(record);
  if (!handle) return fail(Code::kDecode, "the record's handles.workload names no programs");
  std::optional<ebpf::SourceGuard> guard;
  if (record.handles.contains(kGuard)) {
    VMLANE_ASSIGN(guard, ebpf::source_guard_from_json(record.handles[kGuard]));
  }
  VMLANE_TRY(inspection.node.kernel.check_workload(link, *handle, record.key.id(), guard,
                                                   record.handles.value(kAnswers, "")));
  return check_policy(inspection, link);
}

Result<> forget_workload(const Reclaim& reclaim) {
  VMLANE_TRY(forget_policy(reclaim));
  std::optional<ebpf::WorkloadHandle> handle;
  if (reclaim.record != nullptr) {
    handle = workload_handle_in(*reclaim.record);
    // The record of an ADD that came to its end tells that there is none; an intent cannot.
    if (!handle && !reclaim.record->result.is_null()) return {};
  }
  return reclaim.step("forget the workload", [&] {
    return reclaim.node.kernel.forget_workload(reclaim.node.config.run_dir, reclaim.key.id(), handle);
  });
}

}  // namespace vmlane::cni
