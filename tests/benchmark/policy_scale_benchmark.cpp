// SPDX-License-Identifier: Apache-2.0
// What policy costs at the scale that is promised: 100,000 pods and 10,000 policies compiled from nothing, in
// time and memory; the change of a label, from the object to the tables as readers see them; and a verdict.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <random>
#include <string>

#include "policy/store.h"

namespace vmlane::policy {
namespace {

constexpr std::uint32_t kNamespaces = 1000;
constexpr std::uint32_t kPodsOfNamespace = 100;
constexpr std::uint32_t kPoliciesOfNamespace = 10;
constexpr std::uint32_t kPods = kNamespaces * kPodsOfNamespace;
constexpr std::uint32_t kTeams = 50;
constexpr std::uint32_t kApps = 10;

// Time of the processor: nothing here waits, and others may be at work.
double now() {
  constexpr double kThousand = 1e3;
  constexpr double kMillion = 1e6;
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * kThousand + static_cast<double>(time.tv_nsec) / kMillion;
}

double milliseconds_since(double start) {
  return now() - start;
}

// A line of /proc/self/status, in MiB.
double memory(const std::string& name) {
  constexpr double kKib = 1024;
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) / kKib;
  }
  return 0;
}

void told(const std::string& what, double value, const std::string& unit, double limit) {
  std::printf("%-60s %10.2f %s, limit %g\n", what.c_str(), value, unit.c_str(), limit);
  EXPECT_LE(value, limit) << what;
}

std::string ns_name(std::uint32_t ns) {
  return "ns-" + std::to_string(ns);
}

// 198.18.0.0/15 and 2001:db8::/32 in order.
std::vector<IpAddress> addresses_of(std::uint32_t pod) {
  IpAddress v4{.v6 = false,
               .bytes = {198, static_cast<std::uint8_t>(18 + (pod >> 16)),
                         static_cast<std::uint8_t>(pod >> 8), static_cast<std::uint8_t>(pod)}};
  IpAddress v6{.v6 = true, .bytes = {0x20, 0x01, 0x0d, 0xb8}};
  for (std::size_t i = 0; i < sizeof pod; i++)
    v6.bytes.at(v6.bytes.size() - 1 - i) = static_cast<std::uint8_t>(pod >> (8 * i));
  return {v4, v6};
}

Pod pod_of(std::uint32_t number, const std::string& app) {
  Pod pod{.ns = ns_name(number / kPodsOfNamespace), .name = "pod-" + std::to_string(number)};
  pod.labels = {{"app", app},
                {"pod-template-hash", "h" + std::to_string(number / kApps)},
                {"statefulset.kubernetes.io/pod-name", pod.name},
                {"tier", number % 3 == 0 ? "front" : "back"}};
  pod.node = "node-" + std::to_string(number % 500);
  pod.ports = {{"web", kTcp, static_cast<std::uint16_t>(8080 + number % 2)}};
  pod.interfaces = {{std::string(kDefaultNetwork), addresses_of(number)}};
  return pod;
}

std::string app_of(std::uint32_t number) {
  return "app-" + std::to_string(number % kApps);
}

Selector equals(const std::string& key, const std::string& value) {
  return {{{key, Requirement::Operator::kIn, {value}}}};
}

// Mostly of pods of the namespace; every fifth of a team's, every tenth of blocks that pods are in as well.
Peer peer_of(const Policy& policy, std::uint32_t number) {
  const std::string app = "app-" + std::to_string((number * 7 + 3) % kApps);
  if (number % 10 == 9) {
    AddressBlock block{*IpPrefix::parse("198.18." + std::to_string(number % 256) + ".0/24"), {}};
    block.except.push_back(*IpPrefix::parse("198.18." + std::to_string(number % 256) + ".128/25"));
    return block;
  }
  if (number % 5 == 1)
    return PodSelector{.ns = {},
                       .namespaces = equals("team", "team-" + std::to_string(number % kTeams)),
                       .pods = equals("app", app)};
  return PodSelector{.ns = policy.ns, .namespaces = {}, .pods = equals("app", app)};
}

Policy policy_of(std::uint32_t number) {
  Policy policy{.kind = "NetworkPolicy", .ns = ns_name(number / kPoliciesOfNamespace)};
  policy.name = "policy-" + std::to_string(number);
  policy.networks.insert(std::string(kDefaultNetwork));
  policy.subjects.push_back({.ns = policy.ns, .namespaces = {}, .pods = equals("app", app_of(number))});
  policy.isolates = {number % 3 == 0, true};
  Rule rule{.index = 0, .any_peer = false};
  for (std::uint32_t i = 0; i < 3; i++) rule.peers.push_back(peer_of(policy, number + i));
  const auto port = static_cast<std::uint16_t>(80 + number % 20);
  rule.ports = {{.protocol = kTcp, .first = port, .last = port, .name = {}},
                {.protocol = kTcp, .first = 0, .last = 0xffff, .name = "web"}};
  policy.rules[1].push_back(rule);
  if (number % 3 == 0) policy.rules[0].push_back(rule);
  return policy;
}

void put(Store& store, const Pod& pod) {
  Objects one;
  one.pods.emplace(pod.id(), pod);
  store.put(one);
}

void put_everything(Store& store) {
  for (std::uint32_t number = 0; number < kNamespaces; number++) {
    Objects one;
    Namespace& ns = one.namespaces[ns_name(number)];
    ns.name = ns_name(number);
    ns.labels = {{"kubernetes.io/metadata.name", ns.name},
                 {"team", "team-" + std::to_string(number % kTeams)}};
    store.put(one);
  }
  for (std::uint32_t number = 0; number < kNamespaces * kPoliciesOfNamespace; number++) {
    Objects one;
    Policy policy = policy_of(number);
    one.policies.emplace(policy.key(), std::move(policy));
    store.put(one);
  }
  for (std::uint32_t number = 0; number < kPods; number++) put(store, pod_of(number, app_of(number)));
}

TEST(PolicyScaleBenchmark, HundredThousandPodsAndTenThousandPolicies) {
  { std::ofstream("/proc/self/clear_refs") << 5; }  // the peak counts from here
  const double before = memory("VmRSS");
  auto start = now();
  Store store;
  put_everything(store);
  const double objects = milliseconds_since(start);
  start = now();
  const Publication first = store.publish();
  const double tables = milliseconds_since(start);
  constexpr double kMib = 1 << 20;
  std::printf("objects %.0f ms, tables %.0f ms; block %.1f MiB; now %.1f MiB\n", objects, tables,
              static_cast<double>(first.block.size_bytes()) / kMib, memory("VmRSS") - before);
  told("compiled from nothing", (objects + tables) / 1000, "s", 3);
  told("peak of memory", memory("VmHWM") - before, "MiB", 150);

  std::vector<std::uint64_t> copy(first.block.begin(), first.block.end());
  std::mt19937 random(1);
  std::vector<double> took;
  int whole = 0;
  for (int round = 0; round < 3000; round++) {
    const auto number = static_cast<std::uint32_t>(random() % kPods);
    const Pod pod = pod_of(
        number, round % 2 == 0 ? "app-" + std::to_string(random() % kApps) : "new-" + std::to_string(round));
    start = now();
    put(store, pod);
    const Publication publication = store.publish();
    if (publication.whole) copy.assign(publication.block.begin(), publication.block.end());
    for (const Phase& phase : publication.phases) write_phase(copy, phase);
    took.push_back(milliseconds_since(start));
    whole += publication.whole ? 1 : 0;
  }
  std::ranges::sort(took);
  std::printf("label change: median %.3f ms, most %.2f ms, %d of %zu made the block anew\n",
              took[took.size() / 2], took.back(), whole, took.size());
  told("label of a pod changed, 99 of 100", took[took.size() * 99 / 100], "ms", 10);
  took.clear();
  whole = 0;
  for (std::uint32_t round = 0; round < 200; round++) {
    Objects one;
    Policy policy = policy_of(static_cast<std::uint32_t>(random() % (kNamespaces * kPoliciesOfNamespace)));
    policy.rules[1][0].ports[0].first = 1;
    policy.rules[1][0].peers.push_back(PodSelector{
        .ns = policy.ns, .namespaces = {}, .pods = equals("tier", round % 2 == 0 ? "front" : "back")});
    one.policies.emplace(policy.key(), std::move(policy));
    start = now();
    store.put(one);
    whole += store.publish().whole ? 1 : 0;
    took.push_back(milliseconds_since(start));
  }
  std::ranges::sort(took);
  std::printf("policy change: most %.2f ms, %d of %zu made the block anew\n", took.back(), whole,
              took.size());
  told("policy changed, median", took[took.size() / 2], "ms", 10);
}

}  // namespace
}  // namespace vmlane::policy
