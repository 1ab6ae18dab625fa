// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_world.h"

#include <array>

namespace vmlane::test {
namespace {

constexpr std::array<const char*, 3> kNamespaces = {"x", "y", "z"};
constexpr std::array<const char*, 3> kNames = {"a", "b", "c"};
constexpr std::array<const char*, 2> kNetworks = {"x/blue", "y/red"};
constexpr std::array<const char*, 4> kOperators = {"In", "NotIn", "Exists", "DoesNotExist"};
constexpr std::array<const char*, 3> kProtocols = {"TCP", "UDP", "SCTP"};
constexpr std::array<const char*, 2> kPortNames = {"web", "dns"};

}  // namespace

Json PolicyWorld::labels() {
  Json labels = Json::object();
  for (const char* key : {"k", "l"}) {
    if (chance(70)) labels[key] = std::to_string(below(3));
  }
  return labels;
}

Json PolicyWorld::selector() {
  Json selector = Json::object();
  if (chance(30)) return selector;
  if (chance(50)) selector["matchLabels"] = {{"k", std::to_string(below(3))}};
  if (chance(50)) {
    Json expression = {{"key", chance(50) ? "k" : "l"},
                       {"operator", kOperators.at(static_cast<std::size_t>(below(4)))}};
    if (expression["operator"] == "In" || expression["operator"] == "NotIn")
      expression["values"] = {std::to_string(below(3)), std::to_string(below(3))};
    selector["matchExpressions"] = {expression};
  }
  return selector;
}

std::string PolicyWorld::address(bool v6) {
  const std::string last = std::to_string(below(24));
  return (v6 ? std::string("2001:db8::") : std::string("192.0.2.")).append(last);
}

Json PolicyWorld::cidr() {
  if (chance(15)) return chance(50) ? "0.0.0.0/0" : "::/0";
  if (chance(30)) return address(true).append("/").append(std::to_string(118 + below(11)));
  return address(false).append("/").append(std::to_string(22 + below(11)));
}

Json PolicyWorld::peer() {
  if (chance(25)) {
    Json block = {{"cidr", cidr()}};
    if (chance(50)) block["except"] = {cidr()};
    return {{"ipBlock", block}};
  }
  Json peer = Json::object();
  if (chance(60)) peer["podSelector"] = selector();
  if (chance(50) || peer.empty()) peer["namespaceSelector"] = selector();
  return peer;
}

Json PolicyWorld::port() {
  Json port = Json::object();
  if (chance(70)) port["protocol"] = kProtocols.at(static_cast<std::size_t>(below(3)));
  if (chance(30)) {
    port["port"] = kPortNames.at(static_cast<std::size_t>(below(2)));
  } else if (chance(80)) {
    port["port"] = 80 + below(4);
    if (chance(30)) port["endPort"] = 80 + below(6);
  }
  return port;
}

Json PolicyWorld::rules(const std::string& peers) {
  Json rules = Json::array();
  for (int i = below(4); i > 0; i--) {
    Json rule = Json::object();
    if (chance(75)) {
      rule[peers] = Json::array();
      for (int n = below(4); n > 0; n--) rule[peers].push_back(peer());
    }
    if (chance(60)) {
      rule["ports"] = Json::array();
      for (int n = below(4); n > 0; n--) rule["ports"].push_back(port());
    }
    rules.push_back(rule);
  }
  return rules;
}

void PolicyWorld::add_mode(Json& metadata) {
  if (chance(12))
    metadata["annotations"][std::string(policy::kModeAnnotation)] = chance(70) ? "audit" : "enforce";
}

Json PolicyWorld::network_policy() {
  Json spec = {{"podSelector", selector()}};
  if (chance(60))
    spec["policyTypes"] = chance(30) ? Json{"Ingress", "Egress"} : Json{chance(50) ? "Ingress" : "Egress"};
  if (chance(70)) spec["ingress"] = rules("from");
  if (chance(70)) spec["egress"] = rules("to");
  const bool multi = chance(30);
  Json metadata = {{"name", std::string("p").append(std::to_string(policies_++))},
                   {"namespace", kNamespaces.at(static_cast<std::size_t>(below(3)))}};
  if (multi)
    metadata["annotations"] = {
        {"k8s.v1.cni.cncf.io/policy-for",
         chance(30) ? "x/blue, y/red" : kNetworks.at(static_cast<std::size_t>(below(2)))}};
  add_mode(metadata);
  return {{"apiVersion", multi ? "k8s.cni.cncf.io/v1beta1" : "networking.k8s.io/v1"},
          {"kind", multi ? "MultiNetworkPolicy" : "NetworkPolicy"},
          {"metadata", metadata},
          {"spec", spec}};
}

Json PolicyWorld::cluster_peer(bool egress) {
  if (egress && chance(20)) return {{"networks", {cidr(), cidr()}}};
  if (egress && chance(10)) return {{"nodes", selector()}};
  if (chance(3)) return {{"galaxies", Json::object()}};
  if (chance(50)) return {{"namespaces", selector()}};
  return {{"pods", {{"namespaceSelector", selector()}, {"podSelector", selector()}}}};
}

Json PolicyWorld::cluster_ports(bool old, bool names) {
  Json ports = Json::array();
  for (int n = 1 + below(2); n > 0; n--) {
    const std::string name = kPortNames.at(static_cast<std::size_t>(below(2)));
    const std::string protocol = kProtocols.at(static_cast<std::size_t>(below(3)));
    const int number = 80 + below(4);
    if (names && chance(30)) {
      ports.push_back({{old ? "namedPort" : "destinationNamedPort", name}});
    } else if (old) {
      ports.push_back(
          chance(50) ? Json{{"portNumber", {{"protocol", protocol}, {"port", number}}}}
                     : Json{{"portRange", {{"protocol", protocol}, {"start", number}, {"end", number + 2}}}});
    } else {
      const std::string lower = protocol == "TCP" ? "tcp" : protocol == "UDP" ? "udp" : "sctp";
      const Json single = {{"number", number}};
      const Json range = {{"range", {{"start", number}, {"end", number + 2}}}};
      ports.push_back({{lower, {{"destinationPort", chance(50) ? single : range}}}});
    }
  }
  return ports;
}

Json PolicyWorld::cluster_rules(bool egress, bool baseline, bool old) {
  Json rules = Json::array();
  for (int i = below(4); i > 0; i--) {
    Json rule = {{"action", below(3) == 0 ? "Deny" : (old ? "Allow" : "Accept")}};
    if (chance(25) && !(baseline && old)) rule["action"] = "Pass";
    Json peers = Json::array();
    for (int n = 1 + below(2); n > 0; n--) peers.push_back(cluster_peer(egress));
    rule[egress ? "to" : "from"] = peers;
    if (chance(60)) rule[old ? "ports" : "protocols"] = cluster_ports(old, chance(50));
    rules.push_back(rule);
  }
  return rules;
}

Json PolicyWorld::cluster_policy() {
  const bool old = chance(30);
  const bool baseline = chance(40) && !(old && has_default_);
  has_default_ = has_default_ || (old && baseline);
  Json spec = {
      {"subject", chance(50)
                      ? Json{{"namespaces", selector()}}
                      : Json{{"pods", {{"namespaceSelector", selector()}, {"podSelector", selector()}}}}}};
  if (!old || !baseline) spec["priority"] = below(5);
  if (!old) spec["tier"] = baseline ? "Baseline" : "Admin";
  if (chance(70)) spec["ingress"] = cluster_rules(false, baseline, old);
  if (chance(70)) spec["egress"] = cluster_rules(true, baseline, old);
  const std::string kind = !old       ? "ClusterNetworkPolicy"
                           : baseline ? "BaselineAdminNetworkPolicy"
                                      : "AdminNetworkPolicy";
  const std::string name = old && baseline ? "default" : std::string("c").append(std::to_string(policies_++));
  Json metadata = {{"name", name}};
  add_mode(metadata);
  return {{"apiVersion", old ? "policy.networking.k8s.io/v1alpha1" : "policy.networking.k8s.io/v1alpha2"},
          {"kind", kind},
          {"metadata", metadata},
          {"spec", spec}};
}

Json PolicyWorld::random_policy() {
  return chance(65) ? network_policy() : cluster_policy();
}

Json PolicyWorld::random_namespace(const std::string& name) {
  Json metadata = {{"name", name}, {"labels", labels()}};
  add_mode(metadata);
  return {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", metadata}};
}

Json PolicyWorld::random_pod(const std::string& ns, const std::string& name) {
  Json ports = Json::array();
  for (const char* port : kPortNames) {
    if (chance(60))
      ports.push_back({{"name", port},
                       {"containerPort", 80 + below(4)},
                       {"protocol", kProtocols.at(static_cast<std::size_t>(below(3)))}});
  }
  Json status = {{"phase", chance(8) ? "Succeeded" : "Running"}};
  if (chance(92)) status["podIPs"] = {{{"ip", address(false)}}, {{"ip", address(true)}}};
  Json networks = Json::array();
  for (const char* network : kNetworks) {
    if (!chance(60)) continue;
    Json entry = {{"name", network}, {"interface", "net1"}};
    if (chance(80)) entry["ips"] = {address(false), address(true)};
    networks.push_back(entry);
  }
  Json metadata = {{"name", name},
                   {"namespace", ns},
                   {"labels", labels()},
                   {"annotations", {{"k8s.v1.cni.cncf.io/network-status", networks.dump()}}}};
  add_mode(metadata);
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", metadata},
          {"spec",
           {{"nodeName", chance(50) ? "n1" : "n2"},
            {"hostNetwork", chance(8)},
            {"containers", {{{"name", "c"}, {"ports", ports}}}}}},
          {"status", status}};
}

Json PolicyWorld::random_node(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "Node"},
          {"metadata", {{"name", name}, {"labels", labels()}}},
          {"status", {{"addresses", {{{"type", "InternalIP"}, {"address", address(chance(50))}}}}}}};
}

std::vector<Json> PolicyWorld::objects() {
  std::vector<Json> objects;
  for (const char* ns : kNamespaces) {
    if (chance(85)) objects.push_back(random_namespace(ns));
    for (const char* name : kNames) {
      objects.push_back(random_pod(ns, name));
      pods_.push_back(std::string(ns) + "/" + name);
    }
  }
  for (const char* node : {"n1", "n2"}) objects.push_back(random_node(node));
  for (int i = below(9); i > 0; i--) objects.push_back(random_policy());
  return objects;
}

Json PolicyWorld::probe() {
  const bool v6 = chance(35);
  const auto end = [&] {
    if (chance(75)) return pods_[static_cast<std::size_t>(below(static_cast<int>(pods_.size())))];
    return address(v6);
  };
  Json probe = {{"from", end()}, {"to", end()}, {"family", v6 ? "ipv6" : "ipv4"}, {"port", 79 + below(8)}};
  probe["network"] = chance(65) ? "default" : kNetworks.at(static_cast<std::size_t>(below(2)));
  probe["protocol"] = chance(12) ? "ICMP" : kProtocols.at(static_cast<std::size_t>(below(3)));
  return probe;
}

policy::Probe PolicyWorld::quick_probe() {
  constexpr std::array<std::uint8_t, 3> kNumbers = {policy::kTcp, policy::kUdp, policy::kSctp};
  policy::Probe probe;
  probe.v6 = chance(35);
  for (policy::End* end : {&probe.from, &probe.to}) {
    if (chance(75)) {
      end->pod = pods_[static_cast<std::size_t>(below(static_cast<int>(pods_.size())))];
    } else {
      end->address = *IpAddress::parse(address(probe.v6));
    }
  }
  if (!chance(65)) probe.network = kNetworks.at(static_cast<std::size_t>(below(2)));
  if (chance(12)) {
    probe.protocol = probe.v6 ? policy::kIcmpV6 : policy::kIcmp;
  } else {
    probe.protocol = kNumbers.at(static_cast<std::size_t>(below(3)));
    probe.port = static_cast<std::uint16_t>(79 + below(8));
  }
  return probe;
}

}  // namespace vmlane::test
