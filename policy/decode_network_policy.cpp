// SPDX-License-Identifier: Apache-2.0
// NetworkPolicy v1 and MultiNetworkPolicy. The API server validates the first, nobody the second, and files
// either; so everything is looked at here.
#include <algorithm>

#include "policy/decode.h"

namespace vmlane::policy {
namespace {

constexpr std::string_view kPolicyFor = "k8s.v1.cni.cncf.io/policy-for";

constexpr const char* kPeerEffect = "this peer matches nothing";
constexpr const char* kPortEffect = "this port matches nothing";
constexpr const char* kRuleEffect = "this rule allows nothing";
constexpr const char* kSubjectEffect =
    "it counts as met, and the policy allows nothing to the pods it isolates";

std::optional<AddressBlock> decode_block(const Json& json, const std::string& key, const Subject& subject) {
  if (!json.is_object()) {
    subject.report(key, Subject::wrong(json, "an object with cidr"), kPeerEffect);
    return std::nullopt;
  }
  if (!only_known_keys(json, key, {"cidr", "except"}, subject, kPeerEffect)) return std::nullopt;
  const Json* given = member(json, "cidr");
  const auto cidr = decode_cidr(given == nullptr ? Json() : *given, key + ".cidr", subject, kPeerEffect);
  if (!cidr) return std::nullopt;
  AddressBlock block{*cidr, {}};
  const Json* excepts = member(json, "except");
  if (excepts == nullptr) return block;
  if (!excepts->is_array()) {
    subject.report(key + ".except", Subject::wrong(*excepts, "a list of address blocks"), kPeerEffect);
    return std::nullopt;
  }
  for (std::size_t i = 0; i < excepts->size(); i++) {
    const std::string place = at(key + ".except", i);
    const auto except = decode_cidr((*excepts)[i], place, subject, kPeerEffect);
    if (!except) return std::nullopt;
    if (!cidr->contains(except->address) || except->length <= cidr->length) {
      subject.report(place, "is " + except->to_string() + ", not a part of " + cidr->to_string(),
                     kPeerEffect);
      return std::nullopt;
    }
    block.except.push_back(*except);
  }
  return block;
}

std::optional<Peer> decode_peer(const Json& json, const std::string& key, const Subject& subject) {
  const Json* block = member(json, "ipBlock");
  const Json* pods = member(json, "podSelector");
  const Json* namespaces = member(json, "namespaceSelector");
  if (!json.is_object() || (block == nullptr && pods == nullptr && namespaces == nullptr)) {
    subject.report(key, Subject::wrong(json, "podSelector, namespaceSelector or ipBlock"), kPeerEffect);
    return std::nullopt;
  }
  if (!only_known_keys(json, key, {"ipBlock", "podSelector", "namespaceSelector"}, subject, kPeerEffect))
    return std::nullopt;
  if (block != nullptr) {
    if (pods != nullptr || namespaces != nullptr) {
      subject.report(key + ".ipBlock", "stands beside a selector, which it excludes", kPeerEffect);
      return std::nullopt;
    }
    auto read = decode_block(*block, key + ".ipBlock", subject);
    return read ? std::optional<Peer>(std::move(*read)) : std::nullopt;
  }
  PodSelector peer;
  auto of_pods = decode_selector(pods, key + ".podSelector", subject, kPeerEffect);
  auto of_namespaces = decode_selector(namespaces, key + ".namespaceSelector", subject, kPeerEffect);
  if (!of_pods.whole || !of_namespaces.whole) return std::nullopt;
  peer.pods = std::move(of_pods.selector);
  peer.namespaces = std::move(of_namespaces.selector);
  if (namespaces == nullptr) peer.ns = subject.ns;
  return peer;
}

bool decode_port_number(const Json& json, const std::string& key, const Subject& subject, PortMatch& port) {
  const Json* number = member(json, "port");
  const Json* end = member(json, "endPort");
  const auto in_range = [](const Json& value) {
    return value.is_number_integer() && value.get<std::int64_t>() >= 1 &&
           value.get<std::int64_t>() <= kMaxPort;
  };
  if (number != nullptr && number->is_string()) {
    port.name = number->get<std::string>();
    if (!valid_port_name(port.name)) {
      subject.report(key + ".port", Subject::wrong(*number, "a number from 1 to 65535 or the name of a port"),
                     kPortEffect);
      return false;
    }
  } else if (number != nullptr) {
    if (!in_range(*number)) {
      subject.report(key + ".port", Subject::wrong(*number, "a number from 1 to 65535 or the name of a port"),
                     kPortEffect);
      return false;
    }
    port.first = port.last = number->get<std::uint16_t>();
  }
  if (end == nullptr) return true;
  if (number == nullptr || !port.name.empty()) {
    subject.report(key + ".endPort", "needs a port with a number", kPortEffect);
    return false;
  }
  if (!in_range(*end) || end->get<std::int64_t>() < port.first) {
    subject.report(key + ".endPort", Subject::wrong(*end, "a number from port to 65535"), kPortEffect);
    return false;
  }
  port.last = end->get<std::uint16_t>();
  return true;
}

std::optional<PortMatch> decode_port(const Json& json, const std::string& key, const Subject& subject) {
  if (!json.is_object()) {
    subject.report(key, Subject::wrong(json, "an object"), kPortEffect);
    return std::nullopt;
  }
  if (!only_known_keys(json, key, {"protocol", "port", "endPort"}, subject, kPortEffect)) return std::nullopt;
  PortMatch port;
  if (const Json* given = member(json, "protocol")) {
    const auto protocol = given->is_string() ? decode_protocol(given->get<std::string>()) : std::nullopt;
    if (!protocol) {
      subject.report(key + ".protocol", Subject::wrong(*given, "TCP, UDP or SCTP"), kPortEffect);
      return std::nullopt;
    }
    port.protocol = *protocol;
  }
  if (!decode_port_number(json, key, subject, port)) return std::nullopt;
  return port;
}

// An absent or empty list means any; one that is no list means none.
template <class Item, class Decode>
void decode_list(const Json* json, const std::string& key, const Subject& subject, bool& any,
                 std::vector<Item>& into, const Decode& decode) {
  if (json != nullptr && !json->is_array()) {
    subject.report(key, Subject::wrong(*json, "a list"), kRuleEffect);
    return;
  }
  any = json == nullptr || json->empty();
  if (any) return;
  for (std::size_t i = 0; i < json->size(); i++) {
    auto item = decode((*json)[i], at(key, i), subject);
    if (item) into.push_back(std::move(*item));
  }
}

std::vector<Rule> decode_rules(const Json* json, const std::string& key, std::string_view peers,
                               const Subject& subject) {
  std::vector<Rule> rules;
  if (json == nullptr) return rules;
  if (!json->is_array()) {
    subject.report(key, Subject::wrong(*json, "a list of rules"), "it allows nothing");
    return rules;
  }
  for (std::size_t i = 0; i < json->size(); i++) {
    const Json& given = (*json)[i];
    const std::string place = at(key, i);
    Rule rule{.index = i};
    if (!given.is_object()) {
      subject.report(place, Subject::wrong(given, "an object"), kRuleEffect);
    } else if (only_known_keys(given, place, {peers, "ports"}, subject, kRuleEffect)) {
      decode_list(member(given, peers), place + "." + std::string(peers), subject, rule.any_peer, rule.peers,
                  decode_peer);
      decode_list(member(given, "ports"), place + ".ports", subject, rule.any_port, rule.ports, decode_port);
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

// In which directions the policy isolates; `readable` is cleared when that cannot be told, since rules that
// were not meant to be in force must not allow anything then.
std::array<bool, kDirections> decode_types(const Json& spec, const Subject& subject, bool& readable) {
  const Json* types = member(spec, "policyTypes");
  const Json* egress = member(spec, "egress");
  // An egress section that cannot be read is meant to isolate.
  const bool egress_rules = egress != nullptr && (!egress->is_array() || !egress->empty());
  if (types == nullptr || (types->is_array() && types->empty())) return {egress_rules, true};
  const std::string effect = "both directions are isolated, and the policy allows nothing";
  if (!types->is_array()) {
    subject.report("spec.policyTypes", Subject::wrong(*types, "a list of Ingress and Egress"), effect);
    readable = false;
    return {true, true};
  }
  std::array<bool, kDirections> isolates{};
  for (std::size_t i = 0; i < types->size(); i++) {
    const Json& type = (*types)[i];
    if (type == "Ingress") {
      isolates[static_cast<std::size_t>(Direction::kIngress)] = true;
    } else if (type == "Egress") {
      isolates[static_cast<std::size_t>(Direction::kEgress)] = true;
    } else {
      subject.report(at("spec.policyTypes", i), Subject::wrong(type, "Ingress or Egress"), effect);
      readable = false;
    }
  }
  return readable ? isolates : std::array<bool, kDirections>{true, true};
}

std::set<std::string> decode_policy_for(const Subject& subject) {
  std::set<std::string> networks;
  const auto found = subject.annotations.find(std::string(kPolicyFor));
  std::string_view rest =
      found == subject.annotations.end() ? std::string_view() : std::string_view(found->second);
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (item.empty()) continue;
    networks.insert(item.find('/') == std::string_view::npos ? subject.ns + "/" + std::string(item)
                                                             : std::string(item));
  }
  if (networks.empty()) {
    subject.report("metadata.annotations." + std::string(kPolicyFor), "names no network",
                   "the policy is about no interface");
  }
  return networks;
}

}  // namespace

Policy decode_network_policy(const Json& object, const std::string& kind, const Subject& subject) {
  Policy policy{.kind = kind, .ns = subject.ns, .name = subject.name};
  if (kind == "NetworkPolicy") {
    policy.networks.insert(std::string(kDefaultNetwork));
  } else {
    policy.networks = decode_policy_for(subject);
  }
  const Json* given = member(object, "spec");
  if (given != nullptr && !given->is_object())
    subject.report("spec", Subject::wrong(*given, "an object"),
                   "all pods of the namespace are isolated both ways");
  bool readable = given == nullptr || given->is_object();
  const Json spec = given != nullptr && readable ? *given : Json::object();
  only_known_keys(spec, "spec", {"podSelector", "policyTypes", "ingress", "egress"}, subject,
                  "it is left out");
  auto pods = decode_selector(member(spec, "podSelector"), "spec.podSelector", subject, kSubjectEffect);
  policy.subjects.push_back({.ns = subject.ns, .namespaces = {}, .pods = std::move(pods.selector)});
  policy.isolates =
      readable ? decode_types(spec, subject, readable) : std::array<bool, kDirections>{true, true};
  policy.rules = {decode_rules(member(spec, "egress"), "spec.egress", "to", subject),
                  decode_rules(member(spec, "ingress"), "spec.ingress", "from", subject)};
  if (!pods.whole || !readable || !subject.named) close(policy);
  return policy;
}

}  // namespace vmlane::policy
