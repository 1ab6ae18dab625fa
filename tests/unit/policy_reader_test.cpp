// SPDX-License-Identifier: Apache-2.0
// Each invalid field of each kind: what is reported, and that nobody is let in by it.
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

struct BadField {
  const char* spec;
  const char* key;
  const char* reason;
};

// NOLINTNEXTLINE(readability-identifier-naming): GoogleTest finds it by this name.
void PrintTo(const BadField& field, std::ostream* out) {
  *out << field.spec;
}

class BadNetworkPolicy : public ::testing::TestWithParam<BadField> {};

// Every one selects x/a, and would let x/b in if what is wrong were taken as absent.
TEST_P(BadNetworkPolicy, IsReportedAndClosedForItsOwnPods) {
  const BadField& bad = GetParam();
  const Objects objects = read(policy_of(bad.spec));
  ASSERT_FALSE(objects.problems.empty());
  const Problem& problem = objects.problems.front();
  EXPECT_EQ(problem.kind, "NetworkPolicy");
  EXPECT_EQ(problem.id, "x/p");
  EXPECT_EQ(problem.key, bad.key);
  EXPECT_NE(problem.reason.find(bad.reason), std::string::npos) << problem.reason;
  EXPECT_FALSE(allowed(objects, "x/b", "x/a"));
  EXPECT_TRUE(allowed(objects, "x/b", "y/a"));
  EXPECT_TRUE(allowed(objects, "y/a", "x/b"));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadNetworkPolicy,
    ::testing::Values(
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: 7}", "spec.ingress", "is 7"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [7]}", "spec.ingress[0]", "is 7"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{form: []}]}", "spec.ingress[0].form",
                 "not known"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: {}}]}", "spec.ingress[0].from",
                 "a list"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{}]}]}", "spec.ingress[0].from[0]",
                 "podSelector"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: "
                 "0.0.0.0/0}}]}]}",
                 "spec.ingress[0].from[0].ipBlock", "excludes"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: 5}]}]}",
                 "spec.ingress[0].from[0].podSelector", "selector"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: "
                 "7}}}]}]}",
                 "spec.ingress[0].from[0].podSelector.matchLabels.pod", "a string"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: "
                 "[{key: pod, operator: in, values: [b]}]}}]}]}",
                 "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator", "DoesNotExist"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: "
                 "[{key: pod, operator: NotIn, values: []}]}}]}]}",
                 "spec.ingress[0].from[0].podSelector.matchExpressions[0].values", "needs some"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: "
                 "[{key: pod, operator: Exists, values: [b]}]}}]}]}",
                 "spec.ingress[0].from[0].podSelector.matchExpressions[0].values", "takes none"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: "
                 "[{operator: Exists}]}}]}]}",
                 "spec.ingress[0].from[0].podSelector.matchExpressions[0].key", "no label"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {}}]}]}",
                 "spec.ingress[0].from[0].ipBlock.cidr", "address block"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.2}}]}]}",
                 "spec.ingress[0].from[0].ipBlock.cidr", "address block"},
        BadField{
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/33}}]}]}",
            "spec.ingress[0].from[0].ipBlock.cidr", "192.0.2.0/33"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, "
                 "except: [198.51.100.0/25]}}]}]}",
                 "spec.ingress[0].from[0].ipBlock.except[0]", "not a part of"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, "
                 "except: [192.0.2.0/24]}}]}]}",
                 "spec.ingress[0].from[0].ipBlock.except[0]", "not a part of"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: 80}]}", "spec.ingress[0].ports",
                 "a list"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [80]}]}",
                 "spec.ingress[0].ports[0]", "an object"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: ICMP}]}]}",
                 "spec.ingress[0].ports[0].protocol", "TCP, UDP or SCTP"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 0}]}]}",
                 "spec.ingress[0].ports[0].port", "is 0"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 65616}]}]}",
                 "spec.ingress[0].ports[0].port", "65616"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: \"80\"}]}]}",
                 "spec.ingress[0].ports[0].port", "name of a port"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{endPort: 90}]}]}",
                 "spec.ingress[0].ports[0].endPort", "needs a port"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: web, endPort: 90}]}]}",
                 "spec.ingress[0].ports[0].endPort", "needs a port"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80, endPort: 79}]}]}",
                 "spec.ingress[0].ports[0].endPort", "is 79"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{Port: 80}]}]}",
                 "spec.ingress[0].ports[0].Port", "not known"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingres]}", "spec.policyTypes[0]",
                 "Ingress or Egress"},
        BadField{"{podSelector: {matchLabels: {pod: a}}, policyTypes: Egress}", "spec.policyTypes", "a list"},
        // What selects the policy's own pods counts as met, and nothing is allowed to them.
        BadField{"{podSelector: {matchLabels: {pod: a}, matchExpressions: [{key: x, operator: Has}]}, "
                 "ingress: [{}]}",
                 "spec.podSelector.matchExpressions[0].operator", "Has"}));

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

// Fields of pod x/q, whose address is 192.0.2.9 unless `spec` of the case says otherwise.
class BadPod : public ::testing::TestWithParam<BadField> {};

TEST_P(BadPod, IsReportedAndGetsAndSendsNothing) {
  const Objects objects = read("{apiVersion: v1, kind: Pod, " + std::string(GetParam().spec) + "}");
  ASSERT_EQ(objects.problems.size(), 1U);
  EXPECT_EQ(objects.problems[0].id, "x/q");
  EXPECT_EQ(objects.problems[0].key, GetParam().key);
  EXPECT_NE(objects.problems[0].reason.find(GetParam().reason), std::string::npos)
      << objects.problems[0].reason;
  EXPECT_FALSE(allowed(objects, "x/q", "x/a"));
  EXPECT_FALSE(allowed(objects, "x/a", "x/q"));
  EXPECT_TRUE(allowed(objects, "x/a", "x/b"));
}

#define POD "metadata: {name: q, namespace: x}, "
#define ADDRESS ", status: {podIP: 192.0.2.9}"
INSTANTIATE_TEST_SUITE_P(
    Fields, BadPod,
    ::testing::Values(
        BadField{"metadata: {name: q, namespace: x, labels: {on: yes}}" ADDRESS, "metadata.labels.on",
                 "a string"},
        BadField{"metadata: {name: q, namespace: x, labels: [a]}" ADDRESS, "metadata.labels",
                 "object of strings"},
        BadField{"metadata: {name: q, namespace: x, annotations: [a]}" ADDRESS, "metadata.annotations",
                 "object of strings"},
        BadField{"metadata: {name: q, namespace: x, annotations: {k8s.v1.cni.cncf.io/network-status: "
                 "[{}]}}" ADDRESS,
                 "metadata.annotations.k8s.v1.cni.cncf.io/network-status", "a string"},
        BadField{"metadata: {name: q, namespace: x, annotations: {k8s.v1.cni.cncf.io/network-status: "
                 "'[{'}}" ADDRESS,
                 "metadata.annotations.k8s.v1.cni.cncf.io/network-status", "no JSON list"},
        BadField{"metadata: {name: q, namespace: x, annotations: {k8s.v1.cni.cncf.io/network-status: "
                 "'[{}]'}}" ADDRESS,
                 "metadata.annotations.k8s.v1.cni.cncf.io/network-status[0]", "name of a network"},
        BadField{"metadata: {name: q, namespace: x, annotations: {k8s.v1.cni.cncf.io/network-status: "
                 "'[{\"name\":\"n\",\"ips\":7}]'}}" ADDRESS,
                 "metadata.annotations.k8s.v1.cni.cncf.io/network-status[0].ips", "a list"},
        BadField{"metadata: {name: q, namespace: x, annotations: {k8s.v1.cni.cncf.io/network-status: "
                 "'[{\"name\":\"n\",\"ips\":[\"192.0.2\"]}]'}}" ADDRESS,
                 "metadata.annotations.k8s.v1.cni.cncf.io/network-status[0].ips[0]", "an IP address"},
        BadField{POD "spec: 7" ADDRESS, "spec", "an object"},
        BadField{POD "spec: {nodeName: 7}" ADDRESS, "spec.nodeName", "a string"},
        BadField{POD "spec: {hostNetwork: 7}" ADDRESS, "spec.hostNetwork", "true or false"},
        BadField{POD "spec: {containers: 7}" ADDRESS, "spec.containers", "a list"},
        BadField{POD "spec: {initContainers: 7}" ADDRESS, "spec.initContainers", "a list"},
        BadField{POD "spec: {containers: [{ports: 7}]}" ADDRESS, "spec.containers[0].ports", "a list"},
        BadField{POD "spec: {containers: [{ports: [{name: web, containerPort: 0}]}]}" ADDRESS,
                 "spec.containers[0].ports[0]", "containerPort"},
        BadField{POD "spec: {containers: [{ports: [{name: 7, containerPort: 80}]}]}" ADDRESS,
                 "spec.containers[0].ports[0]", "a port with name"},
        BadField{POD
                 "spec: {containers: [{ports: [{name: web, containerPort: 80, protocol: ICMP}]}]}" ADDRESS,
                 "spec.containers[0].ports[0]", "protocol"},
        BadField{POD "status: 7", "status", "an object"},
        BadField{POD "status: {phase: 7, podIP: 192.0.2.9}", "status.phase", "a string"},
        BadField{POD "status: {podIP: 192.0.2}", "status.podIP", "an IP address"},
        BadField{POD "status: {podIPs: 7}", "status.podIPs", "a list"},
        BadField{POD "status: {podIPs: [{ip: 192.0.2.900}, {ip: 192.0.2.9}]}", "status.podIPs[0].ip",
                 "an IP address"}));
#undef POD
#undef ADDRESS

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

class BadClusterPolicy : public ::testing::TestWithParam<BadField> {};

TEST_P(BadClusterPolicy, NeverAcceptsAndDeniesInsteadOfPassing) {
  const BadField& bad = GetParam();
  const std::string own = policy_of("{podSelector: {matchLabels: {pod: a}}, ingress: []}");
  for (const char* action : {"Accept", "Deny", "Pass"}) {
    std::string spec = bad.spec;
    spec.replace(spec.find("ACT"), 3, action);
    Objects objects = read(
        "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: c}, "
        "spec: " +
        spec + "}");
    ASSERT_FALSE(objects.problems.empty()) << spec;
    EXPECT_EQ(objects.problems[0].key, bad.key);
    EXPECT_NE(objects.problems[0].reason.find(bad.reason), std::string::npos) << objects.problems[0].reason;
    if (std::string_view(action) != "Accept") {
      EXPECT_FALSE(allowed(objects, "x/b", "x/a")) << spec;
    }
    // An Accept must not override the NetworkPolicy that denies.
    const auto added = add_text(objects, own, "own.yaml");
    ASSERT_TRUE(added);
    EXPECT_FALSE(allowed(objects, "x/b", "x/a")) << spec;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadClusterPolicy,
    ::testing::Values(
        BadField{"{tier: Admn, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{namespaces: {}}]}]}",
                 "spec.tier", "Admin or Baseline"},
        BadField{"{tier: Admin, priority: 1001, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{namespaces: {}}]}]}",
                 "spec.priority", "1001"},
        BadField{"{tier: Admin, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: [{action: ACT, from: "
                 "[{namespaces: {}}]}]}",
                 "spec.priority", "0 to 1000"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}, matchExpressions: "
                 "[{key: a}]}}, ingress: [{action: ACT, from: [{namespaces: {}}]}]}",
                 "spec.subject.namespaces.matchExpressions[0].operator", "null"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT}]}",
                 "spec.ingress[0].from", "1 to 25"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{galaxies: {}}]}]}",
                 "spec.ingress[0].from[0]", "known"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{networks: [192.0.2.0/24]}]}]}",
                 "spec.ingress[0].from[0]", "known"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{pods: {podSelector: {}}}]}]}",
                 "spec.ingress[0].from[0].pods", "namespaceSelector"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{namespaces: {}}], protocols: []}]}",
                 "spec.ingress[0].protocols", "1 to 25"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{namespaces: {}}], protocols: [{icmp: {}}]}]}",
                 "spec.ingress[0].protocols[0]", "tcp"},
        BadField{"{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: "
                 "[{action: ACT, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: "
                 "{start: 80, end: 80}}}}]}]}",
                 "spec.ingress[0].protocols[0].tcp.destinationPort", "start below"}));

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
