// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "dataplane/announcement.h"
#include "dataplane/capture.h"
#include "dataplane/flood_limit.h"
#include "dataplane/frame.h"
#include "dataplane/mac_table.h"
#include "dataplane/policy_gate.h"
#include "dataplane/port.h"
#include "dataplane/rate_limit.h"
#include "dataplane/trace.h"
#include "dataplane/turn_budget.h"
#include "ebpf/guest_answers.h"
#include "ebpf/source_guard_layout.bpf.h"

namespace vmlane::dataplane {

// What the switch knows of a port's attachment, beside its rings.
struct PortRules {
  std::string network;
  std::optional<MacAddress> mac;       // of the guest; an uplink has none
  std::optional<MacAddress> node_mac;  // of what the node sends by the uplink, if that is to be known
  std::vector<IpAddress> addresses;    // that IPAM gave it
  bool uplink = false;
  bool isolated = false;
  bool access_vlan = false;
  std::optional<vmlane_guard> guard;
  std::shared_ptr<vmlane_answers> answers;
  std::optional<PolicyRule> policy;  // none: no policy is held here
  std::optional<RateLimit> ingress;  // what the guest gets
  std::optional<RateLimit> egress;   // and sends
};

// From which port to which: an Ethernet switch for each network (IEEE 802.1D without spanning tree: uplinks
// are one to a network, so there is no loop to find). From a guest: source guard, guest answers, policy,
// bandwidth, forwarding; towards one: its own frames only, policy, MTU, bandwidth. Ports are served in turn,
// each for as long as its budget lets it. Nothing waits: what came in one round has left
// at its end.
//
// One thread at a time: the worker's.
class Forwarder {
 public:
  explicit Forwarder(rte_mempool* pool) : pool_(pool) {}

  // The port stays the caller's; it must be removed before it goes. `now` is clock_ns() here and below.
  void add(Port& port, PortRules rules, std::uint64_t now);
  void remove(Port& port);
  // The tables that were in use are given back.
  PolicyGate::Tables use(PolicyGate::Tables tables, std::uint64_t now) {
    return policy_.use(std::move(tables), now);
  }
  PolicyGate::Findings take_policy_findings() { return policy_.take_findings(); }
  std::uint64_t policy_generation() const { return policy_.generation(); }

  // One round over all ports; how many frames came in.
  unsigned round(std::uint64_t now);
  void arm();
  void disarm();
  // A port that is quarantined sends and gets nothing.
  void quarantine(const Port& port, bool quarantined);
  // One capture of a port at a time; a null one ends it.
  void capture(const Port& port, std::unique_ptr<Capture> capture);
  Capture* capture_of(const Port& port);
  // The same for following frames.
  void trace(const Port& port, std::unique_ptr<Tracer> tracer);
  Tracer* tracer_of(const Port& port);
  // Between two rounds: what would become of a frame from the port. The frame goes the way of all others, and
  // what it changed there, counters and tables, is put back; nobody gets it.
  Result<Trace> rehearse(Port& port, std::span<const std::uint8_t> bytes, std::uint64_t now);
  // Between two rounds: tells the others of the network that the guest on the port is there, under its MAC.
  // The switch's own words: policy is not asked.
  void announce(Port& port, const MacAddress& mac, std::uint64_t now);

  struct MacView {
    std::string network;
    std::string port;
    MacTable::Entry entry;
  };
  std::vector<MacView> macs(std::uint64_t now) const;
  const PortRules* rules_of(const Port& port) const;
  // Connections that policy let through, of one port or (null) of all.
  std::vector<PolicyGate::Flow> flows(const Port* port, std::uint64_t now) const;
  // Forgets them; how many there were.
  std::size_t flush_flows(const Port* port, std::uint64_t now);

 private:
  struct Network {
    MacTable macs;
    std::vector<PortId> members;
    unsigned users = 0;
  };
  struct Member {
    Port* port = nullptr;  // null: the number is free
    PortRules rules;
    Network* network = nullptr;
    PolicyGate::Subject* subject = nullptr;  // null: policy is not held
    bool learns = false;                     // its guest may have more MACs than its own
    bool quarantined = false;
    std::unique_ptr<Capture> capture;
    std::unique_ptr<Tracer> tracer;
    bool watched = false;           // there is one of the two
    bool takes_everything = false;  // gets frames to unknown and foreign destinations
    FloodLimit floods;
    TurnBudget turns{kBurst};
    std::vector<rte_mbuf*> out;  // sent at the end of the round
  };

  void take(Member& from, FramePtr frame, std::uint64_t now);
  [[gnu::cold, gnu::noinline]] void take_watched(Member& from, FramePtr frame, std::uint64_t now);
  void process(Member& from, FramePtr frame, std::uint64_t now);
  // Does so with nothing else on the way, and notes it in `trace`.
  void follow(Member& from, FramePtr frame, Trace& trace, std::uint64_t now);
  // Out of the way of frames that nobody follows.
  [[gnu::cold, gnu::noinline]] void note(std::string_view stage, const Member& at, std::string outcome);
  [[gnu::cold, gnu::noinline]] void note_plain(const char* stage, const Member& at, const char* outcome);
  // 0 is none.
  [[gnu::cold, gnu::noinline]] void note_reason(const char* stage, const Member& at, DropReason reason);
  // Null: at none that is known, or that it may be at.
  [[gnu::cold, gnu::noinline]] void note_place(const char* stage, const Member& at, const MacAddress& mac,
                                               const Port* place);
  unsigned serve(Member& from, std::uint64_t now);
  bool admit(Member& from, rte_mbuf& frame);
  // Whether the frame was a question to the switch; then it is the reply, on its way back, or gone.
  bool answered(Member& from, FramePtr& frame);
  bool learn(Member& from, const rte_mbuf& frame, std::uint64_t now);
  void forward(Member& from, FramePtr frame, std::uint64_t now);
  void flood(Member& from, FramePtr frame, bool group, std::uint64_t now);
  void deliver(Member& from, Member& to, FramePtr frame, std::uint64_t now);
  // Whether policy lets a guest send (VMLANE_POLICY_EGRESS) or get the frame; counted at its port if not.
  bool permits(Member& member, rte_mbuf& frame, std::uint8_t direction, bool from_node, std::uint64_t now);
  [[gnu::cold, gnu::noinline]] bool permits_traced(Member& member, rte_mbuf& frame, std::uint8_t direction,
                                                   bool from_node, std::uint64_t now);
  // Does for the receiver what it cannot do by itself, and queues the frame.
  bool within(Member& member, std::optional<RateLimit>& limit, const rte_mbuf& frame);
  void adapt(Member& to, FramePtr frame);
  void queue(Member& to, FramePtr frame);
  [[gnu::cold, gnu::noinline]] void queue_watched(Member& to, const rte_mbuf& frame);
  Member* member_of(const Port& port);
  const Member* member_of(const Port& port) const;
  void flush(Member& to);
  void flush_all();
  bool may_announce(Member& from, const MacAddress& mac, std::uint64_t now);
  void announce_to(Member& from, Member& to, std::span<const std::uint8_t> bytes);

  rte_mempool* const pool_;
  std::vector<std::unique_ptr<Member>> members_;  // by PortId
  std::map<std::string, Network> networks_;
  PolicyGate policy_;
  std::vector<Member*> dirty_;  // have something in `out`
  Trace* trace_ = nullptr;      // of the frame that is at hand, if somebody follows it
};

}  // namespace vmlane::dataplane
