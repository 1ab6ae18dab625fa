// SPDX-License-Identifier: Apache-2.0
// The agent beside real plugins, on each lane: what it makes of their records and of objects in files.
#include <filesystem>

#include "core/record.h"
#include "tests/conformance/lane_test.h"
#include "tests/support/agent.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class AgentLane : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    fs::create_directories(objects());
    agent_.emplace(node(), std::vector<fs::path>{objects()});
  }

  fs::path objects() const { return directory() / "objects"; }
  // As editors and kubectl-like tools do it: a whole file under its name.
  void put(const std::string& file, const std::string& text) const {
    spit(directory() / "unfinished", text);
    fs::rename(directory() / "unfinished", objects() / file);
  }
  bool says(bool verdict, const std::string& peer, std::uint16_t port) const {
    return eventually([&] { return published_verdict(node(), id_of(), true, peer, port) == verdict; },
                      std::chrono::seconds(30));
  }
  AgentRunner& agent() { return *agent_; }

 private:
  std::optional<AgentRunner> agent_;
};

constexpr const char* kClient = "192.0.2.77";

TEST_P(AgentLane, PolicyAppearsChangesWithALabelAndGoes) {
  agent().start();
  put("c1.json", pod_text("c1", {{"app", "web"}}));
  put("client.json", pod_text("client", {{"role", "other"}}, {{"status", {{"podIP", kClient}}}}));
  Pod& pod = make_pod("p1");
  ASSERT_CNI_OK(add(pod, config()));
  EXPECT_TRUE(says(true, kClient, 80)) << agent().status();
  EXPECT_EQ(agent().attachment(id_of()).value("network", ""), "default") << "eth0 is the cluster's network";

  put("guard.json",
      policy_text("guard", {{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
                            {"ingress",
                             {{{"from", {{{"podSelector", {{"matchLabels", {{"role", "client"}}}}}}}},
                               {"ports", {{{"port", 80}}}}}}}}));
  EXPECT_TRUE(says(false, kClient, 80));
  put("client.json", pod_text("client", {{"role", "client"}}, {{"status", {{"podIP", kClient}}}}));
  EXPECT_TRUE(says(true, kClient, 80));
  EXPECT_EQ(published_verdict(node(), id_of(), true, kClient, 81), false);
  EXPECT_EQ(published_verdict(node(), id_of(), true, "203.0.113.9", 80), false);
  fs::remove(objects() / "guard.json");
  EXPECT_TRUE(says(true, "203.0.113.9", 80));
  EXPECT_EQ(agent().problems(), "[]");
  EXPECT_EQ(agent().stop(), 0);
}

TEST_P(AgentLane, PeersAreKnownByTheAddressesThatPluginsGaveThem) {
  agent().start();
  put("c1.json", pod_text("c1", {{"app", "web"}}));
  put("c2.json", pod_text("c2", {{"role", "client"}}));
  put("guard.json",
      policy_text("guard",
                  {{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
                   {"ingress", {{{"from", {{{"podSelector", {{"matchLabels", {{"role", "client"}}}}}}}}}}}}));
  Pod& web = make_pod("p1");
  Pod& client = make_pod("p2");
  ASSERT_CNI_OK(add(web, config()));
  CniCall second = call("ADD", client.path(), config(), "c2");
  second.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=c2";
  const CniOutcome added = run_call(second);
  ASSERT_CNI_OK(added);
  const std::string text = (*added.document)["ips"][0].value("address", "");
  const std::string address = text.substr(0, text.find('/'));
  EXPECT_TRUE(says(true, address, 80)) << agent().status();
  EXPECT_EQ(published_verdict(node(), id_of(), true, "192.0.2.200", 80), false);

  second.command = "DEL";
  ASSERT_CNI_OK(run_call(second));
  EXPECT_TRUE(says(false, address, 80)) << "an address that was given back is nobody's";
  EXPECT_TRUE(agent().attachment(id_of("c2")).empty());
}

TEST_P(AgentLane, NetworkOfARecordThatDoesNotSayItIsFoundInTheAnnotation) {
  put("c1.json",
      pod_text("c1", {{"app", "web"}},
               {{"metadata", {{"annotations", {{"k8s.v1.cni.cncf.io/networks", "red/other, dmz@net9"}}}}}}));
  agent().start();
  Pod& pod = make_pod("p1");
  ASSERT_CNI_OK(add(pod, config(), "c1", "net9"));
  const std::string id = id_of("c1", "net9");
  ASSERT_TRUE(eventually([&] { return agent().attachment(id).value("judged", false); })) << agent().status();
  EXPECT_EQ(agent().attachment(id).value("network", ""), "blue/dmz");
  const Json learned = Json::parse(slurp(node().agent_dir() / (id + ".json")), nullptr, false);
  EXPECT_EQ(learned, (Json{{"schema", 1}, {"pod", "blue/c1"}, {"nad", "blue/dmz"}}));
  ASSERT_CNI_OK(del(pod.path(), config(), "c1", "net9"));
  EXPECT_TRUE(eventually([&] { return !fs::exists(node().agent_dir() / (id + ".json")); }));
}

VMLANE_FOR_EACH_LANE(AgentLane);

}  // namespace
}  // namespace vmlane::test
