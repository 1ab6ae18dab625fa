// SPDX-License-Identifier: Apache-2.0
// NetworkPolicy in the switch: frames of guests, with tables as the agent publishes them.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "policy/reader.h"
#include "policy/store.h"
#include "policy/tables_file.h"
#include "tests/dataplane/switch_test.h"
#include "tests/support/agent.h"
#include "tests/support/paths.h"
#include "tests/support/policy_frames.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

using std::chrono::seconds;

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint8_t kUdp = 17;

Json pod_object(const std::string& name, const Nic& nic) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", {{"app", name}}}}},
          {"spec", {{"containers", {{{"name", "main"}}}}}},
          {"status", {{"phase", "Running"}, {"podIPs", {{{"ip", nic.address->to_string()}}}}}}};
}

// About the pod "server".
Json policy_object(const Json& spec) {
  Json all = {{"podSelector", {{"matchLabels", {{"app", "server"}}}}}};
  all.update(spec);
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"namespace", "blue"}, {"name", "guard"}}},
          {"spec", all}};
}

const Json kDenyAll = {{"policyTypes", {"Ingress", "Egress"}}};
const Json kClientToPort80 = {
    {"policyTypes", {"Ingress", "Egress"}},
    {"ingress",
     {{{"from", {{{"podSelector", {{"matchLabels", {{"app", "client"}}}}}}}},
       {"ports", {{{"port", 80}, {"protocol", "TCP"}}, {{"port", 53}, {"protocol", "UDP"}}}}}}}};

class SwitchPolicy : public SwitchTest {
 protected:
  void add_guests(const Json& more = Json::object()) {
    std::filesystem::create_directories(node().state_dir);
    spit(node().agent_marker(), "");
    server_ = connect_nic("server", inside(more));
    client_ = connect_nic("client", inside(more));
    other_ = connect_nic("other", inside(more));
  }
  // Publishes tables as the agent does, and waits until the switch judges by them.
  void publish(const std::vector<Json>& policies) {
    policy::Objects objects;
    policy::Store store;
    const std::vector<std::pair<std::string, const Nic*>> pods = {
        {"server", &server_}, {"client", &client_}, {"other", &other_}};
    for (const auto& [name, nic] : pods) policy::add_object(objects, pod_object(name, *nic), "test");
    for (const Json& object : policies) policy::add_object(objects, object, "test");
    ASSERT_TRUE(objects.problems.empty()) << objects.problems.front().text();
    store.put(objects);
    const auto block = store.publish().block;
    std::vector<policy::AttachedEndpoint> attached;
    for (const auto& [name, nic] : pods) {
      policy::AttachedEndpoint entry{.endpoint = store.endpoint("blue/" + name, "default").value(),
                                     .network = store.network("default").value()};
      id_of(*nic).copy(entry.id.data(), entry.id.size());
      attached.push_back(entry);
    }
    std::filesystem::create_directories(node().policy_dir());
    const auto file = node().policy_dir() / policy::tables_file_name();
    ASSERT_TRUE(write_file_atomically(
        file, policy::tables_file_content({.generation = ++generation_,
                                           .block = block,
                                           .attachments = attached,
                                           .names = policy::policy_names_text(store.policies())})));
    ASSERT_TRUE(eventually(
        [&] { return ask("stats").value("policy_generation", std::uint64_t{0}) == generation_; }, kPatience))
        << slurp(log_file());
  }
  static Frame packet(const Nic& from, const Nic& to, PacketSpec spec) {
    spec.source = *from.address;
    spec.destination = *to.address;
    Frame frame = make_packet(spec);
    std::ranges::copy(to.mac.bytes, frame.begin());
    std::ranges::copy(from.mac.bytes, frame.begin() + 6);
    return frame;
  }
  // Whether it comes, as far as what is sent after it has come.
  bool comes(Nic& from, Nic& to, const PacketSpec& spec) {
    const Frame frame = packet(from, to, spec);
    Frame after = make_arp_announcement(from.mac, *from.address);
    after.back() = static_cast<std::uint8_t>(marks_++);
    if (!from.guest->send(frame) || !from.guest->send(after)) ADD_FAILURE() << "no room in the ring";
    bool found = false;
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      const auto got = to.guest->receive_within(std::chrono::milliseconds(100));
      if (!got) continue;
      found = found || got->bytes == frame;
      if (got->bytes == after) return found;
    }
    ADD_FAILURE() << "the mark is lost";
    return false;
  }

  Nic server_;
  Nic client_;
  Nic other_;
  std::uint64_t generation_ = 0;
  int marks_ = 0;
};

TEST_F(SwitchPolicy, WhereAnAgentHasRunAGuestIsDeniedUntilItIsJudged) {
  start_switch();
  add_guests();
  EXPECT_FALSE(comes(client_, server_, {.destination_port = 80}));
  EXPECT_EQ(drops_at(client_, "not-judged-yet"), 1U);
  EXPECT_EQ(port_of(server_).value("policy", ""), "enforced, denied until judged");
  publish({});
  EXPECT_TRUE(comes(client_, server_, {.destination_port = 80}));
}

TEST_F(SwitchPolicy, WithPolicyDefaultAllowItPassesUntilItIsJudged) {
  start_switch();
  add_guests({{"policyDefault", "allow"}});
  EXPECT_TRUE(comes(client_, server_, {.destination_port = 80, .tcp_flags = kSyn}));
  publish({policy_object(kDenyAll)});
  EXPECT_FALSE(comes(client_, server_, {.destination_port = 81, .tcp_flags = kSyn}));
}

TEST_F(SwitchPolicy, HoldsBothEndsOfAConnectionToTheirPolicies) {
  start_switch();
  add_guests({{"requirePolicy", true}});
  publish({policy_object(kClientToPort80)});
  const PacketSpec open{.source_port = 4000, .destination_port = 80, .tcp_flags = kSyn};
  EXPECT_TRUE(comes(client_, server_, open));
  EXPECT_FALSE(comes(other_, server_, open));
  EXPECT_FALSE(comes(client_, server_, {.source_port = 4000, .destination_port = 81, .tcp_flags = kSyn}));
  EXPECT_EQ(drops_at(server_, "policy"), 2U);
  // What answers belongs to the connection, what opens another one does not.
  EXPECT_TRUE(comes(server_, client_, {.source_port = 80, .destination_port = 4000, .tcp_flags = kSynAck}));
  EXPECT_FALSE(comes(server_, client_, {.source_port = 5000, .destination_port = 80, .tcp_flags = kSyn}));
  EXPECT_EQ(drops_at(server_, "policy"), 3U);
  EXPECT_TRUE(comes(client_, other_, open)) << "no policy is about these";
}

TEST_F(SwitchPolicy, FollowsTheTablesWhileFramesGo) {
  start_switch();
  add_guests();
  const PacketSpec question{.protocol = kUdp, .source_port = 4000, .destination_port = 53};
  for (int i = 0; i < 10; i++) {
    ASSERT_NO_FATAL_FAILURE(publish({policy_object(kClientToPort80)}));
    EXPECT_TRUE(comes(client_, server_, question)) << i;
    ASSERT_NO_FATAL_FAILURE(publish({policy_object(kDenyAll)}));
    EXPECT_FALSE(comes(client_, server_, question)) << i << ": a connection that is known is judged again";
  }
}

TEST_F(SwitchPolicy, CountsWhatItsRulesDidUnderTheirNames) {
  start_switch();
  add_guests();
  publish({policy_object(kClientToPort80)});
  const auto hits = [&](const Json& rule) {
    for (const Json& row : ask("policy.counters")) {
      if (row["policy"] == "blue/guard" && row["rule"] == rule && row["ingress"] == true)
        return row.value("hits", 0U);
    }
    return 0U;
  };
  constexpr unsigned kConnections = 3;
  for (std::uint16_t port = 4000; port < 4000 + kConnections; port++)
    EXPECT_TRUE(comes(client_, server_, {.source_port = port, .destination_port = 80, .tcp_flags = kSyn}));
  EXPECT_FALSE(comes(client_, server_, {.source_port = 4000, .destination_port = 81, .tcp_flags = kSyn}));
  EXPECT_EQ(hits(0), kConnections) << ask("policy.counters");
  const Json flows = ask("flows");
  const auto flow = std::ranges::find_if(flows, [&](const Json& row) {
    return row["attachment"] == id_of(server_) && row["source_port"] == 4000;
  });
  ASSERT_NE(flow, flows.end()) << flows;
  EXPECT_EQ((*flow)["source"], client_.address->to_string());
  EXPECT_EQ((*flow)["destination_port"], 80);
  EXPECT_EQ((*flow)["state"], "new");
  EXPECT_EQ((*flow)["policy"], "blue/guard");
  EXPECT_EQ(hits(nullptr), 1U);
  // Other tables, other numbers: what was counted keeps its names.
  Json first = policy_object(kDenyAll);
  first["metadata"]["name"] = "a-new-one";
  publish({first, policy_object(kClientToPort80)});
  EXPECT_EQ(hits(0), kConnections);
  EXPECT_TRUE(comes(client_, server_, {.source_port = 5000, .destination_port = 80, .tcp_flags = kSyn}));
  EXPECT_EQ(hits(0), kConnections + 1);
}

TEST_F(SwitchPolicy, TellsWhatItDroppedAndWhy) {
  start_switch();
  add_guests();
  publish({policy_object(kClientToPort80)});
  EXPECT_FALSE(comes(client_, server_, {.source_port = 4000, .destination_port = 81, .tcp_flags = kSyn}));
  const Json told = ask("policy.drops");
  ASSERT_EQ(told["drops"].size(), 1U) << told;
  const Json& drop = told["drops"][0];
  EXPECT_EQ(drop["attachment"], id_of(server_));
  EXPECT_EQ(drop["ingress"], true);
  EXPECT_EQ(drop["source"], client_.address->to_string());
  EXPECT_EQ(drop["destination"], server_.address->to_string());
  EXPECT_EQ(drop["source_port"], 4000);
  EXPECT_EQ(drop["destination_port"], 81);
  EXPECT_EQ(drop["protocol"], 6);
  EXPECT_EQ(drop["reason"], "isolated");
  EXPECT_EQ(drop["policy"], "blue/guard");
  EXPECT_TRUE(drop["rule"].is_null());
  // A flood is counted, and told of ten times a second: at most thrice that, however long the seconds are.
  const Frame forbidden = packet(client_, server_, {.destination_port = 81, .tcp_flags = kSyn});
  for (int i = 0; i < 200; i++) client_.guest->send(forbidden);
  EXPECT_TRUE(eventually([&] { return drops_at(server_, "policy") == 201; }, kPatience));
  const std::size_t events = ask("policy.drops")["drops"].size();
  EXPECT_GE(events, 10U);
  EXPECT_LE(events, 40U);
}

TEST_F(SwitchPolicy, TellsWhatPassesByAuditAlone) {
  start_switch();
  add_guests();
  Json audited = policy_object(kDenyAll);
  audited["metadata"]["annotations"] = {{"vmlane.io/policy-mode", "audit"}};
  publish({audited});
  EXPECT_TRUE(comes(client_, server_, {.source_port = 40'001}));
  EXPECT_EQ(drops_at(server_, "policy"), 0U);
  ASSERT_TRUE(eventually([&] { return ask("policy.drops")["drops"].size() == 1; }, kPatience));
  const Json passed = ask("policy.drops")["drops"][0];
  EXPECT_EQ(passed["audit"], true) << passed;
  EXPECT_EQ(passed["policy"], "blue/guard") << passed;
  const Json counted = ask("policy.counters");
  ASSERT_EQ(counted.size(), 1U) << counted;
  EXPECT_EQ(counted[0]["audited"], 1) << counted;
  EXPECT_EQ(counted[0]["hits"], 0) << counted;
  // The same in force.
  publish({policy_object(kDenyAll)});
  EXPECT_FALSE(comes(client_, server_, {.source_port = 40'002}));
  ASSERT_TRUE(eventually([&] { return ask("policy.drops")["drops"].size() == 2; }, kPatience));
  EXPECT_EQ(ask("policy.drops")["drops"][1]["audit"], false);
}

TEST_F(SwitchPolicy, ExemptsTheNodeOnlyWhereItIsTold) {
  start_switch();
  std::filesystem::create_directories(node().state_dir);
  spit(node().agent_marker(), "");
  const Json gateway = {{"isGateway", true}};
  Nic open = connect_nic("open", config(overlaid(gateway, {{"allowNode", true}})));
  Nic closed = connect_nic("closed", config(gateway));
  Pod& container = make_pod("c");
  ASSERT_CNI_OK(run_plugin(
      "vmlane-veth",
      call("ADD", container.path(),
           config({{"type", "vmlane-veth"}, {"isGateway", true}, {"policyDefault", "allow"}}), "c"),
      node_json()));
  const AnsweringGuest first(open);
  const AnsweringGuest second(closed);
  // Nobody has judged either: the default is to deny.
  EXPECT_TRUE(reach("", open.address->to_string()).all());
  EXPECT_EQ(ping("", closed.address->to_string()).received, 0);
  EXPECT_EQ(ping(container.path(), open.address->to_string()).received, 0) << "a container is not the node";
}

// As a user sees it: the agent, the command line, and a policy that is a Kubernetes object.
TEST_F(SwitchPolicy, TheAgentShowsThisLaneWithTheOthers) {
  start_switch();
  const auto objects = directory() / "objects";
  std::filesystem::create_directories(objects);
  spit(objects / "server.json", pod_text("server", {{"app", "server"}}));
  spit(objects / "client.json", pod_text("client", {{"app", "client"}}));
  spit(objects / "guard.json", policy_object(kClientToPort80).dump());
  AgentRunner agent(node(), {objects});
  agent.start();
  server_ = connect_nic("server", inside());
  client_ = connect_nic("client", inside());
  ASSERT_TRUE(eventually(
      [&] {
        return published_verdict(node(), id_of(server_), true, client_.address->to_string(), 80) == true;
      },
      seconds(30)))
      << agent.status();
  ASSERT_TRUE(eventually(
      [&] {
        const std::uint64_t generation = ask("stats").value("policy_generation", std::uint64_t{0});
        return generation != 0 &&
               comes(client_, server_, {.source_port = 4000, .destination_port = 80, .tcp_flags = kSyn});
      },
      seconds(30)));
  EXPECT_FALSE(comes(client_, server_, {.source_port = 4001, .destination_port = 81, .tcp_flags = kSyn}));
  const auto ctl = [&](const std::string& what) {
    const RunResult result = run({built("vmlanectl"), "policy", what, "--config", node_json(), "-o", "json"});
    EXPECT_TRUE(result.ok()) << result.err;
    return Json::parse(result.out);
  };
  const Json drops = ctl("drops");
  const auto drop = std::ranges::find_if(drops, [&](const Json& row) {
    return row["attachment"] == id_of(server_) && row["destination"] == server_.address->to_string() + ":81";
  });
  ASSERT_NE(drop, drops.end()) << drops;
  EXPECT_EQ((*drop)["pod"], "blue/server");
  EXPECT_EQ((*drop)["policy"], "blue/guard");
  EXPECT_EQ((*drop)["reason"], "isolated");
  EXPECT_EQ((*drop)["direction"], "ingress");
  const Json counters = ctl("counters");
  const auto rule = std::ranges::find_if(counters, [](const Json& row) {
    return row["policy"] == "blue/guard" && row["rule"] == 0 && row["direction"] == "ingress";
  });
  ASSERT_NE(rule, counters.end()) << counters;
  EXPECT_GT((*rule)["hits"], 0) << counters;
  const auto connections = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {built("vmlanectl"), "policy", "ct"});
    words.insert(words.end(), {"--attachment", id_of(server_), "--config", node_json(), "-o", "json"});
    const RunResult result = run(words);
    EXPECT_TRUE(result.ok()) << result.err;
    return Json::parse(result.out);
  };
  const Json listed = connections({"ls"});
  ASSERT_EQ(listed.size(), 1U) << listed;
  EXPECT_EQ(listed[0]["pod"], "blue/server");
  EXPECT_EQ(listed[0]["protocol"], "TCP");
  EXPECT_EQ(listed[0]["source"], client_.address->to_string() + ":4000");
  EXPECT_EQ(listed[0]["destination"], server_.address->to_string() + ":80");
  EXPECT_EQ(listed[0]["policy"], "blue/guard");
  EXPECT_EQ(connections({"flush"}), (Json{{"flushed", 1}}));
  EXPECT_EQ(connections({"ls"}), Json::array());
  EXPECT_EQ(agent.stop(), 0);
}

TEST_F(SwitchPolicy, ForgottenConnectionsAreJudgedAsNewOnes) {
  start_switch();
  add_guests();
  publish({policy_object(kClientToPort80)});
  const PacketSpec query{.protocol = kUdp, .source_port = 4000, .destination_port = 53};
  const PacketSpec reply{.protocol = kUdp, .source_port = 53, .destination_port = 4000};
  ASSERT_TRUE(comes(client_, server_, query));
  ASSERT_TRUE(comes(server_, client_, reply)) << "of a connection that the client opened";
  EXPECT_EQ(ask("flows.flush", {{"port", id_of(server_)}}), (Json{{"flushed", 1}}));
  EXPECT_FALSE(comes(server_, client_, reply)) << "the server itself may open none";
  EXPECT_TRUE(comes(client_, server_, query));
  EXPECT_TRUE(comes(server_, client_, reply));
}

TEST_F(SwitchPolicy, ATraceNamesTheRuleAndLeavesNoConnection) {
  start_switch();
  add_guests();
  publish({policy_object(kClientToPort80)});
  const auto trace = [&](int port) {
    return ask("trace", {{"port", id_of(client_)},
                         {"destination", server_.address->to_string()},
                         {"destination_port", port}});
  };
  const auto verdict = [](const Json& traced) {
    for (const Json& step : traced["steps"]) {
      if (step.value("stage", "") == "policy-ingress") return step["policy"];
    }
    return Json();
  };
  const Json allowed = trace(80);
  EXPECT_EQ(allowed["sent"], Json::array({id_of(server_)})) << allowed;
  EXPECT_EQ(verdict(allowed)["policy"], "blue/guard") << allowed;
  EXPECT_EQ(verdict(allowed)["rule"], 0) << allowed;
  const Json denied = trace(81);
  EXPECT_EQ(denied["dropped"], Json::array({Json{{"port", id_of(server_)}, {"reason", "policy"}}})) << denied;
  EXPECT_EQ(verdict(denied)["reason"], "isolated") << denied;
  EXPECT_EQ(ask("flows"), Json::array());
  EXPECT_EQ(ask("policy.counters"), Json::array());
  EXPECT_EQ(ask("policy.drops")["drops"], Json::array());
  EXPECT_TRUE(comes(client_, server_, {.source_port = 40000, .destination_port = 80, .tcp_flags = kSyn}));
  EXPECT_FALSE(ask("flows").empty());
}

TEST_F(SwitchPolicy, NoFrameGetsPastItWhenTheSwitchIsReplaced) {
  start_keeper();
  add_guests();
  publish({policy_object(kDenyAll)});
  const Frame forbidden = packet(client_, server_, {.destination_port = 80, .tcp_flags = kSyn});
  for (int i = 0; i < 3; i++) {
    const Json before = ask_keeper("status");
    ASSERT_EQ(::kill(before.value("pid", 0), SIGKILL), 0);
    const auto forwards = [&] {
      client_.guest->send(forbidden);
      const Json now = ask_keeper("status");
      return now.value("deaths", 0) > before.value("deaths", 0) && now.value("state", "") == "forwarding";
    };
    ASSERT_TRUE(eventually(forwards, seconds(60)));
    EXPECT_FALSE(comes(client_, server_, {.destination_port = 80, .tcp_flags = kSyn}));
    EXPECT_GT(drops_at(server_, "policy"), 0U);
  }
}

}  // namespace
}  // namespace vmlane::test
