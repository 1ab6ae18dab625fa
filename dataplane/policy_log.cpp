// SPDX-License-Identifier: Apache-2.0
#include "dataplane/policy_log.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <random>

#include "dataplane/dpdk.h"
#include "policy/objects.h"
#include "policy/reason_names.h"

namespace vmlane::dataplane {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t kIsolation = -1;

nanoseconds monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::chrono::seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

// From clock_ns() to CLOCK_MONOTONIC.
nanoseconds monotonic(std::uint64_t time) {
  const std::uint64_t now = clock_ns();
  return monotonic_now() - nanoseconds(now - std::min(time, now));
}

std::string address_text(const std::uint32_t* words, bool v6) {
  constexpr unsigned kByteBits = 8;
  constexpr unsigned kTopByte = 24;
  constexpr std::size_t kWordBytes = 4;
  IpAddress address{.v6 = v6};
  for (std::size_t i = 0; i < address.bits() / kByteBits; i++)
    address.bytes[i] =
        static_cast<std::uint8_t>(words[i / kWordBytes] >> (kTopByte - kByteBits * (i % kWordBytes)));
  return address.to_string();
}

}  // namespace

PolicyLog::PolicyLog()
    : instance_(std::to_string(std::random_device()()) + "-" + std::to_string(clock_ns())) {}

const policy::PolicyName* PolicyLog::name(std::uint32_t policy) const {
  return policy < names_.size() && !names_[policy].id.empty() ? &names_[policy] : nullptr;
}

void PolicyLog::add(const PolicyGate::Findings& found) {
  for (const auto& count : found.counts) {
    const policy::PolicyName* named = name(count.policy);
    if (named == nullptr) continue;
    const std::int64_t rule = count.rule == VMLANE_POLICY_NO_RULE ? kIsolation : std::int64_t{count.rule};
    Count& sum = counts_[{named->kind, named->id, rule, count.direction == VMLANE_POLICY_INGRESS}];
    sum.hits += count.hits;
    sum.audited += count.audited;
    sum.last = std::max(sum.last, monotonic(std::uint64_t{count.last} << VMLANE_CONNECTION_TICK_BITS));
  }
  for (const PolicyGate::Drop& drop : found.drops) {
    last_++;
    drops_.push_back(drop_json(drop, monotonic(drop.time)));
    if (drops_.size() > PolicyGate::kMaxDrops) drops_.pop_front();
  }
}

Json PolicyLog::drop_json(const PolicyGate::Drop& drop, nanoseconds time) const {
  const bool by_policy = drop.reason == VMLANE_STAGE_BY_POLICY && policy::names_a_policy(drop.answer.reason);
  const policy::PolicyName* named = by_policy ? name(drop.answer.policy) : nullptr;
  const bool v6 = drop.packet.v6 != 0;
  return {{"time", time.count()},
          {"attachment", std::string(drop.attachment.data(), drop.attachment.size())},
          {"ingress", drop.direction == VMLANE_POLICY_INGRESS},
          {"source", address_text(drop.packet.source, v6)},
          {"destination", address_text(drop.packet.destination, v6)},
          {"source_port", drop.packet.source_port},
          {"destination_port", drop.packet.destination_port},
          {"protocol", drop.packet.protocol},
          {"audit", drop.audit},
          {"reason", policy::drop_reason_name(drop.reason, drop.answer.reason)},
          {"kind", named == nullptr ? Json() : Json(named->kind)},
          {"policy", named == nullptr ? Json() : Json(named->id)},
          {"rule", by_policy && drop.answer.rule != VMLANE_POLICY_NO_RULE ? Json(drop.answer.rule) : Json()}};
}

Json PolicyLog::verdict(const policy::NativeStage::Outcome& outcome) const {
  const bool audited = outcome.passes() && outcome.audited != VMLANE_STAGE_PASS;
  const std::uint32_t reason = audited ? outcome.audited : outcome.reason;
  const vmlane_policy_answer& answer = audited ? outcome.would : outcome.answer;
  const bool by_policy = reason == VMLANE_STAGE_PASS || reason == VMLANE_STAGE_BY_POLICY;
  const policy::PolicyName* named =
      by_policy && policy::names_a_policy(answer.reason) ? name(answer.policy) : nullptr;
  return {{"reason", policy::drop_reason_name(by_policy ? std::uint32_t{VMLANE_STAGE_BY_POLICY} : reason,
                                              answer.reason)},
          {"audit", audited},
          {"kind", named == nullptr ? Json() : Json(named->kind)},
          {"policy", named == nullptr ? Json() : Json(named->id)},
          {"rule", named != nullptr && answer.rule != VMLANE_POLICY_NO_RULE ? Json(answer.rule) : Json()}};
}

Json PolicyLog::counters() const {
  Json rows = Json::array();
  for (const auto& [key, count] : counts_) {
    const auto& [kind, id, rule, ingress] = key;
    rows.push_back({{"kind", kind},
                    {"policy", id},
                    {"rule", rule == kIsolation ? Json() : Json(rule)},
                    {"ingress", ingress},
                    {"hits", count.hits},
                    {"audited", count.audited},
                    {"last", count.last.count()}});
  }
  return rows;
}

Json PolicyLog::flows(const std::vector<PolicyGate::Flow>& flows) const {
  constexpr double kTick = static_cast<double>(std::uint64_t{1} << VMLANE_CONNECTION_TICK_BITS) / 1e9;
  Json rows = Json::array();
  for (const PolicyGate::Flow& flow : flows) {
    const vmlane_connection& entry = flow.entry;
    const bool v6 = (entry.kind & VMLANE_CONNECTION_V6) != 0;
    const bool ingress = (entry.flags & VMLANE_CONNECTION_INGRESS) != 0;
    const std::string local = address_text(entry.local, v6);
    const std::string remote = address_text(entry.remote, v6);
    const bool by_rule = entry.rule != VMLANE_CONNECTION_NO_RULE;
    const policy::PolicyName* named = by_rule ? name(entry.policy) : nullptr;
    rows.push_back({{"attachment", std::string(flow.attachment.data(), flow.attachment.size())},
                    {"ingress", ingress},
                    {"protocol", policy::protocol_name(entry.protocol)},
                    {"protocol_number", entry.protocol},
                    {"source", ingress ? remote : local},
                    {"destination", ingress ? local : remote},
                    {"source_port", ingress ? entry.remote_port : entry.local_port},
                    {"destination_port", ingress ? entry.local_port : entry.remote_port},
                    {"state", policy::connection_state_name(entry)},
                    {"idle", static_cast<std::uint64_t>(flow.idle * kTick)},
                    {"kind", named == nullptr ? Json() : Json(named->kind)},
                    {"policy", named == nullptr ? Json() : Json(named->id)},
                    {"rule", by_rule ? Json(entry.rule) : Json()}});
  }
  return rows;
}

Json PolicyLog::drops(std::uint64_t after) const {
  Json rows = Json::array();
  const std::uint64_t first = last_ - drops_.size();  // number of the one before
  for (std::uint64_t number = std::max(first, std::min(after, last_)); number < last_; number++)
    rows.push_back(drops_[number - first]);
  return {{"instance", instance_}, {"last", last_}, {"drops", std::move(rows)}};
}

}  // namespace vmlane::dataplane
