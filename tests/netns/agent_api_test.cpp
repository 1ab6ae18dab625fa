// SPDX-License-Identifier: Apache-2.0
// vmlane-agent on an API server: what it takes over from there, and what it does while the server is away,
// refuses, or forgets.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/names.h"
#include "tests/support/agent.h"
#include "tests/support/api_server.h"
#include "tests/support/paths.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr const char* kPods = "/api/v1/pods";
constexpr const char* kPolicies = "/apis/networking.k8s.io/v1/networkpolicies";
constexpr const char* kNetworks = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";
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
        std::vector<std::string>{"/api/v1/namespaces", "/api/v1/nodes", kPods, kPolicies, kNetworks},
        std::nullopt, port_);
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

// What vmlane-multus asks for at each ADD.
TEST_F(AgentOnAnApiServer, ResolvesPodsAndNetworksWhileTheServerIsAway) {
  const auto network = [](const std::string& type) {
    return Json{{"apiVersion", "k8s.cni.cncf.io/v1"},
                {"kind", "NetworkAttachmentDefinition"},
                {"metadata", {{"namespace", "blue"}, {"name", "lan"}}},
                {"spec", {{"config", Json{{"cniVersion", "1.0.0"}, {"type", type}}.dump()}}}};
  };
  const auto resolved = [&](const std::string& name) {
    return agent().call("pod.resolve", {{"namespace", "blue"}, {"name", name}, {"uid", ""}});
  };
  const auto tells_of = [&](const std::string& text) {
    const auto answer = resolved("c1");
    return answer && answer->dump().find(text) != std::string::npos;
  };
  server().put(kNetworks, network("vmlane-veth"));
  agent().start();
  ASSERT_TRUE(eventually([&] { return tells_of("vmlane-veth"); })) << agent().problems();
  stop_server();
  ASSERT_TRUE(eventually([&] { return has_problems(); }));
  const auto answer = resolved("c1");
  ASSERT_TRUE(answer) << answer.error().text();
  ASSERT_EQ((*answer)["objects"].size(), 2U) << answer->dump();
  EXPECT_TRUE(tells_of("NetworkAttachmentDefinition"));
  const auto unknown = resolved("new");
  ASSERT_FALSE(unknown) << "nobody can know this one now";
  EXPECT_NE(unknown.error().text().find("blue/new"), std::string::npos) << unknown.error().text();
}

TEST_F(AgentOnAnApiServer, CatchesUpWithinFiveSecondsOfTheServersReturn) {
  agent().start();
  ASSERT_TRUE(eventually([&] { return is_guarded(); })) << agent().problems();
  stop_server();
  std::this_thread::sleep_for(12s);  // long enough for the waits to have grown
  ASSERT_TRUE(has_problems());
  start_server();
  put(kPods, pod_text("new", {{"app", "web"}}));
  put(kPolicies, guard("none"));
  const auto knows_all = [&] {
    const auto pod = agent().call("pod.resolve", {{"namespace", "blue"}, {"name", "new"}, {"uid", ""}});
    return pod && verdict(kApiClient) == false && !has_problems();
  };
  EXPECT_TRUE(eventually(knows_all, 5s)) << agent().problems();
}

// `vmlanectl attachment sweep` asks the agent what the API server says.
class SweepByTheApiServer : public AgentOnAnApiServer {
 protected:
  void SetUp() override {
    AgentOnAnApiServer::SetUp();
    if (IsSkipped()) return;
    agent().start();
    ASSERT_TRUE(eventually([&] { return is_guarded(); })) << agent().problems();
    const std::size_t before = link_names("").size();
    pods().at("p1")->remove();
    ASSERT_TRUE(eventually([&] { return link_names("").size() < before; }));
  }
  // The row of container c1 after a sweep, an empty object when there is none.
  Json sweep(const std::vector<std::string>& more = {}, const std::string& container = "c1") {
    std::vector<std::string> argv = {built("vmlanectl"), "attachment",        "sweep", "-o", "json",
                                     "--config",         node_json().string()};
    argv.insert(argv.end(), more.begin(), more.end());
    last_ = test::run(argv);
    const Json rows = Json::parse(last_.out, nullptr, false);
    if (!rows.is_array()) return Json::object();
    for (const Json& row : rows) {
      if (row.value("id", "") == names::attachment_id("blue", container, "eth0")) return row;
    }
    return Json::object();
  }
  const RunResult& last() const { return last_; }
  // Whether a sweep removed nothing, and what it said of the pod.
  std::string kept() {
    const Json row = sweep();
    EXPECT_EQ(row.value("outcome", ""), "kept") << last_.out << last_.err;
    EXPECT_TRUE(recorded());
    return row.value("objects", "");
  }
  bool recorded() const {
    return fs::exists(node().attachments_dir() / (names::attachment_id("blue", "c1", "eth0") + ".json"));
  }

 private:
  RunResult last_;
};

TEST_F(SweepByTheApiServer, KeepsWhatItsPodIsThereFor) {
  EXPECT_EQ(kept(), "here");
  EXPECT_TRUE(last().ok()) << last().err;
  put(kPods, pod_text("c1", {{"app", "web"}}, {{"status", {{"phase", "Succeeded"}}}}));
  EXPECT_TRUE(eventually([&] { return sweep({"--dry-run"}).value("objects", "") == "ended"; }));
  EXPECT_EQ(sweep({"--dry-run"}).value("outcome", ""), "would be removed");
  EXPECT_TRUE(recorded());
  server().remove(kPods, "blue/c1");
  EXPECT_TRUE(eventually([&] { return sweep({"--dry-run"}).value("objects", "") == "gone"; }));
  EXPECT_EQ(sweep().value("outcome", ""), "removed") << last().err;
  EXPECT_FALSE(recorded());
}

TEST_F(SweepByTheApiServer, RemovesNothingOnTheWordOfASourceThatCannotAnswer) {
  server().remove(kPods, "blue/c1");
  ASSERT_TRUE(eventually([&] { return sweep({"--dry-run"}).value("objects", "") == "gone"; }));
  stop_server();
  ASSERT_TRUE(eventually([&] { return has_problems(); }));
  EXPECT_EQ(kept(), "no answer");
  EXPECT_FALSE(last().ok());
  EXPECT_NE(last().err.find("may not know all pods"), std::string::npos) << last().err;
  agent().kill();
  EXPECT_EQ(kept(), "no answer");
  EXPECT_NE(last().err.find("no vmlane-agent runs"), std::string::npos) << last().err;
  // Once more with both, nobody having touched anything but the pod.
  start_server();
  server().remove(kPods, "blue/c1");
  agent().start();
  EXPECT_TRUE(eventually([&] { return sweep().value("outcome", "") == "removed"; }, 20s)) << last().err;
  EXPECT_FALSE(recorded());
}

TEST_F(SweepByTheApiServer, APodOfTheSameNameWithAnotherUidIsAnother) {
  const auto tell = [&](const std::string& uid, const Json& annotations = Json::object()) {
    put(kPods, pod_text("c2", Json::object(),
                        {{"metadata", {{"uid", uid}, {"annotations", annotations}}},
                         {"spec", {{"nodeName", "n1"}}}}));
  };
  const auto is = [&](const std::string& word) {
    return eventually([&] { return sweep({"--dry-run"}, "c2").value("objects", "") == word; });
  };
  tell("uid-1");
  const std::size_t before = link_names("").size();
  CniCall other = call("ADD", make_pod("p2").path(), config(), "c2");
  other.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=c2;K8S_POD_UID=uid-1";
  ASSERT_CNI_OK(run_call(other));
  pods().at("p2")->remove();
  ASSERT_TRUE(eventually([&] { return link_names("").size() <= before; }));
  EXPECT_TRUE(is("here")) << last().out << last().err;
  tell("uid-9");
  EXPECT_TRUE(is("gone")) << last().out << last().err;
  // As the object of a static pod is, which the runtime knows by another uid than the API server.
  tell("uid-9", {{"kubernetes.io/config.mirror", "uid-1"}});
  EXPECT_TRUE(is("here")) << last().out << last().err;
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
