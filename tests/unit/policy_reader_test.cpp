// SPDX-License-Identifier: Apache-2.0
// Objects that cannot be read in part, and the limits of tables. tests/conformance/policy/invalid has every
// field of every kind.
#include <gtest/gtest.h>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"

namespace vmlane::policy {
namespace {

// x/a is what the policies are about; x/b and y/a are others.
const char* const kWorld = R"(
{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {ns: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: "y", labels: {ns: "y"}}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {pod: a}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: web, containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 192.0.2.1}, {ip: "2001:db8::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {pod: b}}
status: {phase: Running, podIP: 192.0.2.2}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: "y", labels: {pod: a}}
status: {phase: Running, podIP: 192.0.2.17}
---
)";

Objects read(const std::string& text) {
  Objects objects;
  const auto added = add_text(objects, kWorld + text, "w.yaml");
  EXPECT_TRUE(added) << added.error().text();
  return objects;
}

// By tables and oracle, which must agree.
Verdict ask(const Objects& objects, const std::string& from, const std::string& to, int port = 80,
            const std::string& protocol = "TCP", const std::string& network = "default") {
  const auto probe = parse_probe(
      {{"from", from}, {"to", to}, {"port", port}, {"protocol", protocol}, {"network", network}}, "probe");
  EXPECT_TRUE(probe) << probe.error().text();
  const auto expected = ask_oracle(objects, *probe);
  const auto found = compile(objects).ask(*probe);
  EXPECT_TRUE(expected && found);
  EXPECT_EQ(to_json(*found), to_json(*expected));
  return *found;
}

bool allowed(const Objects& objects, const std::string& from, const std::string& to, int port = 80) {
  return ask(objects, from, to, port).allowed();
}

std::string policy_of(const std::string& spec) {
  return "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: " +
         spec + "}";
}

TEST(PolicyReader, SpecThatCannotBeReadIsolatesItsNamespaceBothWays) {
  const Objects objects = read(policy_of("7"));
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_EQ(objects.problems[0].key, "spec");
  EXPECT_FALSE(allowed(objects, "x/b", "x/a"));
  EXPECT_FALSE(allowed(objects, "x/b", "y/a"));
  EXPECT_TRUE(allowed(objects, "y/a", "203.0.113.7"));
}

TEST(PolicyReader, OneBadPeerLeavesTheOthersInForce) {
  const Objects objects = read(
      policy_of("{ingress: [{from: [{ipBlock: {cidr: bad}}, {podSelector: {matchLabels: {pod: b}}}]}]}"));
  EXPECT_EQ(objects.problems.size(), 1U);
  EXPECT_TRUE(allowed(objects, "x/b", "x/a"));
  EXPECT_FALSE(allowed(objects, "y/a", "x/a"));
}

TEST(PolicyReader, BadEgressDoesNotTouchIngress) {
  const Objects objects =
      read(policy_of("{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{}]}]}"));
  EXPECT_FALSE(allowed(objects, "x/a", "x/b"));
  EXPECT_TRUE(allowed(objects, "x/b", "x/a"));
}

TEST(PolicyReader, PolicyGivenTwiceAllowsNothing) {
  const std::string policy = policy_of("{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}");
  EXPECT_TRUE(allowed(read(policy), "x/b", "x/a"));
  const Objects objects = read(policy + "\n---\n" + policy);
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_NE(objects.problems[0].reason.find("given twice"), std::string::npos);
  EXPECT_FALSE(allowed(objects, "x/b", "x/a"));
  EXPECT_TRUE(allowed(objects, "x/b", "y/a"));
}

// Objects of which nobody can say whose they are touch nobody.
TEST(PolicyReader, PolicyWhoseNamespaceCannotBeReadIsAboutNobody) {
  const Objects objects = read(
      "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: 7}, spec: "
      "{podSelector: {}}}\n---\n"
      "{apiVersion: v1, kind: Pod, metadata: {name: d, namespace: default}, status: {podIP: 192.0.2.33}}");
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_EQ(objects.problems[0].key, "metadata.namespace");
  EXPECT_TRUE(allowed(objects, "x/a", "default/d"));
  EXPECT_TRUE(allowed(objects, "x/b", "x/a"));
}

TEST(PolicyReader, NodeThatCannotBeReadIsNoOnesNode) {
  for (const auto& [node, key] :
       {std::pair("metadata: {name: n9, labels: 7}, status: {addresses: [{type: InternalIP, address: "
                  "198.51.100.1}]}",
                  "metadata.labels"),
        std::pair("metadata: {name: n9}, status: {addresses: 7}", "status.addresses"),
        std::pair("metadata: {name: n9}, status: {addresses: [{type: InternalIP, address: 198.51}]}",
                  "status.addresses[0].address")}) {
    const Objects objects = read(policy_of("{podSelector: {matchLabels: {pod: a}}, ingress: []}") +
                                 "\n---\n{apiVersion: v1, kind: Node, " + node + "}");
    ASSERT_EQ(objects.problems.size(), 1U) << node;
    EXPECT_EQ(objects.problems[0].key, key);
    EXPECT_FALSE(allowed(objects, "198.51.100.1", "x/a"));
    EXPECT_TRUE(allowed(objects, "x/a", "x/b"));
  }
}

TEST(PolicyReader, PodsOfANamespaceThatCannotBeReadGetNothing) {
  const Objects objects = read(
      "{apiVersion: v1, kind: Namespace, metadata: {name: z, labels: [a]}}\n---\n"
      "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: z}, status: {podIP: 192.0.2.33}}");
  EXPECT_EQ(objects.problems.size(), 1U);
  EXPECT_FALSE(allowed(objects, "x/a", "z/a"));
  EXPECT_TRUE(allowed(objects, "x/a", "x/b"));
}

TEST(PolicyReader, MultiNetworkPolicyWithoutNetworkIsReportedAndAboutNothing) {
  const Objects objects = read(
      "{apiVersion: k8s.cni.cncf.io/v1beta2, kind: MultiNetworkPolicy, metadata: {name: m, namespace: x}, "
      "spec: {}}");
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_EQ(objects.problems[0].key, "metadata.annotations.k8s.v1.cni.cncf.io/policy-for");
  EXPECT_TRUE(allowed(objects, "x/b", "x/a"));
}

TEST(PolicyReader, ClusterPolicyWithoutSubjectIsAboutNobody) {
  const Objects objects = read(
      "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: c}, "
      "spec: {tier: Admin, priority: 1, ingress: [{action: Deny, from: [{namespaces: {}}]}]}}");
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_EQ(objects.problems[0].key, "spec.subject");
  EXPECT_TRUE(allowed(objects, "x/b", "x/a"));
}

TEST(PolicyReader, ClusterRulesThatAreNoListDenyTheirDirection) {
  const Objects objects = read(
      "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: c}, "
      "spec: "
      "{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: 7}}");
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_EQ(objects.problems[0].key, "spec.ingress");
  EXPECT_FALSE(allowed(objects, "y/a", "x/a"));
  EXPECT_TRUE(allowed(objects, "x/a", "y/a"));
}

TEST(PolicyReader, AddressOfTwoPodsIsNobodys) {
  const Objects objects =
      read(policy_of("{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}") +
           "\n---\n{apiVersion: v1, kind: Pod, metadata: {name: q, namespace: \"y\"}, status: {podIP: "
           "192.0.2.2}}");
  EXPECT_FALSE(allowed(objects, "x/b", "x/a"));
  const Store compiled = compile(objects);
  ASSERT_EQ(compiled.problems().size(), 1U);
  EXPECT_NE(compiled.problems()[0].reason.find("192.0.2.2"), std::string::npos);
}

TEST(PolicyReader, PodThatHasEndedOwnsNoAddress) {
  const Objects objects =
      read(policy_of("{podSelector: {matchLabels: {app: job}}, policyTypes: [Ingress, Egress]}") +
           "\n---\n{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: x, labels: {app: job}}, "
           "status: {phase: Succeeded, podIP: 192.0.2.2}}");
  EXPECT_TRUE(allowed(objects, "x/a", "x/b"));
  EXPECT_EQ(ask(objects, "x/a", "x/job").ingress.reason, Reason::kUnreachable);
}

TEST(PolicyReader, MoreRulesThanTheTablesHoldDenyAndNameThePolicy) {
  Json rules = Json::array();
  for (int i = 0; i <= VMLANE_POLICY_MAX_RULES; i++) rules.push_back({{"ports", {{{"port", i + 1}}}}});
  const Json policy = {{"apiVersion", "networking.k8s.io/v1"},
                       {"kind", "NetworkPolicy"},
                       {"metadata", {{"name", "many"}, {"namespace", "x"}}},
                       {"spec", {{"podSelector", {{"matchLabels", {{"pod", "a"}}}}}, {"ingress", rules}}}};
  Objects objects = read("");
  add_object(objects, policy, "many.json");
  const Store compiled = compile(objects);
  ASSERT_EQ(compiled.problems().size(), 1U);
  EXPECT_EQ(compiled.problems()[0].id, "x/many");
  const auto probe = parse_probe({{"from", "x/b"}, {"to", "x/a"}, {"port", 80}}, "probe");
  ASSERT_TRUE(probe);
  const auto verdict = compiled.ask(*probe);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->ingress.reason, Reason::kTooLarge);
  EXPECT_FALSE(verdict->allowed());
}

TEST(PolicyReader, RowsWithASummaryFindEveryRule) {
  Json rules = Json::array();
  constexpr int kRules = 5000;
  for (int i = 0; i < kRules; i++) rules.push_back({{"ports", {{{"port", i + 1}}}}});
  Objects objects = read("");
  add_object(objects,
             {{"apiVersion", "networking.k8s.io/v1"},
              {"kind", "NetworkPolicy"},
              {"metadata", {{"name", "many"}, {"namespace", "x"}}},
              {"spec", {{"podSelector", {{"matchLabels", {{"pod", "a"}}}}}, {"ingress", rules}}}},
             "many.json");
  const Store compiled = compile(objects);
  for (const int port : {1, 64, 65, 512, 513, 4096, 4097, 4999, 5000, 5001}) {
    const auto probe = parse_probe({{"from", "x/b"}, {"to", "x/a"}, {"port", port}}, "probe");
    ASSERT_TRUE(probe);
    const auto verdict = compiled.ask(*probe);
    ASSERT_TRUE(verdict);
    EXPECT_EQ(verdict->allowed(), port <= kRules) << port;
    if (port <= kRules) {
      EXPECT_EQ(verdict->ingress.rule, static_cast<std::size_t>(port - 1));
    }
  }
}

TEST(PolicyReader, TablesCutShortNeverAllowWhatWasDenied) {
  Store store = compile(read(policy_of("{podSelector: {matchLabels: {pod: a}}, ingress: []}")));
  const auto block = store.publish().block;
  const vmlane_policy_question question{.endpoint = store.endpoint("x/a", "default").value(),
                                        .group = 0,
                                        .own_node = 0,
                                        .port = 80,
                                        .protocol = kTcp,
                                        .direction = VMLANE_POLICY_INGRESS};
  for (std::uint32_t size = 0; size <= block.size_bytes(); size += VMLANE_POLICY_LINE) {
    const vmlane_policy_tables cut{block.data(), size};
    EXPECT_EQ(vmlane_policy_judge(&cut, &question).allowed, 0U) << size;
  }
}

TEST(PolicyReader, TablesOfAnotherMajorVersionAreRefused) {
  Store store = compile(read(""));
  const auto block = store.publish().block;
  std::vector<std::uint64_t> words(block.begin(), block.end());
  reinterpret_cast<vmlane_policy_header*>(words.data())->major++;
  const vmlane_policy_tables tables{words.data(), static_cast<std::uint32_t>(block.size_bytes())};
  const vmlane_policy_question question{.endpoint = store.endpoint("x/a", "default").value(),
                                        .group = 0,
                                        .own_node = 0,
                                        .port = 80,
                                        .protocol = kTcp,
                                        .direction = VMLANE_POLICY_INGRESS};
  const auto answer = vmlane_policy_judge(&tables, &question);
  EXPECT_EQ(answer.allowed, 0U);
  EXPECT_EQ(answer.reason, static_cast<std::uint32_t>(VMLANE_POLICY_BAD_TABLES));
}

}  // namespace
}  // namespace vmlane::policy
