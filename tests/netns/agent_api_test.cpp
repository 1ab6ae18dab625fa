// SPDX-License-Identifier: Apache-2.0
// vmlane-agent on an API server: what it takes over from there, and what it does while the server is away,
// refuses, or forgets.
#include <csignal>
#include <filesystem>
#include <fstream>

#include "core/names.h"
#include "tests/support/agent.h"
#include "tests/support/api_server.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr const char* kPods = "/api/v1/pods";
constexpr const char* kPolicies = "/apis/networking.k8s.io/v1/networkpolicies";
constexpr const char* kApiClient = "192.0.2.77";
constexpr const char* kApiStranger = "203.0.113.9";

class AgentOnAnApiServer : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    start_server();
    std::ofstream(kubeconfig())
        << "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
           "clusters: [{name: c, cluster: {server: '"
        << server_->url() << "'}}]\nusers: [{name: u, user: {token: t}}]\n";
    agent_.emplace(node(), std::vector<fs::path>{}, std::vector<std::string>{"--kubeconfig", kubeconfig()});
    ASSERT_CNI_OK(add(make_pod("p1"), config()));
  }

  void TearDown() override {
    agent_.reset();
    server_.reset();  // with its threads the process could not go back to its mount namespace
    PluginFixture::TearDown();
  }

  // Always on the same port, with Pod blue/c1, a client, and a policy that lets in that client alone.
  void start_server() {
    server_ = std::make_unique<ApiServer>(
        std::vector<std::string>{"/api/v1/namespaces", "/api/v1/nodes", kPods, kPolicies}, std::nullopt,
        port_);
    port_ = server_->port();
    put(kPods, pod_text("c1", {{"app", "web"}}));
    put(kPods, pod_text("client", {{"role", "client"}}, {{"status", {{"podIP", kApiClient}}}}));
    put(kPolicies, guard("client"));
  }
  void put(const std::string& path, const std::string& text) const { server_->put(path, Json::parse(text)); }
  static std::string guard(const std::string& role) {
    return policy_text("guard",
                       {{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
                        {"ingress", {{{"from", {{{"podSelector", {{"matchLabels", {{"role", role}}}}}}}}}}}});
  }
  fs::path kubeconfig() const { return directory() / "agent.conf"; }
  std::optional<bool> verdict(const std::string& peer) const {
    return published_verdict(node(), names::attachment_id("blue", "c1", "eth0"), true, peer, 80);
  }
  bool is_guarded() const { return verdict(kApiClient) == true && verdict(kApiStranger) == false; }
  AgentRunner& agent() { return *agent_; }
  bool has_problems() const { return agent_->problems() != "[]"; }
  ApiServer& server() { return *server_; }
  void stop_server() { server_.reset(); }

 private:
  int port_ = 0;
  std::unique_ptr<ApiServer> server_;
  std::optional<AgentRunner> agent_;
};

TEST_F(AgentOnAnApiServer, PublishesWhatItSaysAndFollowsIt) {
  agent().start();
  ASSERT_TRUE(eventually([&] { return is_guarded(); })) << agent().problems();
  EXPECT_FALSE(has_problems()) << agent().problems();
  const Json source = agent().status()["source"];
  EXPECT_EQ(source.value("server", ""), server().url());
  EXPECT_NE(source.dump().find("absent"), std::string::npos)
      << "custom resources that are not there are no problem";
  put(kPolicies, guard("nobody"));
  EXPECT_TRUE(eventually([&] { return verdict(kApiClient) == false; }));
  server().remove(kPolicies, "blue/guard");
  EXPECT_TRUE(eventually([&] { return verdict(kApiStranger) == true; }));
  EXPECT_TRUE(fs::exists(node().pods_dir()));
  server().remove(kPods, "blue/client");
  put(kPolicies, guard("client"));
  EXPECT_TRUE(eventually([&] { return verdict(kApiClient) == false; }));
}

TEST_F(AgentOnAnApiServer, TakesTheLastOfSeveralChangesAtOnce) {
  agent().start();
  ASSERT_TRUE(eventually([&] { return is_guarded(); }));
  // It sees nothing of these before there are all of them.
  ASSERT_EQ(kill(agent().pid(), SIGSTOP), 0);
  put(kPolicies, guard("nobody"));
  put(kPolicies, guard("client"));
  put(kPolicies, guard("nobody"));
  put(kPods, pod_text("passing", {{"role", "first"}}));
  put(kPods, pod_text("passing", {{"role", "second"}}));
  server().remove(kPods, "blue/passing");
  for (const char* version : {"1", "2", "3"})
    put(kPods, pod_text("c1", {{"app", "web"}, {"version", version}}));
  ASSERT_EQ(kill(agent().pid(), SIGCONT), 0);
  EXPECT_TRUE(eventually([&] { return verdict(kApiClient) == false; }));
  put(kPolicies, guard("client"));
  EXPECT_TRUE(eventually([&] { return is_guarded(); })) << agent().problems();
  EXPECT_FALSE(has_problems()) << agent().problems();
}

TEST_F(AgentOnAnApiServer, WhatWasPublishedStaysWhileTheServerIsAway) {
  agent().start();
  ASSERT_TRUE(eventually([&] { return is_guarded(); }));
  stop_server();
  ASSERT_TRUE(eventually([&] { return has_problems(); }));
  EXPECT_TRUE(is_guarded());
  // An agent that starts meanwhile knows nothing, and publishes nothing of that.
  agent().kill();
  agent().start();
  ASSERT_TRUE(eventually([&] { return has_problems(); }));
  EXPECT_TRUE(is_guarded());
  start_server();
  put(kPolicies, guard("nobody"));
  EXPECT_TRUE(eventually([&] { return verdict(kApiClient) == false; }));
  EXPECT_TRUE(eventually([&] { return !has_problems(); })) << agent().problems();
}

TEST_F(AgentOnAnApiServer, PublishesNothingBeforeItKnowsEverything) {
  server().fail(kPolicies, {.status = 403}, 3);
  agent().start();
  ASSERT_TRUE(eventually([&] { return agent().problems().find("RBAC") != std::string::npos; }));
  EXPECT_EQ(verdict(kApiClient), std::nullopt) << "policies are missing";
  EXPECT_TRUE(eventually([&] { return is_guarded(); }));
}

}  // namespace
}  // namespace vmlane::test
