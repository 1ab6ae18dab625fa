// SPDX-License-Identifier: Apache-2.0
#include "policy/native_stage.h"

#include <algorithm>
#include <bit>

#include "policy/packet.h"

namespace {

struct Context {
  const vmlane_policy_tables& tables;
  std::span<vmlane_connection_set> sets;
  vmlane_packet_view frame;
  vmlane::policy::NativeStage::Counts& counts;
  vmlane::policy::NativeStage::MetNodes& met;
  std::uint32_t incarnation = 0;
  std::uint32_t now = 0;
};

vmlane::policy::NativeStage::MetNode met_node(const Context& context, std::uint32_t v6,
                                              const std::uint32_t* address) {
  return {context.incarnation, v6, {address[0], address[1], address[2], address[3]}};
}

}  // namespace

#define VMLANE_STAGE_CONTEXT const Context*
#include "policy/stage.h"

// What stage.h leaves to its user.
// NOLINTBEGIN(readability-identifier-naming)

vmlane_connection_set* vmlane_stage_set(const Context* context, std::uint32_t index) {
  return index < context->sets.size() ? &context->sets[index] : nullptr;
}

std::uint32_t vmlane_stage_tables(const Context* context, std::uint32_t /*slot*/,
                                  vmlane_policy_tables* tables) {
  *tables = context->tables;
  return tables->base != nullptr ? 1 : 0;
}

void vmlane_stage_count(const Context* context, const vmlane_stage_question* question) {
  const auto counted = [&](const vmlane_policy_answer& answer) -> vmlane::policy::NativeStage::Count* {
    if (answer.reason != VMLANE_POLICY_BY_RULE && answer.reason != VMLANE_POLICY_ISOLATED) return nullptr;
    constexpr unsigned kHalf = 32;
    const std::uint64_t key = std::uint64_t{answer.policy} << kHalf | std::uint32_t{answer.rule << 1} |
                              (question->direction & std::uint32_t{1});
    auto& count = context->counts[key];
    count.policy = answer.policy;
    count.rule = answer.rule;
    count.direction = question->direction;
    count.last = context->now;
    return &count;
  };
  if (auto* count = counted(question->answer)) count->hits++;
  if (question->audited == 0) return;
  if (auto* count = counted(question->would)) count->audited++;
}

void vmlane_stage_quoted(const Context* context, std::uint32_t offset, vmlane_packet* quoted) {
  vmlane_packet_read_quoted(&context->frame, offset, quoted);
}

void vmlane_stage_meet_node(const Context* context, std::uint32_t v6, const std::uint32_t* address) {
  if (vmlane_stage_has_met(context, v6, address) != 0) return;
  auto& met = context->met;
  met.all[met.next++ % met.all.size()] = met_node(*context, v6, address);
}

std::uint32_t vmlane_stage_has_met(const Context* context, std::uint32_t v6, const std::uint32_t* address) {
  const auto& all = context->met.all;
  return std::ranges::find(all, met_node(*context, v6, address)) == all.end() ? 0 : 1;
}

// NOLINTEND(readability-identifier-naming)

namespace vmlane::policy {

NativeStage::NativeStage(std::size_t connections, std::uint32_t seed)
    : sets_(std::bit_ceil(connections) / VMLANE_CONNECTION_WAYS), seed_(seed) {}

void NativeStage::use_tables(const vmlane_policy_tables& tables, std::uint32_t generation) {
  tables_ = tables;
  generation_ = generation;
}

NativeStage::Outcome NativeStage::decide(std::span<const std::uint8_t> frame,
                                         vmlane_policy_workload& workload, std::uint8_t direction,
                                         std::uint32_t now, bool from_node) {
  const Context context{
      tables_, sets_, {frame.data(), frame.data() + frame.size()}, counts_, met_, workload.incarnation, now};
  constexpr int kUpper = 32;
  vmlane_stage stage{};
  stage.incarnation = workload.incarnation;
  stage.flags = workload.flags;
  stage.loose_until = workload.loose_until;
  stage.dhcp_until = workload.dhcp_until;
  if (tables_.base != nullptr && workload.endpoint[0] >> kUpper == workload.incarnation)
    stage.endpoint = static_cast<std::uint32_t>(workload.endpoint[0]);
  stage.generation = generation_;
  stage.seed = seed_;
  stage.set_mask = static_cast<std::uint32_t>(sets_.size() - 1);
  stage.now = now;
  stage.direction = direction;
  stage.from_node = from_node && direction == VMLANE_POLICY_INGRESS ? 1 : 0;
  vmlane_packet_read(&context.frame, &stage.packet);
  const std::uint32_t reason = vmlane_stage_decide(&context, &stage, direction);
  workload.dhcp_until = stage.dhcp_until;
  return {reason, stage.answer, stage.loose != 0, stage.audited, stage.would};
}

std::vector<NativeStage::Count> NativeStage::take_counts() {
  std::vector<Count> taken;
  taken.reserve(counts_.size());
  for (const auto& [key, count] : counts_) taken.push_back(count);
  counts_.clear();
  return taken;
}

vmlane_packet NativeStage::read(std::span<const std::uint8_t> frame) {
  const vmlane_packet_view view{frame.data(), frame.data() + frame.size()};
  vmlane_packet packet{};
  vmlane_packet_read(&view, &packet);
  return packet;
}

}  // namespace vmlane::policy
