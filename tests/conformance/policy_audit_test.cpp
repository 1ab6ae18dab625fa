// SPDX-License-Identifier: Apache-2.0
// Audit: what policies in it would deny passes, and it is told which of them would.
#include <gtest/gtest.h>

#include "policy/explain.h"
#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "policy/verdict.h"
#include "tests/support/policy_cases.h"

namespace vmlane::policy {
namespace {

const std::string kMode(kModeAnnotation);

Json with_mode(Json object, const std::string& mode) {
  object["metadata"]["annotations"][kMode] = mode;
  return object;
}

Json network_policy(const Json& spec = {{"podSelector", Json::object()}}, const std::string& name = "p") {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"name", name}, {"namespace", "x"}}},
          {"spec", spec}};
}

Json cluster_deny() {
  return {{"apiVersion", "policy.networking.k8s.io/v1alpha2"},
          {"kind", "ClusterNetworkPolicy"},
          {"metadata", {{"name", "c"}}},
          {"spec",
           {{"tier", "Admin"},
            {"priority", 1},
            {"subject", {{"namespaces", Json::object()}}},
            {"ingress", {{{"action", "Deny"}, {"from", {{{"namespaces", Json::object()}}}}}}}}}};
}

class PolicyAudit : public ::testing::Test {
 protected:
  // The pods of the cases, with these objects in their place or beside them.
  void use(const std::vector<Json>& objects) {
    std::map<std::string, Json> all = test::policy_world("world.yaml");
    for (const Json& object : objects) all[test::policy_object_name(object)] = object;
    objects_ = Objects();
    for (const auto& [name, object] : all) add_object(objects_, object, name);
    store_ = compile(objects_);
  }
  Json world_object(const std::string& name) const { return test::policy_world("world.yaml").at(name); }

  // What the destination says of y/b to x/a on port 80, by tables and by the oracle.
  Judgement judgement(const std::string& to = "x/a") const {
    const Probe probe{.from = {.pod = "y/b", .address = {}}, .to = {.pod = to, .address = {}}, .port = 80};
    const auto by_tables = store_.ask(probe);
    const auto by_oracle = ask_oracle(objects_, probe);
    EXPECT_TRUE(by_tables && by_oracle);
    EXPECT_EQ(*by_tables, *by_oracle) << to_json(*by_tables) << to_json(*by_oracle);
    return by_tables->ingress;
  }

  Objects objects_;
  Store store_;
};

TEST_F(PolicyAudit, PolicyInAuditTellsThatItWouldIsolate) {
  use({with_mode(network_policy(), "audit")});
  const Judgement one = judgement();
  EXPECT_TRUE(one.allowed);
  EXPECT_EQ(one.reason, Reason::kNotIsolated);
  EXPECT_EQ(one.audit, (AuditDenial{Reason::kIsolated, "NetworkPolicy", "x/p", std::nullopt}));
  EXPECT_FALSE(judgement("z/a").audit) << "no policy is about it";
}

TEST_F(PolicyAudit, RuleThatWouldDenyIsTold) {
  use({with_mode(cluster_deny(), "audit")});
  EXPECT_EQ(judgement().audit, (AuditDenial{Reason::kRule, "ClusterNetworkPolicy", "c", 0}));
}

TEST_F(PolicyAudit, NothingIsToldOfWhatTheAuditedPolicyAllows) {
  use({with_mode(network_policy({{"podSelector", Json::object()}, {"ingress", {Json::object()}}}), "audit")});
  const Judgement one = judgement();
  EXPECT_EQ(one.reason, Reason::kRule);
  EXPECT_FALSE(one.audit);
}

TEST_F(PolicyAudit, WhatIsEnforcedDeniesAndIsNamed) {
  use({with_mode(cluster_deny(), "audit"), network_policy()});
  const Judgement one = judgement();
  EXPECT_FALSE(one.allowed);
  EXPECT_EQ(one.policy, "x/p") << "not the one in audit, which comes first";
  EXPECT_FALSE(one.audit);
}

TEST_F(PolicyAudit, NamespaceInAuditIsThatOfThePodsAndAboutEveryPolicy) {
  use({with_mode(world_object("Namespace x"), "audit"), network_policy(), cluster_deny()});
  EXPECT_EQ(judgement().audit, (AuditDenial{Reason::kRule, "ClusterNetworkPolicy", "c", 0}));
  EXPECT_FALSE(judgement("z/a").allowed) << "of another namespace";
}

TEST_F(PolicyAudit, PodInAuditIsAboutItsNamespacesPoliciesAlone) {
  use({with_mode(world_object("Pod x/a"), "audit"), network_policy()});
  EXPECT_EQ(judgement().audit, (AuditDenial{Reason::kIsolated, "NetworkPolicy", "x/p", std::nullopt}));
  EXPECT_FALSE(judgement("x/b").allowed) << "another pod";
  use({with_mode(world_object("Pod x/a"), "audit"), network_policy(), cluster_deny()});
  EXPECT_FALSE(judgement().allowed) << "who owns a pod does not get it out of the cluster's policies";
}

TEST_F(PolicyAudit, PodSaysOtherwiseThanItsNamespace) {
  use({with_mode(world_object("Namespace x"), "audit"), with_mode(world_object("Pod x/a"), "enforce"),
       network_policy()});
  EXPECT_FALSE(judgement().allowed);
  EXPECT_TRUE(judgement("x/b").audit);
}

TEST_F(PolicyAudit, AnotherWordIsReportedByNameAndCountsAsEnforce) {
  for (const Json& object :
       {network_policy(), cluster_deny(), world_object("Namespace x"), world_object("Pod x/a")}) {
    SCOPED_TRACE(test::policy_object_name(object));
    use({network_policy(), with_mode(object, "Audit")});
    ASSERT_EQ(objects_.problems.size(), 1U);
    EXPECT_EQ(objects_.problems[0].key, "metadata.annotations.vmlane.io/policy-mode");
    EXPECT_NE(objects_.problems[0].reason.find("audit or enforce"), std::string::npos);
    EXPECT_EQ(objects_.problems[0].kind, object["kind"]);
    EXPECT_FALSE(judgement().allowed);
  }
}

TEST_F(PolicyAudit, BrokenPodIsClosedInAuditToo) {
  Json pod = with_mode(world_object("Pod x/a"), "audit");
  pod["spec"]["hostNetwork"] = "no";
  use({pod, network_policy()});
  EXPECT_EQ(judgement().reason, Reason::kBroken);
}

TEST_F(PolicyAudit, PolicyInAuditThatIsTooLargeClosesNobody) {
  Json rules = Json::array();
  for (int i = 0; i < VMLANE_POLICY_MAX_RULES + 1; i++)
    rules.push_back({{"from", {{{"ipBlock", {{"cidr", "10.0.0.0/8"}}}}}}});
  use({with_mode(network_policy({{"podSelector", Json::object()}, {"ingress", rules}}), "audit"),
       network_policy({{"podSelector", {{"matchLabels", {{"pod", "b"}}}}}}, "enforced")});
  const auto of = [&](const std::string& to) {
    return store_.ask({.from = {.pod = "y/b", .address = {}}, .to = {.pod = to, .address = {}}, .port = 80})
        ->ingress;
  };
  EXPECT_TRUE(of("x/a").allowed);
  EXPECT_EQ(of("x/a").audit, (AuditDenial{Reason::kTooLarge, "NetworkPolicy", "x/p", std::nullopt}));
  EXPECT_FALSE(of("x/b").allowed) << "a policy that is enforced isolates it";
  ASSERT_FALSE(store_.problems().empty());
  EXPECT_NE(store_.problems()[0].text().find("in audit"), std::string::npos) << store_.problems()[0].text();
}

TEST_F(PolicyAudit, ExplainTellsBothVerdicts) {
  use({with_mode(network_policy(), "audit")});
  const Probe probe{.from = {.pod = "y/b", .address = {}}, .to = {.pod = "x/a", .address = {}}, .port = 80};
  const auto told = explain(*store_.ask(probe), objects_, probe);
  ASSERT_TRUE(told);
  EXPECT_FALSE(told->disagreement);
  const Json json = told->to_json();
  EXPECT_EQ(json["ingress"]["verdict"], "allow");
  EXPECT_EQ(json["ingress"]["audit"],
            (Json{{"reason", "isolated"}, {"kind", "NetworkPolicy"}, {"policy", "x/p"}, {"rule", nullptr}}));
  const std::string trace = json["trace"].dump();
  EXPECT_NE(trace.find("NetworkPolicy x/p, in audit"), std::string::npos) << trace;
  EXPECT_NE(trace.find("without what policies in audit deny"), std::string::npos) << trace;
}

}  // namespace
}  // namespace vmlane::policy
