// SPDX-License-Identifier: Apache-2.0
#include <sstream>

#include "cli/app.h"
#include "tests/support/host.h"

namespace vmlane::cli {
namespace {

const char* const kObjects = R"({"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "blue", "labels": {"app": "web"}}, "status": {"podIP": "192.0.2.10"}},
  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": "blue", "labels": {"role": "client"}}, "status": {"podIP": "192.0.2.11"}},
  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other", "namespace": "blue"}, "status": {"podIP": "192.0.2.12"}},
  {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "guard", "namespace": "blue"}, "spec": {
    "podSelector": {"matchLabels": {"app": "web"}},
    "ingress": [{"from": [{"ipBlock": {"cidr": "wrong"}}]},
                {"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": [{"port": 443}]}]}}]})";

struct PolicyOutcome {
  int status = 0;
  std::string out;
  std::string err;
};

class CliPolicy : public ::testing::Test {
 protected:
  CliPolicy() { test::spit(objects(), kObjects); }

  std::string objects() const { return directory_.path() / "objects.json"; }
  std::string probes(const std::string& text) const {
    test::spit(directory_.path() / "probes.json", text);
    return directory_.path() / "probes.json";
  }
  static PolicyOutcome run(const std::vector<std::string>& arguments) {
    std::ostringstream out;
    std::ostringstream err;
    Invocation invocation;
    invocation.out = &out;
    invocation.err = &err;
    const int status = run_vmlanectl(arguments, invocation);
    return {status, out.str(), err.str()};
  }

  test::TemporaryDirectory directory_;
};

TEST_F(CliPolicy, EvalAnswersInTheOrderOfTheProbesWithTheRuleThatDecided) {
  const auto file = probes(R"([
    {"from": "blue/client", "to": "blue/web", "network": "default", "family": "ipv4", "protocol": "TCP", "port": 443},
    {"from": "blue/client", "to": "blue/web", "network": "default", "family": "ipv4", "protocol": "TCP", "port": 80},
    {"from": "203.0.113.9", "to": "blue/other", "network": "default", "family": "ipv4", "protocol": "ICMP"}])");
  const auto outcome = run({"policy", "eval", "--objects", objects(), "--probes", file, "--output", "json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json open = {{"verdict", "allow"}, {"policy", nullptr}, {"rule", nullptr}};
  const Json expected = {{{"verdict", "allow"},
                          {"egress", open},
                          {"ingress", {{"verdict", "allow"}, {"policy", "blue/guard"}, {"rule", 1}}}},
                         {{"verdict", "deny"},
                          {"egress", open},
                          {"ingress", {{"verdict", "deny"}, {"policy", "blue/guard"}, {"rule", nullptr}}}},
                         {{"verdict", "allow"}, {"egress", open}, {"ingress", open}}};
  EXPECT_EQ(Json::parse(outcome.out), expected);
}

TEST_F(CliPolicy, EvalAndExplainTellWhatAuditLetsPass) {
  std::string audited = kObjects;
  const std::string name = R"("name": "guard", "namespace": "blue")";
  audited.replace(audited.find(name), name.size(),
                  name + R"(, "annotations": {"vmlane.io/policy-mode": "audit"})");
  test::spit(objects(), audited);
  const auto file = probes(R"([{"from": "blue/other", "to": "blue/web", "port": 443},
                               {"from": "blue/client", "to": "blue/web", "port": 443}])");
  const auto outcome = run({"policy", "eval", "--objects", objects(), "--probes", file, "--output", "json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json answers = Json::parse(outcome.out);
  EXPECT_EQ(answers[0]["ingress"], (Json{{"verdict", "allow"},
                                         {"policy", nullptr},
                                         {"rule", nullptr},
                                         {"audit", {{"policy", "blue/guard"}, {"rule", nullptr}}}}));
  EXPECT_EQ(answers[1]["ingress"], (Json{{"verdict", "allow"}, {"policy", "blue/guard"}, {"rule", 1}}));
  const std::string line = "in audit: would deny by isolated NetworkPolicy blue/guard";
  const auto table = run({"policy", "eval", "--objects", objects(), "--probes", file});
  EXPECT_NE(table.out.find(line), std::string::npos) << table.out;
  const auto explained =
      run({"policy", "explain", "blue/other", "blue/web", "TCP", "443", "--objects", objects()});
  EXPECT_EQ(explained.status, 0) << explained.err;
  EXPECT_TRUE(explained.out.starts_with("allow\n")) << explained.out;
  EXPECT_NE(explained.out.find(line), std::string::npos) << explained.out;
}

TEST_F(CliPolicy, NothingKeepsAPodFromItself) {
  for (const char* to : {"blue/web", "192.0.2.10"}) {
    const auto itself =
        run({"policy", "explain", "blue/web", to, "TCP", "80", "--objects", objects(), "-o", "json"});
    ASSERT_EQ(itself.status, 0) << itself.err;
    const Json answer = Json::parse(itself.out);
    EXPECT_EQ(answer["verdict"], "allow") << to;
    for (const char* end : {"egress", "ingress"}) EXPECT_EQ(answer[end]["reason"], "itself") << to;
  }
  const auto file = probes(R"([{"from": "blue/web", "to": "blue/web", "port": 80},
                               {"from": "blue/other", "to": "blue/web", "port": 80}])");
  const auto outcome = run({"policy", "eval", "--objects", objects(), "--probes", file, "-o", "json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out)[0]["verdict"], "allow");
  EXPECT_EQ(Json::parse(outcome.out)[1]["verdict"], "deny") << "the same from another pod";
}

TEST_F(CliPolicy, WhatIsWrongWithAnObjectIsToldByNameKeyAndReason) {
  const auto outcome =
      run({"policy", "eval", "--objects", objects(), "--probes", probes("[]"), "-o", "json"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(Json::parse(outcome.out), Json::array());
  for (const char* part : {"NetworkPolicy blue/guard", "spec.ingress[0].from[0].ipBlock.cidr", "wrong"})
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
}

TEST_F(CliPolicy, WrongProbesAreRefusedByNumberAndKey) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {R"([{"from": "blue/client", "to": "blue", "port": 1}])", "probe 0.to"},
      {R"([{"from": "blue/client", "to": "blue/web"}])", "probe 0.port"},
      {R"([{"from": "blue/client", "to": "blue/web", "port": 70000}])", "probe 0.port"},
      {R"([{"from": "blue/client", "to": "blue/web", "port": 1, "protocol": "QUIC"}])", "probe 0.protocol"},
      {R"([{"from": "blue/client", "to": "blue/web", "port": 1, "network": "n1"}])", "probe 0.network"},
      {R"([{"from": "blue/client", "to": "192.0.2.1", "port": 1, "family": "ipv6"}])", "probe 0.to"},
      {R"([{"from": "blue/client", "to": "blue/web", "port": 1, "prot": "TCP"}])", "prot"},
      {R"([{"from": "blue/client", "to": "blue/gone", "port": 1}])", "blue/gone"},
      {R"({"from": "blue/client"})", "no JSON array"}};
  for (const auto& [text, part] : wrong) {
    const auto outcome = run({"policy", "eval", "--objects", objects(), "--probes", probes(text)});
    EXPECT_EQ(outcome.status, kFailed) << text;
    EXPECT_EQ(outcome.out, "") << text;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  }
}

TEST_F(CliPolicy, ExplainTellsWhichSelectorMissed) {
  const auto denied =
      run({"policy", "explain", "blue/other", "blue/web", "TCP", "443", "--objects", objects()});
  ASSERT_EQ(denied.status, 0) << denied.err;
  EXPECT_TRUE(denied.out.starts_with("deny\n")) << denied.out;
  for (const char* part :
       {"isolated NetworkPolicy blue/guard", "rule 1: peer missed", "there is no label role"})
    EXPECT_NE(denied.out.find(part), std::string::npos) << part << " in: " << denied.out;
  const auto port =
      run({"policy", "explain", "blue/client", "blue/web", "TCP", "80", "--objects", objects()});
  EXPECT_NE(port.out.find("rule 1: peer matched, port missed"), std::string::npos) << port.out;
  const auto ping =
      run({"policy", "explain", "blue/client", "blue/other", "ICMP", "--objects", objects(), "-o", "json"});
  EXPECT_EQ(Json::parse(ping.out)["verdict"], "allow") << ping.err;
}

TEST_F(CliPolicy, SimulateTellsWhatWouldChangeAndByWhichRule) {
  const auto file = probes(R"([
    {"from": "blue/client", "to": "blue/web", "protocol": "TCP", "port": 443},
    {"from": "blue/other", "to": "blue/web", "protocol": "TCP", "port": 443},
    {"from": "blue/web", "to": "blue/other", "protocol": "TCP", "port": 80}])");
  const std::string with = directory_.path() / "with.yaml";
  test::spit(
      with,
      "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: guard, namespace: blue},"
      " spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}}\n");
  const auto outcome =
      run({"policy", "simulate", "--objects", objects(), "--with", with, "--probes", file, "-o", "json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json found = Json::parse(outcome.out);
  EXPECT_EQ(found["asked"], 3);
  ASSERT_EQ(found["changes"].size(), 2U) << found;
  EXPECT_EQ(found["changes"][0]["before"]["ingress"]["rule"], 1) << "allowed as before, by another rule";
  EXPECT_EQ(found["changes"][0]["after"]["ingress"]["rule"], 0);
  EXPECT_EQ(found["changes"][1]["probe"]["from"], "blue/other");
  EXPECT_EQ(found["changes"][1]["before"]["verdict"], "deny");
  EXPECT_EQ(found["changes"][1]["after"]["verdict"], "allow");
  const auto table = run({"policy", "simulate", "--objects", objects(), "--with", with, "--probes", file});
  EXPECT_NE(table.out.find("2 of 3 connections would change"), std::string::npos) << table.out;

  test::spit(with,
             "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: odd, namespace: blue},"
             " spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: wrong}}]}]}}\n");
  const auto odd =
      run({"policy", "simulate", "--objects", objects(), "--with", with, "--probes", file, "-o", "json"});
  ASSERT_EQ(odd.status, 0) << odd.err;
  EXPECT_NE(odd.err.find("blue/odd"), std::string::npos) << odd.err;
  EXPECT_EQ(Json::parse(odd.out)["problems"].size(), 1U) << "not what was wrong before";
  const auto twice =
      run({"policy", "simulate", "--objects", objects(), "--with", with, "--with", with, "--probes", file});
  EXPECT_EQ(twice.status, kFailed);
  EXPECT_NE(twice.err.find("given twice"), std::string::npos) << twice.err;
}

TEST_F(CliPolicy, WrongUsageIsStatusTwo) {
  EXPECT_EQ(run({"policy"}).status, kUsage);
  EXPECT_EQ(run({"policy", "eval", "--objects", objects()}).status, kUsage);
  EXPECT_EQ(run({"policy", "explain", "blue/client", "blue/web"}).status, kUsage);
  EXPECT_EQ(run({"policy", "simulate", "--probes", probes("[]")}).status, kUsage);
}

TEST_F(CliPolicy, ObjectsThatAreNotThereOrBrokenFail) {
  const auto missing = run({"policy", "eval", "--objects", "/nowhere", "--probes", probes("[]")});
  EXPECT_EQ(missing.status, kFailed);
  EXPECT_NE(missing.err.find("/nowhere"), std::string::npos);
  test::spit(objects(), "{\"kind\": ");
  EXPECT_EQ(run({"policy", "eval", "--objects", objects(), "--probes", probes("[]")}).status, kFailed);
}

}  // namespace
}  // namespace vmlane::cli
