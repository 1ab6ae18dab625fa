// SPDX-License-Identifier: Apache-2.0
#include "dataplane/policy_gate.h"

#include <random>
#include <utility>

namespace vmlane::dataplane {
namespace {

constexpr std::size_t kConnections = std::size_t{1} << 16;

std::uint32_t ticks(std::uint64_t nanoseconds) {
  return static_cast<std::uint32_t>(nanoseconds >> VMLANE_CONNECTION_TICK_BITS);
}

DropReason reason_of(std::uint32_t reason) {
  switch (reason) {
    case VMLANE_STAGE_BY_POLICY:
      return DropReason::kPolicy;
    case VMLANE_STAGE_BY_DEFAULT:
      return DropReason::kNotJudged;
    case VMLANE_STAGE_LOST_FRAGMENT:
      return DropReason::kLostFragment;
    case VMLANE_STAGE_NO_CONNECTION:
      return DropReason::kNoConnection;
    case VMLANE_STAGE_FULL:
      return DropReason::kConnectionsFull;
    case VMLANE_STAGE_NOT_IP:
      return DropReason::kNotIp;
    default:
      return DropReason::kMalformed;
  }
}

}  // namespace

PolicyGate::Tables PolicyGate::use(Tables tables, std::uint64_t now) {
  std::swap(tables_, tables);
  if (stage_) stage_->use_tables(tables_->tables(), static_cast<std::uint32_t>(tables_->generation()));
  for (const auto& [incarnation, subject] : subjects_) {
    vmlane_policy_workload& workload = subject->workload;
    const bool unjudged = workload.endpoint[0] == 0 && (workload.flags & VMLANE_STAGE_DENY) == 0;
    find_in_tables(*subject);
    // What went through unjudged may have connections that nobody noted.
    if (unjudged) open_window(*subject, now);
  }
  return tables;
}

PolicyGate::Subject& PolicyGate::add(const std::string& attachment, const PolicyRule& rule,
                                     std::uint64_t now) {
  if (!stage_) {
    stage_ = std::make_unique<policy::NativeStage>(kConnections, std::random_device()());
    if (tables_) stage_->use_tables(tables_->tables(), static_cast<std::uint32_t>(tables_->generation()));
  }
  auto subject = std::make_unique<Subject>();
  attachment.copy(subject->attachment.data(), subject->attachment.size());
  vmlane_policy_workload& workload = subject->workload;
  workload.incarnation = ++last_incarnation_;
  workload.flags = (rule.allow_node ? 0U : std::uint32_t{VMLANE_STAGE_NO_NODE}) |
                   (rule.deny ? std::uint32_t{VMLANE_STAGE_DENY} : 0U);
  find_in_tables(*subject);
  // A switch before this one may have known connections of it.
  open_window(*subject, now);
  return *subjects_.emplace(workload.incarnation, std::move(subject)).first->second;
}

void PolicyGate::forget(const Subject& subject) {
  subjects_.erase(subject.workload.incarnation);
}

void PolicyGate::find_in_tables(Subject& subject) const {
  constexpr unsigned kUpper = 32;
  vmlane_policy_workload& workload = subject.workload;
  const auto* found =
      tables_ ? tables_->find({subject.attachment.data(), subject.attachment.size()}) : nullptr;
  workload.endpoint[0] =
      found == nullptr ? 0
                       : std::uint64_t{workload.incarnation} << kUpper | (std::uint64_t{found->endpoint} + 1);
}

void PolicyGate::open_window(Subject& subject, std::uint64_t now) {
  vmlane_policy_workload& workload = subject.workload;
  if (workload.endpoint[0] != 0)
    workload.loose_until = ticks(now) + VMLANE_CONNECTION_SECONDS(VMLANE_STAGE_LOOSE_SECONDS) + 1;
}

void PolicyGate::tell(std::span<const std::uint8_t> head, Subject& subject, std::uint8_t direction,
                      const policy::NativeStage::Outcome& outcome, std::uint64_t now) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  if (now / kSecond != subject.event_second) {
    subject.event_second = now / kSecond;
    subject.events = 0;
  }
  if (++subject.events > kEventsASecond || drops_.size() >= kMaxDrops) return;
  drops_.push_back({.time = now,
                    .attachment = subject.attachment,
                    .direction = direction,
                    .audit = outcome.passes(),
                    .reason = outcome.passes() ? outcome.audited : outcome.reason,
                    .answer = outcome.passes() ? outcome.would : outcome.answer,
                    .packet = policy::NativeStage::read(head)});
}

std::vector<PolicyGate::Flow> PolicyGate::flows(const Subject* subject, std::uint64_t now) const {
  std::vector<Flow> found;
  if (!stage_) return found;
  for (const vmlane_connection_set& set : stage_->connections()) {
    for (std::size_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
      if (set.tag[way] == VMLANE_CONNECTION_FREE) continue;
      const vmlane_connection& entry = set.way[way];
      if (subject != nullptr && entry.owner != subject->workload.incarnation) continue;
      const auto owner = subjects_.find(entry.owner);
      if (owner == subjects_.end() || vmlane_connection_is_over(&entry, ticks(now)) != 0) continue;
      found.push_back({owner->second->attachment, entry, vmlane_connection_idle(&entry, ticks(now))});
    }
  }
  return found;
}

PolicyGate::Findings PolicyGate::take_findings() {
  Findings found{.drops = std::move(drops_)};
  drops_ = {};
  if (stage_) found.counts = stage_->take_counts();
  return found;
}

// Each gets an incarnation of its own, as if it were another's: what is left of the old one is nobody's, and
// its places are given to new connections.
void PolicyGate::flush(const Subject* subject) {
  std::vector<std::uint32_t> old;
  for (const auto& [incarnation, its] : subjects_) {
    if (subject == nullptr || its.get() == subject) old.push_back(incarnation);
  }
  for (const std::uint32_t incarnation : old) {
    auto node = subjects_.extract(incarnation);
    node.key() = ++last_incarnation_;
    node.mapped()->workload.incarnation = node.key();
    find_in_tables(*node.mapped());
    subjects_.insert(std::move(node));
  }
}

std::optional<DropReason> PolicyGate::refuses(std::span<const std::uint8_t> head, Subject& subject,
                                              std::uint8_t direction, bool from_node, std::uint64_t now,
                                              policy::NativeStage::Outcome* told) {
  const auto outcome = stage_->decide(head, subject.workload, direction, ticks(now), from_node);
  if (!outcome.passes() || outcome.audited != VMLANE_STAGE_PASS) tell(head, subject, direction, outcome, now);
  if (told != nullptr) *told = outcome;
  return outcome.passes() ? std::nullopt : std::optional(reason_of(outcome.reason));
}

PolicyGate::Rehearsal::Rehearsal(PolicyGate& gate) : gate_(gate), drops_(gate.drops_.size()) {
  if (!gate_.stage_) return;
  stage_ = std::make_unique<policy::NativeStage>(*gate_.stage_);
  std::swap(stage_, gate_.stage_);
  for (const auto& [incarnation, subject] : gate_.subjects_) subjects_.emplace(incarnation, *subject);
}

PolicyGate::Rehearsal::~Rehearsal() {
  if (!stage_) return;
  std::swap(stage_, gate_.stage_);
  for (const auto& [incarnation, subject] : subjects_) *gate_.subjects_.at(incarnation) = subject;
  gate_.drops_.resize(drops_);
}

}  // namespace vmlane::dataplane
