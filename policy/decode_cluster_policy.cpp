// SPDX-License-Identifier: Apache-2.0
// ClusterNetworkPolicy v1alpha2, and its forerunners AdminNetworkPolicy and BaselineAdminNetworkPolicy
// v1alpha1, which say the same in other words. What cannot be read in a rule that accepts matches nothing; a
// rule that denies or passes on denies everything instead, as the API asks for peers of a newer release.
#include <algorithm>

#include "policy/decode.h"

namespace vmlane::policy {
namespace {

constexpr std::int64_t kMaxPriority = 1000;
constexpr std::size_t kMaxItems = 25;
constexpr std::size_t kMaxRuleName = 100;
constexpr const char* kClosed = "what accepts matches nothing, what denies or passes denies everything";
constexpr const char* kPolicyClosed = "the policy accepts nothing, and its Pass rules deny";

// Reads the rules of one direction.
class RuleReader {
 public:
  RuleReader(const Subject& subject, Direction direction) : subject_(subject), direction_(direction) {}

  // The selector of pods at `json`, which has one of `namespaces` and `pods`; no value when it cannot be
  // read.
  static std::optional<PodSelector> pods(const Json& json, const std::string& key, const Subject& subject,
                                         const char* effect, bool& whole) {
    PodSelector selector;
    const Json* namespaces = member(json, "namespaces");
    const Json* pods = member(json, "pods");
    if (namespaces != nullptr) {
      auto read = decode_selector(namespaces, key + ".namespaces", subject, effect);
      selector.namespaces = std::move(read.selector);
      whole = read.whole;
      return selector;
    }
    if (pods == nullptr) return std::nullopt;
    const Json* of_namespaces = member(*pods, "namespaceSelector");
    const Json* of_pods = member(*pods, "podSelector");
    if (of_namespaces == nullptr || of_pods == nullptr) {
      subject.report(key + ".pods", Subject::wrong(*pods, "namespaceSelector and podSelector"), effect);
      whole = false;
      return std::nullopt;
    }
    auto first = decode_selector(of_namespaces, key + ".pods.namespaceSelector", subject, effect);
    auto second = decode_selector(of_pods, key + ".pods.podSelector", subject, effect);
    whole = first.whole && second.whole &&
            only_known_keys(*pods, key + ".pods", {"namespaceSelector", "podSelector"}, subject, effect);
    selector.namespaces = std::move(first.selector);
    selector.pods = std::move(second.selector);
    return selector;
  }

  Rule read(const Json& json, std::size_t index, const std::string& key, std::string_view peers,
            std::initializer_list<std::string_view> actions) {
    Rule rule{.index = index};
    peers_whole_ = ports_whole_ = true;
    if (!json.is_object()) {
      subject_.report(key, Subject::wrong(json, "an object"), kClosed);
      rule.action = Action::kDeny;
      rule.any_peer = rule.any_port = true;
      return rule;
    }
    read_action(json, key, actions, rule);
    const bool known =
        only_known_keys(json, key, {"name", "action", peers, "protocols", "ports"}, subject_, kClosed);
    if (const Json* name = member(json, "name");
        name != nullptr &&
        (!name->is_string() || name->get_ref<const std::string&>().size() > kMaxRuleName)) {
      subject_.report(key + ".name", "is no text of at most 100 characters", "the rule counts without it");
    }
    read_peers(member(json, peers), key + "." + std::string(peers), rule);
    for (const char* ports : {"protocols", "ports"}) read_ports(member(json, ports), key + "." + ports, rule);
    rule.any_port =
        rule.any_port || (member(json, "protocols") == nullptr && member(json, "ports") == nullptr);
    refuse_names_without_pods(key, rule);
    // A key that is not known may be a condition.
    if (!known && rule.action == Action::kAccept) rule.peers.clear();
    if ((!known || !peers_whole_ || !ports_whole_) && rule.action != Action::kAccept) {
      rule.action = Action::kDeny;
      rule.any_peer = rule.any_port = true;
    }
    return rule;
  }

 private:
  void read_action(const Json& json, const std::string& key, std::initializer_list<std::string_view> actions,
                   Rule& rule) {
    const Json* action = member(json, "action");
    const std::string name = action != nullptr && action->is_string() ? action->get<std::string>() : "";
    if (std::ranges::find(actions, name) == actions.end()) {
      std::string expected;
      for (const std::string_view one : actions)
        expected += (expected.empty() ? "" : " or ") + std::string(one);
      subject_.report(key + ".action", Subject::wrong(action == nullptr ? Json() : *action, expected),
                      "the rule denies");
    }
    rule.action = name == "Accept" || name == "Allow" ? Action::kAccept : Action::kDeny;
    if (name == "Pass" && actions.size() > 2) rule.action = Action::kPass;
    if (std::ranges::find(actions, name) == actions.end()) rule.action = Action::kDeny;
  }

  void read_peers(const Json* json, const std::string& key, Rule& rule) {
    if (json == nullptr || !json->is_array() || json->empty() || json->size() > kMaxItems) {
      subject_.report(key, Subject::wrong(json == nullptr ? Json() : *json, "a list of 1 to 25 peers"),
                      kClosed);
      peers_whole_ = false;
      return;
    }
    for (std::size_t i = 0; i < json->size(); i++) read_peer((*json)[i], at(key, i), rule);
  }

  void read_peer(const Json& json, const std::string& key, Rule& rule) {
    if (!json.is_object() || json.size() != 1) {
      subject_.report(key, Subject::wrong(json, "one kind of peer"), kClosed);
      peers_whole_ = false;
      return;
    }
    if (json.contains("namespaces") || json.contains("pods")) {
      bool whole = true;
      auto selector = pods(json, key, subject_, kClosed, whole);
      peers_whole_ = peers_whole_ && whole && selector;
      if (whole && selector) rule.peers.emplace_back(std::move(*selector));
    } else if (direction_ == Direction::kEgress && json.contains("networks")) {
      read_networks(json["networks"], key + ".networks", rule);
    } else if (direction_ == Direction::kEgress && json.contains("nodes")) {
      auto selector = decode_selector(&json["nodes"], key + ".nodes", subject_, kClosed);
      peers_whole_ = peers_whole_ && selector.whole;
      if (selector.whole) rule.peers.emplace_back(NodeSelector{std::move(selector.selector)});
    } else {
      const bool names = direction_ == Direction::kEgress && json.contains("domainNames");
      subject_.report(key,
                      names ? "is a domain name, which nothing here resolves"
                            : Subject::wrong(json, "a kind of peer that is known"),
                      kClosed);
      peers_whole_ = false;
    }
  }

  void read_networks(const Json& json, const std::string& key, Rule& rule) {
    if (!json.is_array() || json.empty() || json.size() > kMaxItems) {
      subject_.report(key, Subject::wrong(json, "a list of 1 to 25 address blocks"), kClosed);
      peers_whole_ = false;
      return;
    }
    for (std::size_t i = 0; i < json.size(); i++) {
      const auto cidr = decode_cidr(json[i], at(key, i), subject_, kClosed);
      peers_whole_ = peers_whole_ && cidr;
      if (cidr) rule.peers.emplace_back(AddressBlock{*cidr, {}});
    }
  }

  void read_ports(const Json* json, const std::string& key, Rule& rule) {
    if (json == nullptr) return;
    if (!json->is_array() || json->empty() || json->size() > kMaxItems) {
      subject_.report(key, Subject::wrong(*json, "a list of 1 to 25 protocols"), kClosed);
      ports_whole_ = false;
      return;
    }
    for (std::size_t i = 0; i < json->size(); i++) {
      auto port = read_port((*json)[i], at(key, i));
      ports_whole_ = ports_whole_ && port;
      if (port) rule.ports.push_back(std::move(*port));
    }
  }

  std::optional<PortMatch> read_port(const Json& json, const std::string& key) {
    if (!json.is_object() || json.size() != 1) return refuse(key, json, "one protocol");
    const std::string& kind = json.begin().key();
    const Json& value = json.begin().value();
    if (kind == "destinationNamedPort" || kind == "namedPort") {
      if (!value.is_string() || !valid_port_name(value.get<std::string>()))
        return refuse(key, json, "a port's name");
      return PortMatch{.protocol = 0, .name = value.get<std::string>()};
    }
    if (kind == "portNumber")
      return read_numbers(value, key + "." + kind, member(value, "protocol"), "port", value);
    if (kind == "portRange")
      return read_numbers(value, key + "." + kind, member(value, "protocol"), "", value);
    for (const auto& [name, protocol] :
         {std::pair("tcp", "TCP"), std::pair("udp", "UDP"), std::pair("sctp", "SCTP")}) {
      if (kind != name) continue;
      const Json given = protocol;
      const Json* destination = member(value, "destinationPort");
      if (!value.is_object()) return refuse(key, json, "an object");
      if (!only_known_keys(value, key + "." + kind, {"destinationPort"}, subject_, kClosed))
        return std::nullopt;
      if (destination == nullptr) return PortMatch{.protocol = *decode_protocol(protocol)};
      const bool single = destination->is_object() && destination->contains("number");
      const Json* range = single ? destination : member(*destination, "range");
      return read_numbers(range == nullptr ? Json() : *range, key + "." + kind + ".destinationPort", &given,
                          single ? "number" : "", *destination);
    }
    return refuse(key, json, "tcp, udp, sctp or a port's name");
  }

  // One number at `number`, or `start` and `end` when that is empty. `whole` has nothing else.
  std::optional<PortMatch> read_numbers(const Json& json, const std::string& key, const Json* protocol,
                                        const std::string& number, const Json& whole) {
    PortMatch port;
    if (protocol != nullptr) {
      const auto read = protocol->is_string() ? decode_protocol(protocol->get<std::string>()) : std::nullopt;
      if (!read) return refuse(key + ".protocol", *protocol, "TCP, UDP or SCTP");
      port.protocol = *read;
    }
    const Json* first = member(json, number.empty() ? "start" : number);
    const Json* last = member(json, number.empty() ? "end" : number);
    const auto valid = [](const Json* value) {
      return value != nullptr && value->is_number_integer() && value->get<std::int64_t>() >= 1 &&
             value->get<std::int64_t>() <= kMaxPort;
    };
    const bool known = only_known_keys(json.is_object() ? json : Json::object(), key,
                                       {"protocol", "port", "number", "start", "end"}, subject_, kClosed);
    if (!valid(first) || !valid(last) || !known) return refuse(key, whole, "ports from 1 to 65535");
    if (number.empty() && first->get<int>() >= last->get<int>())
      return refuse(key, whole, "a start below the end");
    if (number == "number" && whole.contains("range")) return refuse(key, whole, "a number or a range");
    port.first = first->get<std::uint16_t>();
    port.last = last->get<std::uint16_t>();
    return port;
  }

  std::nullopt_t refuse(const std::string& key, const Json& json, const char* expected) const {
    subject_.report(key, Subject::wrong(json, expected), kClosed);
    return std::nullopt;
  }

  // Blocks and nodes give no names to ports.
  void refuse_names_without_pods(const std::string& key, Rule& rule) {
    const bool others = std::ranges::any_of(
        rule.peers, [](const Peer& peer) { return !std::holds_alternative<PodSelector>(peer); });
    const auto named = [](const PortMatch& port) { return !port.name.empty(); };
    if (direction_ != Direction::kEgress || !others || std::ranges::none_of(rule.ports, named)) return;
    subject_.report(key, "has the name of a port beside peers that are no pods", kClosed);
    std::erase_if(rule.ports, named);
    ports_whole_ = false;
  }

  const Subject& subject_;
  Direction direction_;
  bool peers_whole_ = true;
  bool ports_whole_ = true;
};

bool read_rules(const Json& spec, Direction direction, const Subject& subject,
                std::initializer_list<std::string_view> actions, std::vector<Rule>& rules) {
  const std::string name = direction_name(direction);
  const Json* json = member(spec, name);
  if (json == nullptr) return true;
  const std::string key = "spec." + name;
  if (!json->is_array() || json->size() > kMaxItems) {
    subject.report(key, Subject::wrong(*json, "a list of at most 25 rules"), kPolicyClosed);
    if (!json->is_array()) {
      // There may have been denials among them.
      rules.push_back({.index = 0, .action = Action::kDeny, .any_peer = true, .any_port = true});
      return false;
    }
  }
  RuleReader reader(subject, direction);
  for (std::size_t i = 0; i < json->size(); i++)
    rules.push_back(
        reader.read((*json)[i], i, at(key, i), direction == Direction::kEgress ? "to" : "from", actions));
  return json->size() <= kMaxItems;
}

// Tier and priority; false when they cannot be read.
bool read_place(const Json& spec, const std::string& kind, const Subject& subject, Policy& policy) {
  if (kind == "BaselineAdminNetworkPolicy") {
    policy.tier = Tier::kBaseline;
    policy.priority = kMaxPriority + 1;
    if (subject.name == "default") return true;
    subject.report("metadata.name", "is \"" + subject.name + "\", the only one may be \"default\"",
                   kPolicyClosed);
    return false;
  }
  policy.tier = Tier::kAdmin;
  bool readable = true;
  if (kind == "ClusterNetworkPolicy") {
    const Json* tier = member(spec, "tier");
    if (tier != nullptr && *tier == "Baseline") policy.tier = Tier::kBaseline;
    readable = tier != nullptr && (*tier == "Admin" || *tier == "Baseline");
    if (!readable)
      subject.report("spec.tier", Subject::wrong(tier == nullptr ? Json() : *tier, "Admin or Baseline"),
                     std::string(kPolicyClosed) + ", in the Admin tier");
  }
  const Json* priority = member(spec, "priority");
  const bool valid = priority != nullptr && priority->is_number_integer() &&
                     priority->get<std::int64_t>() >= 0 && priority->get<std::int64_t>() <= kMaxPriority;
  if (valid) policy.priority = priority->get<std::uint32_t>();
  if (!valid)
    subject.report("spec.priority",
                   Subject::wrong(priority == nullptr ? Json() : *priority, "a number from 0 to 1000"),
                   std::string(kPolicyClosed) + ", with priority 0");
  return readable && valid;
}

bool read_subject(const Json& spec, const Subject& subject, Policy& policy) {
  const Json* json = member(spec, "subject");
  const bool one =
      json != nullptr && (member(*json, "namespaces") != nullptr) != (member(*json, "pods") != nullptr);
  if (!one) {
    subject.report("spec.subject",
                   Subject::wrong(json == nullptr ? Json() : *json, "one of namespaces and pods"),
                   "the policy has no pods");
    return false;
  }
  bool whole = true;
  auto selector =
      RuleReader::pods(*json, "spec.subject", subject,
                       "it counts as met, the policy accepts nothing and its Pass rules deny", whole);
  if (selector) policy.subjects.push_back(std::move(*selector));
  return whole && only_known_keys(*json, "spec.subject", {"namespaces", "pods"}, subject, kPolicyClosed);
}

}  // namespace

Policy decode_cluster_policy(const Json& object, const std::string& kind, const Subject& subject) {
  Policy policy{.kind = kind, .name = subject.name};
  policy.networks.insert(std::string(kDefaultNetwork));
  const Json* given = member(object, "spec");
  const Json spec = given != nullptr && given->is_object() ? *given : Json::object();
  bool readable = only_known_keys(spec, "spec", {"tier", "priority", "subject", "ingress", "egress"}, subject,
                                  kPolicyClosed);
  readable = read_place(spec, kind, subject, policy) && readable;
  readable = read_subject(spec, subject, policy) && readable;
  for (const Direction direction : {Direction::kEgress, Direction::kIngress}) {
    auto& rules = policy.rules[static_cast<std::size_t>(direction)];
    const bool read = kind == "ClusterNetworkPolicy"
                          ? read_rules(spec, direction, subject, {"Accept", "Deny", "Pass"}, rules)
                      : kind == "AdminNetworkPolicy"
                          ? read_rules(spec, direction, subject, {"Allow", "Deny", "Pass"}, rules)
                          : read_rules(spec, direction, subject, {"Allow", "Deny"}, rules);
    readable = read && readable;
  }
  if (!readable || !subject.named) close(policy);
  return policy;
}

}  // namespace vmlane::policy
