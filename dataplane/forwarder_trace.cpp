// SPDX-License-Identifier: Apache-2.0
// Following single frames through the forwarder, and looking at what its ports send and get.
#include <algorithm>
#include <utility>

#include "dataplane/forwarder.h"
#include "dataplane/offload.h"

namespace vmlane::dataplane {

void Forwarder::trace(const Port& port, std::unique_ptr<Tracer> tracer) {
  Member* member = member_of(port);
  if (member == nullptr) return;
  member->tracer = std::move(tracer);
  member->watched = member->capture || member->tracer;
}

Tracer* Forwarder::tracer_of(const Port& port) {
  Member* member = member_of(port);
  return member == nullptr ? nullptr : member->tracer.get();
}

void Forwarder::note(std::string_view stage, const Member& at, std::string outcome) {
  trace_->steps.push_back({.stage = stage, .port = at.port->name(), .outcome = std::move(outcome)});
}

void Forwarder::note_plain(const char* stage, const Member& at, const char* outcome) {
  note(stage, at, outcome);
}

void Forwarder::note_reason(const char* stage, const Member& at, DropReason reason) {
  const auto number = static_cast<std::size_t>(reason);
  note(stage, at, number == 0 ? "passes" : std::string(kDropNames[number]));
}

void Forwarder::note_place(const char* stage, const Member& at, const MacAddress& mac, const Port* place) {
  note(stage, at,
       mac.to_string() + (place == nullptr ? " is at no known port" : " is at port " + place->name()));
}

void Forwarder::take_watched(Member& from, FramePtr frame, std::uint64_t now) {
  if (from.capture) from.capture->add(*frame, true, now);
  if (!from.tracer || !from.tracer->wants(head_of(frame.get()), now))
    return process(from, std::move(frame), now);
  Trace trace = Trace::of(*frame, now);
  follow(from, std::move(frame), trace, now);
  from.tracer->add(std::move(trace));
}

void Forwarder::queue_watched(Member& to, const rte_mbuf& frame) {
  if (trace_ != nullptr) note("output", to, std::to_string(frame.pkt_len) + " bytes");
  const bool shown = trace_ != nullptr && trace_->rehearsed;
  if (to.capture && !shown) to.capture->add(frame, false, clock_ns());
}

bool Forwarder::permits_traced(Member& member, rte_mbuf& frame, std::uint8_t direction, bool from_node,
                               std::uint64_t now) {
  policy::NativeStage::Outcome outcome;
  const auto refused = policy_.refuses(head_of(&frame), *member.subject, direction, from_node, now, &outcome);
  note(direction == VMLANE_POLICY_EGRESS ? "policy-egress" : "policy-ingress", member,
       refused ? std::string(kDropNames[static_cast<std::size_t>(*refused)]) : "passes");
  trace_->steps.back().policy = outcome;
  if (refused) member.port->drop(*refused);
  return !refused;
}

// What became of it is what it changed in the counters of its network's ports: each way a frame may end is
// counted somewhere.
void Forwarder::follow(Member& from, FramePtr frame, Trace& trace, std::uint64_t now) {
  flush_all();
  std::vector<std::pair<const Member*, PortCounters>> before;
  for (const PortId id : from.network->members)
    before.emplace_back(members_[id].get(), members_[id]->port->counters);
  trace_ = &trace;
  process(from, std::move(frame), now);
  flush_all();
  trace_ = nullptr;
  for (const auto& [member, counters] : before) {
    const std::string& name = member->port->name();
    const auto& after = member->port->counters;
    const bool queued = std::ranges::any_of(
        trace.steps, [&](const Trace::Step& step) { return step.stage == "output" && step.port == name; });
    if (trace.rehearsed ? queued : after.sent != counters.sent) trace.sent.push_back(name);
    for (std::size_t reason = 1; reason < kDropReasons; reason++) {
      if (after.dropped[reason] != counters.dropped[reason])
        trace.dropped.push_back({name, static_cast<DropReason>(reason)});
    }
  }
}

Result<Trace> Forwarder::rehearse(Port& port, std::span<const std::uint8_t> bytes, std::uint64_t now) {
  Member* const from = member_of(port);
  if (from == nullptr) return fail(Code::kNotFound, "port " + port.name() + " forwards nothing");
  FramePtr frame(rte_pktmbuf_alloc(pool_));
  if (!frame || !append(*frame, bytes, *pool_)) return fail(Code::kTryAgain, "the switch is out of buffers");
  if (!set_offloads(*frame, parse_headers(head_of(frame.get())), false, 0))
    return fail(Code::kInvalidConfig, "the frame is malformed");
  struct Before {
    PortCounters counters;
    FloodLimit floods;
    std::optional<RateLimit> ingress;
    std::optional<RateLimit> egress;
  };
  std::vector<std::pair<Member*, Before>> before;
  for (const PortId id : from->network->members) {
    Member& member = *members_[id];
    before.emplace_back(&member, Before{.counters = member.port->counters,
                                        .floods = member.floods,
                                        .ingress = member.rules.ingress,
                                        .egress = member.rules.egress});
  }
  const MacTable macs = from->network->macs;
  const PolicyGate::Rehearsal policy(policy_);
  Trace trace = Trace::of(*frame, now);
  trace.rehearsed = true;
  const auto answers = from->rules.answers ? std::make_unique<vmlane_answers>(*from->rules.answers) : nullptr;
  follow(*from, std::move(frame), trace, now);
  if (answers) *from->rules.answers = *answers;
  for (const auto& [member, its] : before) {
    member->port->counters = its.counters;
    member->floods = its.floods;
    member->rules.ingress = its.ingress;
    member->rules.egress = its.egress;
  }
  from->network->macs = macs;
  return trace;
}

}  // namespace vmlane::dataplane
