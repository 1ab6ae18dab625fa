// SPDX-License-Identifier: Apache-2.0
// What the agent publishes, as traffic between pods meets it: policies that come and go, an agent that is
// killed, and what vmlanectl tells of it.
#include "tests/conformance/agent_enforcement.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <thread>

#include "ebpf/policy_layout.bpf.h"
#include "ebpf/policy_maps.h"
#include "ebpf/policy_programs.h"
#include "ebpf/policy_tables.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

TEST_F(AgentEnforcement, PolicyIsFollowedByTraffic) {
  agent().start();
  const std::string web = attach("web");
  attach("client");
  attach("stranger");
  for (const char* name : {"web", "client", "stranger"}) ASSERT_TRUE(judged(name)) << agent().status();
  EXPECT_TRUE(comes_through("client", web, true)) << agent().status();
  EXPECT_EQ(ping(netns("stranger"), web).received, 0);
  put("guard.json", guard("stranger"));
  EXPECT_TRUE(comes_through("stranger", web, true));
  EXPECT_EQ(ping(netns("client"), web).received, 0);
  put("client.json", pod_text("client", {{"role", "stranger"}}));
  EXPECT_TRUE(comes_through("client", web, true)) << "by its new label";
  fs::remove(objects() / "guard.json");
  put_pod("client");
  EXPECT_TRUE(eventually([&] { return agent().status().value("objects", 0) == 3; }));
  EXPECT_TRUE(comes_through("client", web, true));
}

TEST_F(AgentEnforcement, WhatNobodyHasJudgedIsDeniedWhileTheAgentIsDown) {
  agent().start();
  const std::string web = attach("web");
  ASSERT_TRUE(judged("web"));
  agent().kill();
  const std::string client = attach("client");
  EXPECT_EQ(ping(netns("client"), web).received, 0);
  EXPECT_EQ(ping(netns("web"), client).received, 0);
  agent().start();
  EXPECT_TRUE(comes_through("client", web, true)) << agent().status();
}

// Policies flip around one that stays, a pod comes and goes, the agent is killed over and over, and every
// other time the one that follows is of another release: nothing denied passes, nothing allowed is lost.
TEST_F(AgentEnforcement, KilledAtRandomMomentsItNeitherOpensNorCloses) {
  agent().start();
  const std::string web = attach("web");
  attach("client");
  attach("stranger");
  ASSERT_TRUE(judged("stranger"));
  ASSERT_TRUE(comes_through("client", web, true)) << agent().status();
  ASSERT_TRUE(comes_through("stranger", web, false));
  std::atomic<bool> done = false;
  PingResult allowed;
  PingResult denied;
  const auto keep_on = [&](const std::string& from, PingResult& sum) {
    const std::string path = netns(from);
    return std::jthread([&, path] {
      while (!done) {
        const PingResult series = ping(path, web, {.count = 10});
        sum.sent += series.sent;
        sum.received += series.received;
      }
    });
  };
  std::atomic<int> visits = 0;
  const std::string visitor_path = make_pod("visitor").path();
  {
    const auto client = keep_on("client", allowed);
    const auto stranger = keep_on("stranger", denied);
    const std::jthread visitor([&] {
      while (!done) {
        EXPECT_CNI_OK(run_call(call("ADD", visitor_path, config(), "visitor")));
        EXPECT_CNI_OK(run_call(call("DEL", visitor_path, config(), "visitor")));
        visits++;
      }
    });
    const int kills = std::getenv("VMLANE_LONG") != nullptr ? 50 : 5;
    for (int i = 0; i < kills; i++) {
      for (int flip = 0; flip < 4; flip++) {
        put("flip.json",
            policy_text(
                "flip",
                {{"podSelector", Json::object()},
                 {"ingress",
                  {{{"from",
                     {{{"ipBlock", {{"cidr", flip % 2 == 0 ? "198.51.100.0/24" : "203.0.113.0/24"}}}}}}}}}}));
        put("client.json", pod_text("client", {{"role", "client"}, {"flip", std::to_string(flip)}}));
        sleep_ms(flip * 7);
      }
      agent().kill();
      if (i % 2 == 1) become_another_release(i);
      agent().start();
    }
    done = true;
  }
  EXPECT_GT(visits, 0);
  EXPECT_GT(denied.sent, 0);
  EXPECT_EQ(denied.received, 0) << "of " << denied.sent;
  EXPECT_GT(allowed.sent, 0);
  EXPECT_EQ(allowed.received, allowed.sent);
}

TEST_F(AgentEnforcement, DropsCountersAndConnectionsAreToldByName) {
  agent().start();
  const std::string web = attach("web");
  attach("client");
  const std::string stranger = attach("stranger");
  for (const char* name : {"web", "client", "stranger"}) ASSERT_TRUE(judged(name)) << agent().status();
  ASSERT_TRUE(comes_through("client", web, true)) << agent().status();
  BackgroundProcess follower(
      {built("vmlanectl"), "policy", "drops", "--follow", "-o", "json", "--config", node_json()},
      {.stdout_path = (directory() / "drops").string()});
  EXPECT_EQ(ping(netns("stranger"), web).received, 0);

  const auto is_ours = [&](const Json& row) {
    return row.value("pod", "") == "blue/web" && row.value("source", "") == stranger &&
           row["policy"] == "blue/guard";
  };
  Json drops;
  EXPECT_TRUE(eventually(
      [&] {
        drops = ctl_json({"drops"});
        return std::ranges::any_of(drops, is_ours);
      },
      20s))
      << drops;
  EXPECT_TRUE(
      eventually([&] { return slurp(directory() / "drops").find("blue/guard") != std::string::npos; }, 20s));
  EXPECT_TRUE(ctl({"drops"}).out.find("blue/guard") != std::string::npos);

  const Json counters = ctl_json({"counters"});
  const auto counted = [&](const Json& rule) {
    const auto row = std::ranges::find_if(counters, [&](const Json& candidate) {
      return candidate["policy"] == "blue/guard" && candidate["rule"] == rule;
    });
    return row == counters.end() ? -1 : row->value("hits", -1);
  };
  EXPECT_GE(counted(0), 1) << counters;
  EXPECT_GE(counted(nullptr), 1) << counters;
  put("more.json",
      policy_text("unused", {{"podSelector", {{"matchLabels", {{"role", "web"}}}}},
                             {"ingress", {{{"from", {{{"ipBlock", {{"cidr", "198.51.100.0/24"}}}}}}}}}}));
  ASSERT_TRUE(eventually([&] { return agent().status().value("objects", 0) == 5; }));
  const Json unused = ctl_json({"counters", "--unused"});
  EXPECT_TRUE(std::ranges::any_of(unused, [](const Json& row) {
    return row["policy"] == "blue/unused" && row["rule"] == 0;
  })) << unused;
  EXPECT_FALSE(std::ranges::any_of(
      unused, [](const Json& row) { return row["policy"] == "blue/guard" && row["rule"] == 0; }))
      << "what was counted before the tables changed still counts: " << unused;

  const Json simulated = [&] {
    spit(directory() / "with.json", guard("stranger"));
    return ctl_json({"simulate", "--with", directory() / "with.json"});
  }();
  EXPECT_TRUE(std::ranges::any_of(simulated["changes"], [&](const Json& change) {
    return change["probe"]["from"] == stranger && change["after"]["verdict"] == "allow";
  })) << simulated;

  ping(netns("client"), web);
  EXPECT_FALSE(ctl_json({"ct", "ls", "--pod", "blue/web"}).empty());
  EXPECT_GE(ctl_json({"ct", "flush", "--pod", "blue/web"}).value("flushed", 0), 1);
  EXPECT_EQ(ctl({"ct", "ls", "--pod", "blue/nobody"}).status, 1);
}

// Health checks come from the node, by any of its addresses; a pod does not get in by that of the node.
TEST_F(AgentEnforcement, F045_NodeReachesItsPodsAndNobodyElseUnderItsAddress) {
  const std::string other = "198.51.100.1";
  must({"ip", "link", "set", "lo", "up"});
  must({"ip", "address", "add", other + "/32", "dev", "lo"});
  put("guard.json", policy_text("guard", {{"podSelector", {{"matchLabels", {{"role", "web"}}}}}}));
  agent().start();
  const Json gateway = {{"isGateway", true}, {"isDefaultGateway", true}};
  const std::string web = attach("web", gateway);
  attach("stranger", gateway);
  for (const char* name : {"web", "stranger"}) ASSERT_TRUE(judged(name)) << agent().status();
  const auto node_reaches = [&](const std::vector<std::string>& source) {
    std::vector<std::string> command{"ping", "-c", "1", "-W", "2"};
    command.insert(command.end(), source.begin(), source.end());
    command.push_back(web);
    return eventually([&] { return run(command).ok(); }, 40s);
  };
  EXPECT_TRUE(node_reaches({})) << agent().status();
  EXPECT_TRUE(node_reaches({"-I", other})) << agent().status();
  EXPECT_EQ(ping(netns("stranger"), web).received, 0) << "it is on the node, but it is not the node";

  must({"sysctl", "-qw", "net.ipv4.ip_forward=1"});
  must({"nft",
        "add table ip nat; "
        "add chain ip nat in { type nat hook prerouting priority -100; }; "
        "add rule ip nat in ip daddr " +
            other + " dnat to " + web +
            "; "
            "add chain ip nat out { type nat hook postrouting priority 100; }; "
            "add rule ip nat out ip daddr " +
            web + " masquerade"});
  EXPECT_EQ(ping(netns("stranger"), other, {.count = 3}).received, 0)
      << "what is translated to the node's address is not the node's own";
  EXPECT_TRUE(node_reaches({}));
  fs::remove(objects() / "guard.json");
  EXPECT_TRUE(comes_through("stranger", other, true)) << "only policy kept it out";
}

TEST_F(AgentEnforcement, CountersOutliveAgentsAndCountWhileThereIsNone) {
  agent().start();
  const std::string web = attach("web");
  attach("client");
  attach("stranger");
  for (const char* name : {"web", "client", "stranger"}) ASSERT_TRUE(judged(name)) << agent().status();
  ASSERT_TRUE(comes_through("client", web, true)) << agent().status();
  const auto hits = [&] {
    std::map<int, int> found;  // by rule; -1 is isolation
    for (const Json& row : ctl_json({"counters"})) {
      if (row["policy"] == "blue/guard")
        found[row["rule"].is_null() ? -1 : row["rule"].get<int>()] = row["hits"];
    }
    return found;
  };
  EXPECT_EQ(ping(netns("stranger"), web).received, 0);
  std::map<int, int> before = hits();
  EXPECT_GE(before[0], 1);
  EXPECT_GE(before[-1], 1);
  for (const bool gently : {false, true, false}) {
    if (gently) {
      agent().stop();
    } else {
      agent().kill();
    }
    EXPECT_EQ(ping(netns("stranger"), web).received, 0);
    agent().start();
    std::map<int, int> now = hits();
    EXPECT_GT(now[-1], before[-1]) << "what came while there was no agent counts";
    EXPECT_GE(now[0], before[0]);
    EXPECT_LT(now[0], before[0] + 10) << "nothing counts twice";
    before = now;
  }
  const std::string file = node().policy_dir() / "counters.json";
  spit(file, "{}");
  agent().kill();
  agent().start();
  EXPECT_TRUE(comes_through("client", web, true)) << "counters that cannot be read are no reason to end";
  EXPECT_LT(hits()[-1], before[-1]);
}

TEST_F(AgentEnforcement, AFullTableOfCountersIsAProblemThatStatusTells) {
  agent().start();
  const std::string web = attach("web");
  attach("client");
  for (const char* name : {"web", "client"}) ASSERT_TRUE(judged(name)) << agent().status();
  EXPECT_EQ(agent().problems().find("counters"), std::string::npos) << agent().problems();
  // As if so many other rules had been hit.
  const auto programs = value_of(ebpf::policy_programs(node()));
  const Fd counters = ebpf::inner_map(programs.map(ebpf::PolicyMap::kCounters), ebpf::kOnlyKey);
  ASSERT_TRUE(counters);
  vmlane_policy_counter_key key{.policy = 1'000'000, .rule = 0, .direction = 0};
  const vmlane_policy_counter none{};
  const std::size_t room = ebpf::PolicySizes().counters;
  while (key.rule <= room && bpf_map_update_elem(counters.get(), &key, &none, BPF_NOEXIST) == 0) key.rule++;
  ASSERT_LE(key.rule, room) << "there was room for more than that";
  EXPECT_TRUE(comes_through("client", web, true)) << "what is not counted is judged as ever";
  EXPECT_NE(agent().problems().find("counters is full"), std::string::npos) << agent().problems();
}

TEST_F(AgentEnforcement, WhatAPolicyInAuditWouldDenyPassesAndIsToldByName) {
  Json audited = Json::parse(guard("client"));
  audited["metadata"]["annotations"]["vmlane.io/policy-mode"] = "audit";
  put("guard.json", audited.dump());
  agent().start();
  const std::string web = attach("web");
  const std::string stranger = attach("stranger");
  for (const char* name : {"web", "stranger"}) ASSERT_TRUE(judged(name)) << agent().status();
  ASSERT_TRUE(comes_through("stranger", web, true)) << agent().status();
  const auto is_told = [&](const Json& row) {
    return row.value("pod", "") == "blue/web" && row.value("source", "") == stranger &&
           row["policy"] == "blue/guard" && row.value("audit", false);
  };
  EXPECT_TRUE(eventually([&] { return std::ranges::any_of(ctl_json({"drops"}), is_told); }, 20s))
      << ctl({"drops"}).out;
  EXPECT_NE(ctl({"drops"}).out.find("would deny by blue/guard"), std::string::npos) << ctl({"drops"}).out;
  const Json counters = ctl_json({"counters"});
  EXPECT_TRUE(std::ranges::any_of(counters, [](const Json& row) {
    return row["policy"] == "blue/guard" && row["rule"].is_null() && row["audited"] >= 1 && row["hits"] == 0;
  })) << counters;
  const RunResult explained = ctl({"explain", "blue/stranger", "blue/web", "ICMP"});
  EXPECT_NE(explained.out.find("in audit: would deny by isolated NetworkPolicy blue/guard"),
            std::string::npos)
      << explained.out;
  put("guard.json", guard("client"));
  EXPECT_TRUE(comes_through("stranger", web, false)) << "it is enforced now";
}

}  // namespace
}  // namespace vmlane::test
