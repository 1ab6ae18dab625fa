// SPDX-License-Identifier: Apache-2.0
// How long the change of a label takes from the file that says so to the published tables, with real objects
// in files, one pod a file, and a real agent; and what the agent keeps in memory. The tables file is
// published after the kernel's tables, so its time is that of both. Run it by scripts/benchmark on an idle
// machine; it is no part of the tests. VMLANE_LONG=1 adds 100,000 pods.
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/files.h"
#include "policy/tables_file.h"
#include "tests/support/agent.h"
#include "tests/support/long_run.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kPodsOfNamespace = 100;
constexpr int kPoliciesOfNamespace = 10;
constexpr int kApps = 10;
constexpr int kRounds = 300;
constexpr double kLimit = 10;  // ms, of 99 in 100

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

class AgentBenchmark : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }
  void SetUp() override {
    PluginFixture::SetUp();
    if (!IsSkipped()) fs::create_directories(objects());
  }

  fs::path objects() const { return directory() / "objects"; }
  void put(const std::string& file, const std::string& text) const {
    spit(directory() / "unfinished", text);
    fs::rename(directory() / "unfinished", objects() / file);
  }
  static std::string space(int number) { return "ns-" + std::to_string(number); }
  static std::string pod(int number, const std::string& app) {
    const auto text = [](int value) { return std::to_string(value); };
    return Json{
        {"apiVersion", "v1"},
        {"kind", "Pod"},
        {"metadata",
         {{"namespace", space(number / kPodsOfNamespace)},
          {"name", "pod-" + text(number)},
          {"labels", {{"app", app}, {"pod-template-hash", "h" + text(number / kApps)}}}}},
        {"spec",
         {{"nodeName", "node-" + text(number % 500)},
          {"containers", {{{"name", "main"}, {"ports", {{{"name", "web"}, {"containerPort", 8080}}}}}}}}},
        {"status",
         {{"phase", "Running"},
          {"podIPs",
           {{{"ip", "198." + text(18 + (number >> 16)) + "." + text(number >> 8 & 255) + "." +
                        text(number & 255)}}}}}}}
        .dump();
  }
  void put_world(int pods) const {
    for (int number = 0; number < pods; number++)
      spit(objects() / ("pod-" + std::to_string(number) + ".json"),
           pod(number, "app-" + std::to_string(number % kApps)));
    for (int ns = 0; ns * kPodsOfNamespace < pods; ns++) {
      std::string text;
      for (int i = 0; i < kPoliciesOfNamespace; i++) {
        const std::string app = "app-" + std::to_string((i * 7 + 3) % kApps);
        text +=
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: " + space(ns) +
            ", name: policy-" + std::to_string(i) + "}\nspec: {podSelector: {matchLabels: {app: app-" +
            std::to_string(i) + "}}, ingress: [{from: [{podSelector: {matchLabels: {app: " + app +
            "}}}], ports: [{port: web}]}]}\n";
      }
      spit(objects() / ("policies-" + std::to_string(ns) + ".yaml"), text);
    }
  }
  static double memory(pid_t pid, const std::string& name) {
    constexpr double kKib = 1024;
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) / kKib;
    }
    return 0;
  }

  void run_with(int pods) {
    put_world(pods);
    put("c1.json", pod_text("c1", {{"app", "web"}}));
    put("guard.json",
        policy_text("guard", {{"podSelector", Json::object()},
                              {"ingress",
                               {{{"from",
                                  {{{"namespaceSelector", Json::object()},
                                    {"podSelector", {{"matchLabels", {{"app", "app-1"}}}}}}}}}}}}));
    ASSERT_CNI_OK(add(make_pod("p1"), config()));
    AgentRunner agent(node(), {objects()});
    const auto start = Clock::now();
    agent.start();
    std::printf("%d pods: started in %.0f ms, resident %.1f MiB, at most %.1f MiB\n", pods,
                milliseconds_since(start), memory(agent.pid(), "VmRSS"), memory(agent.pid(), "VmHWM"));
    const Fd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    ASSERT_GE(::inotify_add_watch(watch.get(), node().policy_dir().c_str(), IN_MOVED_TO), 0);
    std::mt19937 random(1);
    std::vector<double> took;
    for (int round = 0; round < kRounds; round++) {
      const int number = static_cast<int>(random() % static_cast<unsigned>(pods));
      spit(directory() / "unfinished", pod(number, round % 2 == 0 ? "app-" + std::to_string(random() % kApps)
                                                                  : "new-" + std::to_string(round)));
      const auto written = Clock::now();
      fs::rename(directory() / "unfinished", objects() / ("pod-" + std::to_string(number) + ".json"));
      pollfd waiting{.fd = watch.get(), .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, 500) > 0) took.push_back(milliseconds_since(written));
      sleep_ms(static_cast<int>(random() % 30));
      std::array<char, 4096> events{};
      while (::read(watch.get(), events.data(), events.size()) > 0) continue;
    }
    ASSERT_GT(took.size(), kRounds / 2U) << "a label that says something new is published";
    std::ranges::sort(took);
    std::printf("%d pods: label changed and published: p50 %.2f ms, p99 %.2f ms, most %.2f ms, of %zu\n",
                pods, took[took.size() / 2], took[took.size() * 99 / 100], took.back(), took.size());
    std::printf("%d pods: resident %.1f MiB\n", pods, memory(agent.pid(), "VmRSS"));
    EXPECT_LE(took[took.size() * 99 / 100], kLimit);
    EXPECT_EQ(agent.stop(), 0);
  }
};

TEST_F(AgentBenchmark, HundredPods) {
  run_with(100);
}

TEST_F(AgentBenchmark, TenThousandPods) {
  run_with(10'000);
}

TEST_F(AgentBenchmark, HundredThousandPods) {
  if (!long_run()) GTEST_SKIP() << "VMLANE_LONG=1 runs it";
  run_with(100'000);
}

}  // namespace
}  // namespace vmlane::test
