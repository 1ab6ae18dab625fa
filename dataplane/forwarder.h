// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "dataplane/flood_limit.h"
#include "dataplane/frame.h"
#include "dataplane/mac_table.h"
#include "dataplane/policy_gate.h"
#include "dataplane/port.h"
#include "ebpf/guest_answers.h"
#include "ebpf/source_guard_layout.bpf.h"

namespace vmlane::dataplane {

// What the switch knows of a port's attachment, beside its rings.
struct PortRules {
  std::string network;
  std::optional<MacAddress> mac;  // of the guest; an uplink has none
  bool uplink = false;
  bool isolated = false;
  bool access_vlan = false;
  std::optional<vmlane_guard> guard;
  std::shared_ptr<vmlane_answers> answers;
  std::optional<PolicyRule> policy;  // none: no policy is held here
};

// From which port to which: an Ethernet switch for each network (IEEE 802.1D without spanning tree: uplinks
// are one to a network, so there is no loop to find). From a guest: source guard, guest answers, policy,
// forwarding; towards one: its own frames only, policy, MTU. Nothing waits: what came in one round has left
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
  std::uint64_t policy_generation() const { return policy_.generation(); }

  // One round over all ports; how many frames came in.
  unsigned round(std::uint64_t now);
  void arm();
  void disarm();

  struct MacView {
    std::string network;
    std::string port;
    MacTable::Entry entry;
  };
  std::vector<MacView> macs(std::uint64_t now) const;
  const PortRules* rules_of(const Port& port) const;

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
    bool takes_everything = false;           // gets frames to unknown and foreign destinations
    FloodLimit floods;
    std::vector<rte_mbuf*> out;  // sent at the end of the round
  };

  void take(Member& from, FramePtr frame, std::uint64_t now);
  bool admit(Member& from, rte_mbuf& frame);
  // Whether the frame was a question to the switch; then it is the reply, on its way back, or gone.
  bool answered(Member& from, FramePtr& frame);
  bool learn(Member& from, const rte_mbuf& frame, std::uint64_t now);
  void forward(Member& from, FramePtr frame, std::uint64_t now);
  void flood(Member& from, FramePtr frame, bool group, std::uint64_t now);
  void deliver(Member& from, Member& to, FramePtr frame, std::uint64_t now);
  // Whether policy lets a guest send (VMLANE_POLICY_EGRESS) or get the frame; counted at its port if not.
  bool permits(Member& member, rte_mbuf& frame, std::uint8_t direction, std::uint64_t now);
  // Does for the receiver what it cannot do by itself, and queues the frame.
  void adapt(Member& to, FramePtr frame);
  void queue(Member& to, FramePtr frame);
  void flush(Member& to);

  rte_mempool* const pool_;
  std::vector<std::unique_ptr<Member>> members_;  // by PortId
  std::map<std::string, Network> networks_;
  PolicyGate policy_;
  std::vector<Member*> dirty_;  // have something in `out`
};

}  // namespace vmlane::dataplane
