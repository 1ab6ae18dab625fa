// SPDX-License-Identifier: Apache-2.0
// What the tables cannot hold: it is named, those concerned are closed in that direction, and nobody else is.
#include <gtest/gtest.h>

#include "policy/store.h"
#include "policy/verdict.h"

namespace vmlane::policy {
namespace {

constexpr std::size_t kWeb = static_cast<std::size_t>(Direction::kIngress);

std::string address(std::uint32_t number) {
  return "10." + std::to_string(number >> 16) + "." + std::to_string(number >> 8 & 255) + "." +
         std::to_string(number & 255);
}

PodSelector with_label(const std::string& key, const std::string& value = {}) {
  Requirement requirement{.key = key, .op = Requirement::Operator::kExists, .values = {}};
  if (!value.empty()) requirement = {.key = key, .op = Requirement::Operator::kIn, .values = {value}};
  return {.ns = "blue", .namespaces = {}, .pods = {.requirements = {requirement}}};
}

AddressBlock block(const std::string& cidr) {
  return {.cidr = IpPrefix::parse(cidr).value(), .except = {}};
}

// blue/web, which the policy "big" isolates, and blue/other, which a small one does.
class PolicyLimits : public ::testing::Test {
 protected:
  PolicyLimits() {
    big_ = policy("big", "web");
    Policy small = policy("small", "other");
    small.rules[kWeb].push_back(
        {.index = 0, .any_port = true, .peers = {block("203.0.113.0/24")}, .ports = {}});
    objects_.policies[small.key()] = small;
    add_pod("web", "192.0.2.10", {{"app", "web"}});
    add_pod("other", "192.0.2.11", {{"app", "other"}});
  }

  static Policy policy(const std::string& name, const std::string& app) {
    Policy policy;
    policy.kind = "NetworkPolicy";
    policy.ns = "blue";
    policy.name = name;
    policy.subjects = {with_label("app", app)};
    policy.networks = {std::string(kDefaultNetwork)};
    policy.isolates[kWeb] = true;
    return policy;
  }
  void add_pod(const std::string& name, const std::string& ip, Labels labels) {
    Pod pod;
    pod.ns = "blue";
    pod.name = name;
    pod.labels = std::move(labels);
    pod.interfaces = {{.network = std::string(kDefaultNetwork), .addresses = {*IpAddress::parse(ip)}}};
    objects_.pods[pod.id()] = std::move(pod);
  }
  void add_rule(std::vector<Peer> peers, std::vector<PortMatch> ports = {}) {
    auto& rules = big_.rules[kWeb];
    const bool any_port = ports.empty();
    rules.push_back(
        {.index = rules.size(), .any_port = any_port, .peers = std::move(peers), .ports = std::move(ports)});
  }

  Store compile_all(std::size_t max_bytes = Store::kMaxBytes) {
    objects_.policies[big_.key()] = big_;
    Store store(max_bytes);
    store.put(objects_);
    store.publish();
    return store;
  }
  static Verdict ask(const Store& store, const std::string& from, const std::string& to,
                     std::uint16_t port = 80) {
    const auto end = [](const std::string& text) { return parse_end(text).value(); };
    return store.ask({.from = end(from), .to = end(to), .port = port}).value();
  }
  // The policy is named with what is too much, and closes its own pod in its own direction.
  static void expect_refused(const Store& store, const std::string& from, const std::string& why) {
    ASSERT_EQ(store.problems().size(), 1U);
    const Problem problem = store.problems()[0];
    EXPECT_EQ(problem.kind + " " + problem.id, "NetworkPolicy blue/big");
    EXPECT_EQ(problem.key, "spec.ingress");
    EXPECT_NE(problem.reason.find(why), std::string::npos) << problem.reason;
    EXPECT_NE(problem.effect.find("pod blue/web"), std::string::npos) << problem.effect;
    const Judgement closed = ask(store, from, "blue/web").ingress;
    EXPECT_FALSE(closed.allowed);
    EXPECT_EQ(closed.reason, Reason::kTooLarge);
    EXPECT_EQ(closed.policy, "blue/big");
    EXPECT_TRUE(ask(store, "blue/web", "203.0.113.9").allowed()) << "the other direction";
    EXPECT_TRUE(ask(store, "203.0.113.9", "blue/other").allowed());
    EXPECT_EQ(ask(store, "198.51.100.9", "blue/other").ingress.policy, "blue/small");
  }
  static void expect_taken(const Store& store, const std::string& from) {
    EXPECT_TRUE(store.problems().empty()) << store.problems()[0].text();
    EXPECT_TRUE(ask(store, from, "blue/web").allowed());
    EXPECT_FALSE(ask(store, "198.51.100.9", "blue/web").allowed());
  }

  Objects objects_;
  Policy big_;
};

TEST_F(PolicyLimits, RulesOfOnePod) {
  for (std::uint32_t i = 0; i < VMLANE_POLICY_MAX_RULES; i++) add_rule({block("10.0.0.0/8")});
  expect_taken(compile_all(), address(1));
  add_rule({block("10.0.0.0/8")});
  expect_refused(compile_all(), address(1), std::to_string(VMLANE_POLICY_MAX_RULES) + " rules");
}

// Those of several policies together.
TEST_F(PolicyLimits, RulesOfOnePodFromSeveralPolicies) {
  Policy first = policy("a-first", "web");
  for (std::size_t i = 0; i < VMLANE_POLICY_MAX_RULES; i++)
    first.rules[kWeb].push_back({.index = i, .any_port = true, .peers = {block("10.0.0.0/8")}, .ports = {}});
  objects_.policies[first.key()] = first;
  add_rule({block("10.0.0.0/8")});
  expect_refused(compile_all(), address(1), std::to_string(VMLANE_POLICY_MAX_RULES) + " rules");
}

TEST_F(PolicyLimits, RulesOfOnePolicyThatNobodyMeets) {
  // A rule for no port makes none of the tables.
  constexpr std::size_t kMost = 0xffff;
  auto& rules = big_.rules[kWeb];
  const Rule none{.index = 0, .any_peer = true, .peers = {}, .ports = {}};
  rules.assign(kMost - 1, none);
  for (std::size_t i = 0; i < rules.size(); i++) rules[i].index = i;
  add_rule({block("10.0.0.0/8")});
  expect_taken(compile_all(), address(1));
  rules.push_back(rules.back());
  rules.back().index = kMost;
  expect_refused(compile_all(), address(1), std::to_string(kMost) + " rules");
}

// Seventeen rules of which each pod meets others: more combinations than a number of two bytes tells apart.
TEST_F(PolicyLimits, ClassesOfPeers) {
  constexpr std::uint32_t kBits = 17;
  for (std::uint32_t bit = 0; bit < kBits; bit++) add_rule({with_label("b" + std::to_string(bit))});
  const auto add = [&](std::uint32_t number) {
    Labels labels;
    for (std::uint32_t bit = 0; bit < kBits; bit++) {
      if ((number >> bit & 1) != 0) labels["b" + std::to_string(bit)] = "";
    }
    add_pod("p" + std::to_string(number), address(number), std::move(labels));
  };
  // The row of what meets no rule is one of them.
  for (std::uint32_t number = 1; number < VMLANE_POLICY_MAX_CLASSES; number++) add(number);
  Store store = compile_all();
  expect_taken(store, "blue/p1");
  expect_taken(store, "blue/p65534");
  for (std::uint32_t number = VMLANE_POLICY_MAX_CLASSES; number < VMLANE_POLICY_MAX_CLASSES + 2; number++)
    add(number);
  expect_refused(compile_all(), "blue/p1", std::to_string(VMLANE_POLICY_MAX_CLASSES + 2) + " classes");
  // The same by changing what there is.
  Objects more;
  for (const char* name : {"blue/p65535", "blue/p65536"}) more.pods[name] = objects_.pods.at(name);
  store.put(more);
  store.publish();
  expect_refused(store, "blue/p1", "classes");
}

TEST_F(PolicyLimits, ClassesOfPorts) {
  constexpr std::uint32_t kBits = 17;
  std::vector<std::vector<PortMatch>> ports(kBits);
  for (std::uint32_t number = 1; number < VMLANE_POLICY_MAX_CLASSES + 2; number++) {
    const auto port = static_cast<std::uint16_t>(number);
    const auto protocol = static_cast<std::uint8_t>(number <= 0xffff ? kTcp : kUdp);
    for (std::uint32_t bit = 0; bit < kBits; bit++) {
      if ((number >> bit & 1) != 0)
        ports[bit].push_back({.protocol = protocol, .first = port, .last = port, .name = {}});
    }
  }
  for (auto& of_rule : ports) add_rule({block("10.0.0.0/8")}, std::move(of_rule));
  expect_refused(compile_all(), address(1), "classes");
}

TEST_F(PolicyLimits, BytesOfOnePod) {
  constexpr std::uint32_t kRules = 10'000;
  for (std::uint32_t i = 0; i < kRules; i++)
    add_rule({block(address(i) + "/32")},
             {{.first = static_cast<std::uint16_t>(i + 1), .last = 0xffff, .name = {}}});
  expect_refused(compile_all(), address(1), "bytes");
}

// No single one is to blame, so nobody is let through, and that is said.
TEST_F(PolicyLimits, BytesOfAllTogether) {
  add_rule({block("10.0.0.0/8")});
  constexpr std::size_t kEnough = std::size_t{4} << 20;
  expect_taken(compile_all(kEnough), address(1));
  for (std::uint32_t i = 0; i < 20'000; i++) add_pod("p" + std::to_string(i), address(i), {});
  const Store store = compile_all(std::size_t{1} << 20);
  ASSERT_EQ(store.problems().size(), 1U);
  EXPECT_NE(store.problems()[0].reason.find("1048576 bytes"), std::string::npos)
      << store.problems()[0].text();
  EXPECT_NE(store.problems()[0].effect.find("every pod"), std::string::npos);
  for (const char* pod : {"blue/web", "blue/other", "blue/p7"})
    EXPECT_FALSE(ask(store, "203.0.113.9", pod).allowed()) << pod;
}

// What is too large is mended by making it smaller, without a restart.
TEST_F(PolicyLimits, WhatIsMadeSmallerIsInForceAgain) {
  for (std::uint32_t i = 0; i < VMLANE_POLICY_MAX_RULES + 1; i++) add_rule({block("10.0.0.0/8")});
  Store store = compile_all();
  expect_refused(store, address(1), "rules");
  big_.rules[kWeb].resize(1);
  Objects smaller;
  smaller.policies[big_.key()] = big_;
  store.put(smaller);
  store.publish();
  expect_taken(store, address(1));
}

}  // namespace
}  // namespace vmlane::policy
