// SPDX-License-Identifier: Apache-2.0
#include "policy/oracle.h"

#include <algorithm>

namespace vmlane::policy {
namespace {

// What is known of one end of a connection.
struct Party {
  const Pod* judged = nullptr;    // the pod whose policies are asked; none for an address that is no pod's
  const Pod* identity = nullptr;  // whose labels and port names the other end goes by
  bool has_address = false;
  IpAddress address;
  std::string node;  // the node that the address belongs to
  const Node* node_object = nullptr;
  std::string unreachable;  // why there can be no such connection
};

std::string shown(const Requirement& requirement) {
  std::string values;
  for (const std::string& value : requirement.values) values += (values.empty() ? "" : ", ") + value;
  switch (requirement.op) {
    case Requirement::Operator::kIn:
      return requirement.key + " in (" + values + ")";
    case Requirement::Operator::kNotIn:
      return requirement.key + " not in (" + values + ")";
    case Requirement::Operator::kExists:
      return requirement.key + " exists";
    case Requirement::Operator::kDoesNotExist:
      return requirement.key + " does not exist";
  }
  return "?";
}

bool holds(const Requirement& requirement, const Labels& labels) {
  const auto label = labels.find(requirement.key);
  const bool there = label != labels.end();
  switch (requirement.op) {
    case Requirement::Operator::kIn:
      return there && requirement.values.contains(label->second);
    case Requirement::Operator::kNotIn:
      return !there || !requirement.values.contains(label->second);
    case Requirement::Operator::kExists:
      return there;
    case Requirement::Operator::kDoesNotExist:
      return !there;
  }
  return false;
}

// Empty when the selector matches, else which requirement misses, and why.
std::string miss(const Selector& selector, const Labels& labels) {
  for (const Requirement& requirement : selector.requirements) {
    if (holds(requirement, labels)) continue;
    const auto label = labels.find(requirement.key);
    return shown(requirement) + ", but " +
           (label == labels.end() ? "there is no label " + requirement.key
                                  : requirement.key + " is \"" + label->second + "\"");
  }
  return {};
}

class Oracle {
 public:
  Oracle(const Objects& objects, const Probe& probe, Trace* trace)
      : objects_(objects), probe_(probe), trace_(trace) {}

  Result<Verdict> verdict() {
    VMLANE_ASSIGN(from_, party(probe_.from));
    VMLANE_ASSIGN(to_, party(probe_.to));
    if (!from_.unreachable.empty() || !to_.unreachable.empty()) {
      for (const Party* end : {&from_, &to_}) {
        if (!end->unreachable.empty()) say(0, end->unreachable);
      }
      const Judgement none{.allowed = false, .reason = Reason::kUnreachable};
      return Verdict{none, none};
    }
    if (from_.judged != nullptr && from_.judged == to_.judged) {
      say(0, "a pod cannot be kept from itself");
      const Judgement itself{.allowed = true, .reason = Reason::kItself};
      return Verdict{itself, itself};
    }
    return Verdict{judge(Direction::kEgress, from_, to_), judge(Direction::kIngress, to_, from_)};
  }

 private:
  void say(std::size_t depth, const std::string& text) {
    if (trace_ != nullptr) trace_->push_back(std::string(depth * 2, ' ') + text);
  }

  Labels namespace_labels(const std::string& ns) const {
    const auto found = objects_.namespaces.find(ns);
    if (found != objects_.namespaces.end()) return found->second.labels;
    return {{"kubernetes.io/metadata.name", ns}};
  }

  // Who has an address. More than one: nobody can be told from another.
  void identify(const IpAddress& address, Party& party) const {
    std::vector<const Pod*> owners;
    for (const auto& [id, pod] : objects_.pods) {
      if (!pod.has_endpoints()) continue;
      for (const PodInterface& interface : pod.interfaces) {
        if (interface.network != probe_.network) continue;
        for (const IpAddress& own : interface.addresses) {
          if (own == address && (owners.empty() || owners.back() != &pod)) owners.push_back(&pod);
        }
      }
    }
    std::string node;
    const Node* object = nullptr;
    if (probe_.network == kDefaultNetwork) find_node(address, node, object);
    if (owners.size() == 1 && node.empty()) party.identity = owners[0];
    if (owners.empty()) {
      party.node = node;
      party.node_object = object;
    }
  }

  void find_node(const IpAddress& address, std::string& name, const Node*& object) const {
    for (const auto& [id, node] : objects_.nodes) {
      if (std::ranges::find(node.addresses, address) == node.addresses.end()) continue;
      name = id;
      object = &node;
      return;
    }
    // A pod on its node's network tells the node's address.
    for (const auto& [id, pod] : objects_.pods) {
      if (!pod.host_network || pod.ended || pod.node.empty()) continue;
      for (const PodInterface& interface : pod.interfaces) {
        if (interface.network != kDefaultNetwork) continue;
        if (std::ranges::find(interface.addresses, address) == interface.addresses.end()) continue;
        if (name.empty() || pod.node < name) name = pod.node;
      }
    }
  }

  Result<Party> party(const End& end) const {
    Party party;
    if (end.pod.empty()) {
      party.has_address = true;
      party.address = end.address;
      identify(end.address, party);
      party.judged = party.identity;
      return party;
    }
    const auto found = objects_.pods.find(end.pod);
    if (found == objects_.pods.end()) return fail(Code::kNotFound, "there is no pod " + end.pod);
    const Pod& pod = found->second;
    if (pod.ended) {
      party.unreachable = "pod " + end.pod + " has ended";
      return party;
    }
    bool on_network = false;
    bool addressed = false;
    for (const PodInterface& interface : pod.interfaces) {
      if (interface.network != probe_.network) continue;
      on_network = true;
      for (const IpAddress& address : interface.addresses) {
        addressed = true;
        if (address.v6 != probe_.v6 || party.has_address) continue;
        party.has_address = true;
        party.address = address;
      }
    }
    const std::string family = probe_.v6 ? "IPv6" : "IPv4";
    if (!on_network) party.unreachable = "pod " + end.pod + " is not on network " + probe_.network;
    if (addressed && !party.has_address)
      party.unreachable = "pod " + end.pod + " has no " + family + " address on network " + probe_.network;
    if (pod.host_network && !party.has_address)
      party.unreachable = "pod " + end.pod + " is on its node's network, whose address is not known";
    if (party.has_address) identify(party.address, party);
    if (pod.host_network) return party;
    party.judged = &pod;
    if (!party.has_address) party.identity = &pod;
    return party;
  }

  bool matches(const PodSelector& selector, const Pod& pod, std::string& why) const {
    if (!selector.ns.empty()) {
      if (pod.ns != selector.ns) {
        why = "only pods of namespace " + selector.ns + ", but it is in " + pod.ns;
        return false;
      }
    } else if (const std::string missed = miss(selector.namespaces, namespace_labels(pod.ns));
               !missed.empty()) {
      why = "namespace " + pod.ns + ": " + missed;
      return false;
    }
    why = miss(selector.pods, pod.labels);
    if (!why.empty()) why = "pod " + pod.id() + ": " + why;
    return why.empty();
  }

  bool matches(const Peer& peer, const Party& party, std::string& why) const {
    if (const auto* pods = std::get_if<PodSelector>(&peer)) {
      if (party.identity != nullptr) return matches(*pods, *party.identity, why);
      why = "the other end is known as no pod";
      return false;
    }
    if (const auto* nodes = std::get_if<NodeSelector>(&peer)) {
      why = party.node_object == nullptr ? "the other end is no node"
                                         : miss(nodes->nodes, party.node_object->labels);
      return why.empty();
    }
    const auto& block = std::get<AddressBlock>(peer);
    why = party.has_address ? party.address.to_string() + " is not in " + block.cidr.to_string()
                            : "the other end has no address yet";
    if (!party.has_address || !block.cidr.contains(party.address)) return false;
    for (const IpPrefix& except : block.except) {
      why = party.address.to_string() + " is in the exception " + except.to_string();
      if (except.contains(party.address)) return false;
    }
    return true;
  }

  bool matches(const PortMatch& port, const Party& destination) const {
    if (port.name.empty())
      return port.protocol == probe_.protocol && port.first <= probe_.port && probe_.port <= port.last;
    if (destination.identity == nullptr && destination.judged == nullptr) return false;
    const Pod& pod = destination.identity != nullptr ? *destination.identity : *destination.judged;
    return std::ranges::any_of(pod.ports, [&](const NamedPort& named) {
      return named.name == port.name && named.protocol == probe_.protocol && named.number == probe_.port &&
             (port.protocol == 0 || port.protocol == named.protocol);
    });
  }

  bool matches(const Rule& rule, const Party& peer, const Party& destination) {
    std::string why = "it has no peer that can match";
    bool peer_matches = rule.any_peer;
    std::vector<std::string> misses;
    for (const Peer& one : rule.peers) {
      if (peer_matches) break;
      peer_matches = matches(one, peer, why);
      if (!peer_matches) misses.push_back(why);
    }
    const std::string name = "rule " + std::to_string(rule.index);
    if (!peer_matches) {
      say(2, name + ": peer missed");
      if (misses.empty()) misses.push_back(why);
      for (const std::string& missed : misses) say(3, missed);
      return false;
    }
    const bool port_matches = rule.any_port || std::ranges::any_of(rule.ports, [&](const PortMatch& port) {
                                return matches(port, destination);
                              });
    say(2, name + ": peer matched, port " + (port_matches ? "matched" : "missed"));
    return port_matches;
  }

  // Named ports of the judged pod count at its own end, whatever is known of its address.
  Judgement judge(Direction direction, const Party& self, const Party& peer) {
    say(0, direction_name(direction) + " of " +
               (self.judged == nullptr ? "an address that is no pod's: not judged"
                                       : "pod " + self.judged->id()));
    if (self.judged == nullptr) return {};
    const bool own_node = !peer.node.empty() && peer.node == self.judged->node;
    if (own_node && direction == Direction::kIngress) {
      say(1, "the other end is the pod's own node");
      return {.allowed = true, .reason = Reason::kOwnNode};
    }
    const auto ns = objects_.namespaces.find(self.judged->ns);
    if (self.judged->broken || (ns != objects_.namespaces.end() && ns->second.broken)) {
      say(1, "the pod or its namespace could not be read");
      if (own_node) return {.allowed = true, .reason = Reason::kOwnNode};
      return {.allowed = false, .reason = Reason::kBroken};
    }
    Party destination = direction == Direction::kIngress ? self : peer;
    if (direction == Direction::kIngress) {
      destination.identity = self.judged;
    } else {
      destination.judged = nullptr;
    }
    const std::vector<const Policy*> policies = selecting(*self.judged);
    Judgement judgement = ask(policies, direction, self, peer, destination, own_node, false);
    if (judgement.allowed) return judgement;
    const auto audited = std::ranges::count_if(
        policies, [&](const Policy* policy) { return in_audit(*policy, *self.judged); });
    if (audited == 0) return judgement;
    // Where all are in audit it is as if there were none.
    const std::vector<const Policy*> none;
    const bool all = audited == std::ssize(policies);
    say(1, "without what policies in audit deny:");
    Judgement relaxed = ask(all ? none : policies, direction, self, peer, destination, own_node, true);
    if (relaxed.allowed)
      relaxed.audit = AuditDenial{judgement.reason, judgement.kind, judgement.policy, judgement.rule};
    return relaxed;
  }

  // A pod may leave the policies of its namespace in audit, but not those of the cluster.
  bool in_audit(const Policy& policy, const Pod& pod) const {
    const auto ns = objects_.namespaces.find(pod.ns);
    const bool of_namespace = ns != objects_.namespaces.end() && ns->second.audit;
    const bool of_cluster = policy.tier != Tier::kNetworkPolicy;
    bool of_pod = of_namespace;
    if (pod.audit.has_value()) of_pod = *pod.audit ? of_namespace || !of_cluster : false;
    return policy.audit || of_pod;
  }

  std::vector<const Policy*> selecting(const Pod& pod) {
    std::vector<const Policy*> policies;
    for (const auto& [key, policy] : objects_.policies) {
      if (!policy.networks.contains(probe_.network)) continue;
      std::string why;
      const bool selects = std::ranges::any_of(
          policy.subjects, [&](const PodSelector& subject) { return matches(subject, pod, why); });
      if (selects) policies.push_back(&policy);
      if (!selects && !why.empty() && (policy.ns.empty() || policy.ns == pod.ns))
        say(1, key + " is not about it: " + why);
    }
    std::ranges::sort(policies, [](const Policy* a, const Policy* b) { return asked_before(*a, *b); });
    return policies;
  }

  // `relaxed`: policies in audit allow what they allow, and deny nothing.
  Judgement ask(const std::vector<const Policy*>& policies, Direction direction, const Party& self,
                const Party& peer, const Party& destination, bool own_node, bool relaxed) {
    bool passed = false;
    const Policy* isolating = nullptr;
    for (const Policy* policy : policies) {
      if (policy->tier == Tier::kNetworkPolicy && !policy->isolates_in(direction)) {
        say(1, policy->key() + " is not about " + direction_name(direction));
        continue;
      }
      if (policy->tier == Tier::kAdmin && passed) continue;
      if (policy->tier != Tier::kAdmin && own_node) continue;
      if (policy->tier == Tier::kBaseline && isolating != nullptr) continue;
      const bool audited = in_audit(*policy, *self.judged);
      say(1, policy->key() + (audited ? ", in audit" : ""));
      const bool denies = !relaxed || !audited;
      if (policy->tier == Tier::kNetworkPolicy && denies && isolating == nullptr) isolating = policy;
      for (const Rule& rule : policy->rules_of(direction)) {
        if (rule.action == Action::kDeny && !denies) continue;
        if (!matches(rule, peer, destination)) continue;
        if (rule.action == Action::kPass && policy->tier == Tier::kAdmin) {
          passed = true;
          break;
        }
        return {.allowed = rule.action != Action::kDeny,
                .reason = Reason::kRule,
                .kind = policy->kind,
                .policy = policy->id(),
                .rule = rule.index};
      }
    }
    if (own_node) return {.allowed = true, .reason = Reason::kOwnNode};
    if (isolating == nullptr) return {.allowed = true, .reason = Reason::kNotIsolated};
    return {.allowed = false,
            .reason = Reason::kIsolated,
            .kind = isolating->kind,
            .policy = isolating->id(),
            .rule = {}};
  }

  const Objects& objects_;
  const Probe& probe_;
  Trace* trace_;
  Party from_;
  Party to_;
};

}  // namespace

Result<Verdict> ask_oracle(const Objects& objects, const Probe& probe, Trace* trace) {
  return Oracle(objects, probe, trace).verdict();
}

}  // namespace vmlane::policy
