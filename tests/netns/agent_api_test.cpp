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

// What vmlane-multus leaves of an ADD.
class AgentWritesNetworkStatus : public AgentOnAnApiServer {
 protected:
  static constexpr const char* kStatusPath = "/api/v1/namespaces/blue/pods/vm/status";

  void SetUp() override {
    AgentOnAnApiServer::SetUp();
    if (IsSkipped()) return;
    fs::create_directories(node().network_status_dir());
    put_pod("uid-1", "n1");
    agent().start();
    ASSERT_TRUE(eventually([&] { return is_guarded(); }));
  }
  void put_pod(const std::string& uid, const std::string& its_node,
               const Json& annotations = Json::object()) {
    put(kPods, pod_text("vm", {{"app", "vm"}},
                        {{"metadata", {{"uid", uid}, {"annotations", annotations}}},
                         {"spec", {{"nodeName", its_node}}}}));
  }
  void leave(const std::string& uid, const Json& status) const {
    const fs::path file = node().network_status_dir() / (uid + ".json");
    spit(file.string() + ".tmp", status.dump());
    fs::rename(file.string() + ".tmp", file);
  }
  static Json status_of(const std::string& address) {
    return {{{"name", "blue/lan"}, {"interface", "net1"}, {"ips", {address}}, {"dns", Json::object()}}};
  }
  Json annotations() {
    return server().get(kPods, "blue/vm")["metadata"].value("annotations", Json::object());
  }
  // What the pod's annotation says; null when it has none.
  Json written() {
    const std::string text = annotations().value("k8s.v1.cni.cncf.io/network-status", "");
    return text.empty() ? Json() : Json::parse(text);
  }
};

TEST_F(AgentWritesNetworkStatus, OfAPodOfTheNodeWheneverItIsAnother) {
  put_pod("uid-1", "n1", {{"mine", "stays"}});
  leave("uid-1", status_of("198.51.100.7"));
  ASSERT_TRUE(eventually([&] { return written() == status_of("198.51.100.7"); })) << agent().problems();
  EXPECT_EQ(annotations().value("mine", ""), "stays");
  leave("uid-1", status_of("198.51.100.8"));
  ASSERT_TRUE(eventually([&] { return written() == status_of("198.51.100.8"); })) << agent().problems();
  const int before = server().patches();
  leave("uid-1", status_of("198.51.100.8"));
  put_pod("uid-1", "n1", annotations());
  sleep_ms(500);
  EXPECT_EQ(server().patches(), before) << "it says so already";
  // Somebody else's hand.
  put_pod("uid-1", "n1");
  EXPECT_TRUE(eventually([&] { return written() == status_of("198.51.100.8"); }));
  // And after the agent, which knows nothing of all this.
  agent().kill();
  leave("uid-1", status_of("198.51.100.9"));
  agent().start();
  EXPECT_TRUE(eventually([&] { return written() == status_of("198.51.100.9"); }));
  EXPECT_FALSE(has_problems()) << agent().problems();
}

TEST_F(AgentWritesNetworkStatus, OfNoOtherPod) {
  put(kPods,
      pod_text("far", {{"app", "vm"}}, {{"metadata", {{"uid", "uid-3"}}}, {"spec", {{"nodeName", "n2"}}}}));
  leave("uid-3", status_of("198.51.100.7"));
  leave("uid-2", status_of("198.51.100.8"));
  sleep_ms(500);
  EXPECT_EQ(server().patches(), 0);
  // The one that has the name now, and not the one that had it.
  put_pod("uid-2", "n1");
  EXPECT_TRUE(eventually([&] { return written() == status_of("198.51.100.8"); }));
  server().remove(kPods, "blue/vm");
  const int before = server().patches();
  leave("uid-2", status_of("198.51.100.9"));
  sleep_ms(500);
  EXPECT_LE(server().patches(), before + 1) << "a pod that is gone is not asked for again and again";
  EXPECT_FALSE(has_problems()) << agent().problems();
}

TEST_F(AgentWritesNetworkStatus, RefusalsAndFilesThatCannotBeReadAreToldUntilTheyAreOver) {
  server().fail(kStatusPath, {.status = 403}, 2);
  leave("uid-1", status_of("198.51.100.7"));
  EXPECT_TRUE(eventually([&] {
    const std::string problems = agent().problems();
    return problems.find("blue/vm") != std::string::npos && problems.find("RBAC") != std::string::npos;
  })) << agent().problems();
  EXPECT_TRUE(eventually([&] { return written() == status_of("198.51.100.7"); }, 20s));
  EXPECT_TRUE(eventually([&] { return !has_problems(); })) << agent().problems();
  spit(node().network_status_dir() / "uid-1.json", "no JSON");
  EXPECT_TRUE(eventually([&] { return agent().problems().find("uid-1.json") != std::string::npos; }));
  EXPECT_EQ(written(), status_of("198.51.100.7"));
  leave("uid-1", status_of("198.51.100.8"));
  EXPECT_TRUE(eventually([&] { return written() == status_of("198.51.100.8"); }));
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
