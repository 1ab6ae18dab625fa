// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <random>
#include <string>
#include <vector>

#include "core/json.h"
#include "policy/probe.h"

namespace vmlane::test {

// Random objects for policy, as Json: a few namespaces, pods, nodes and policies of every kind, over so few
// labels, addresses and ports that most of what they say overlaps.
class PolicyWorld {
 public:
  explicit PolicyWorld(unsigned seed) : random_(seed) {}

  std::vector<Json> objects();
  // A probe between two of the pods, or addresses in and around the blocks that policies name.
  Json probe();
  // Such a probe without the way by Json.
  policy::Probe quick_probe();

  Json random_namespace(const std::string& name);
  Json random_pod(const std::string& ns, const std::string& name);
  Json random_node(const std::string& name);
  Json random_policy();

 private:
  int below(int count) { return std::uniform_int_distribution<int>(0, count - 1)(random_); }
  bool chance(int percent) { return below(100) < percent; }
  // Seldom something about audit.
  void add_mode(Json& metadata);
  Json labels();
  Json selector();
  Json cidr();
  Json peer();
  Json port();
  Json rules(const std::string& peers);
  Json cluster_rules(bool egress, bool baseline, bool old);
  Json cluster_peer(bool egress);
  Json cluster_ports(bool old, bool names);
  Json network_policy();
  Json cluster_policy();
  std::string address(bool v6);

  std::mt19937 random_;
  int policies_ = 0;
  bool has_default_ = false;  // of the baseline of v1alpha1 there may be one
  std::vector<std::string> pods_;
};

}  // namespace vmlane::test
