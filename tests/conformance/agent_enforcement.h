// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/names.h"
#include "tests/support/agent.h"
#include "tests/support/paths.h"
#include "tests/support/plugin.h"
#include "tests/support/traffic.h"

namespace vmlane::test {

// Pods web, client and stranger on one bridge. A policy lets client alone reach web.
class AgentEnforcement : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directories(objects());
    agent_.emplace(node(), std::vector<std::filesystem::path>{objects()});
    for (const char* name : {"web", "client", "stranger"}) put_pod(name);
    put("guard.json", guard("client"));
  }

  std::filesystem::path objects() const { return directory() / "objects"; }
  void put(const std::string& file, const std::string& text) const {
    spit(directory() / "unfinished", text);
    std::filesystem::rename(directory() / "unfinished", objects() / file);
  }
  void put_pod(const std::string& name) const { put(name + ".json", pod_text(name, {{"role", name}})); }
  static std::string guard(const std::string& peer) {
    return policy_text("guard",
                       {{"podSelector", {{"matchLabels", {{"role", "web"}}}}},
                        {"ingress", {{{"from", {{{"podSelector", {{"matchLabels", {{"role", peer}}}}}}}}}}}});
  }
  // ADD for the pod of that name; its address.
  std::string attach(const std::string& name, const Json& more = Json::object()) {
    CniCall cni = call("ADD", make_pod(name).path(), config(more), name);
    cni.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + name;
    const CniOutcome outcome = run_call(cni);
    EXPECT_CNI_OK(outcome);
    if (!outcome.ok()) return {};
    const std::string address = (*outcome.document)["ips"][0].value("address", "");
    return address.substr(0, address.find('/'));
  }
  static std::string id_of(const std::string& name) { return names::attachment_id("blue", name, "eth0"); }
  const std::string& netns(const std::string& name) {
    return paths_.emplace(name, pods().at(name)->path()).first->second;
  }
  bool judged(const std::string& name) {
    return eventually([&] { return agent().attachment(id_of(name)).value("judged", false); },
                      std::chrono::seconds(30));
  }
  // Whether echo requests come back, as soon as that is so.
  bool comes_through(const std::string& from, const std::string& address, bool expected) {
    return eventually([&] { return (ping(netns(from), address, {.count = 1}).received == 1) == expected; },
                      std::chrono::seconds(40));
  }
  RunResult ctl(const std::vector<std::string>& arguments) const {
    std::vector<std::string> command{built("vmlanectl"), "policy"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.insert(command.end(), {"--config", node_json()});
    return run(command);
  }
  Json ctl_json(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"-o", "json"});
    const RunResult result = ctl(arguments);
    EXPECT_TRUE(result.ok()) << result.err;
    return Json::parse(result.out, nullptr, false);
  }
  // What links have counts as another build's from now on, as after vmlane was upgraded or downgraded.
  void become_another_release(int number) const {
    const std::filesystem::path programs = node().run_dir / "programs";
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(programs)) {
      if (entry.path().filename().string().starts_with("policy-")) files.push_back(entry.path());
    }
    for (std::size_t i = 0; i < files.size(); i++)
      std::filesystem::rename(files[i],
                              programs / ("policy-" + std::to_string(number) + std::to_string(i) + ".json"));
  }
  AgentRunner& agent() { return *agent_; }

 private:
  std::optional<AgentRunner> agent_;
  std::map<std::string, std::string> paths_;
};

}  // namespace vmlane::test
