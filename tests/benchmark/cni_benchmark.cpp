// SPDX-License-Identifier: Apache-2.0
// How long the plugins take, measured against the reference `bridge` plugin with the same host-local. Rounds
// are interleaved, so that a noisy machine is noisy for all; medians are compared, as ratios. Run it by
// scripts/benchmark on an idle machine; it is no part of the tests.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>

#include "tests/support/long_run.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

// Debian's containernetworking-plugins.
constexpr const char* kReference = "bridge";
constexpr const char* kReferencePath = "/usr/lib/cni/bridge";
using Samples = std::vector<double>;  // milliseconds

double median(Samples samples) {
  std::ranges::sort(samples);
  const std::size_t half = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[half] : (samples[half - 1] + samples[half]) / 2;
}

class CniBenchmark : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (!IsSkipped()) configure_node({{"logLevel", "info"}});
  }
  // Each plugin has its bridge, on which a first pod stays: that making and removing a bridge, which the
  // reference never removes, is not measured.
  Json config_of(const std::string& type) const {
    const std::string bridge = type == kReference ? "brr" : (type == "vmlane-tap" ? "brt" : "brv");
    Json conf = config({{"type", type}, {"name", "net-" + type}, {"bridge", bridge}, {"isGateway", true}});
    conf["cniVersion"] = "1.0.0";
    return conf;
  }
  static std::string program_of(const std::string& type) {
    return type == kReference ? kReferencePath : type;
  }
  static double timed(const std::function<CniOutcome()>& operation) {
    const auto start = std::chrono::steady_clock::now();
    const CniOutcome outcome = operation();
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_CNI_OK(outcome);
    return std::chrono::duration<double, std::milli>(took).count();
  }
  double time_of(const std::string& type, const std::string& command, const std::string& pod,
                 const std::string& container) const {
    const CniCall made = call(command, "/run/netns/" + pod, config_of(type), container);
    return timed([&] { return run_plugin(program_of(type), made, node_json()); });
  }
  double time_of_version(const std::string& type) const {
    CniCall made;
    made.command = "VERSION";
    return timed([&] { return run_plugin(program_of(type), made, node_json()); });
  }
  void add_neighbour(const std::string& type) {
    time_of(type, "ADD", make_pod("first-" + type).name(), "first-" + type);
  }
  // One row: what, ours, the reference, ratio and limit.
  static void compare(const std::string& what, double ours, double reference, double limit) {
    const double ratio = ours / reference;
    std::printf("%-34s %8.1f ms %8.1f ms   ratio %.2f   limit %.2f   %s\n", what.c_str(), ours, reference,
                ratio, limit, ratio <= limit ? "ok" : "ABOVE");
    EXPECT_LE(ratio, limit) << what;
  }
};

TEST_F(CniBenchmark, AddAndDelAgainstTheReference) {
  const int count = rounds(30, 200);
  const std::vector<std::string> types = {kReference, "vmlane-veth", "vmlane-tap"};
  std::map<std::string, Samples> add;
  std::map<std::string, Samples> both;
  make_pod("p");
  for (const std::string& type : types) add_neighbour(type);
  for (int round = 0; round < count; round++) {
    for (const std::string& type : types) {
      const std::string container = "c" + std::to_string(round);
      add[type].push_back(time_of(type, "ADD", "p", container));
      both[type].push_back(add[type].back() + time_of(type, "DEL", "p", container));
    }
  }
  const double reference = median(both[kReference]);
  compare("ADD + DEL, vmlane-veth", median(both["vmlane-veth"]), reference, 0.55);
  compare("ADD + DEL, vmlane-tap", median(both["vmlane-tap"]), reference, 0.8);
  std::printf("%-34s %8.1f ms %8.1f ms\n", "of it ADD, vmlane-veth", median(add["vmlane-veth"]),
              median(add[kReference]));
  std::printf("%-34s %8.1f ms %8.1f ms\n", "of it ADD, vmlane-tap", median(add["vmlane-tap"]),
              median(add[kReference]));
}

TEST_F(CniBenchmark, VersionAgainstTheReference) {
  const int count = rounds(100, 1000);
  std::map<std::string, Samples> took;
  for (int round = 0; round < count; round++) {
    for (const char* type : {kReference, "vmlane-veth", "vmlane-tap"})
      took[type].push_back(time_of_version(type));
  }
  compare("VERSION, vmlane-veth", median(took["vmlane-veth"]), median(took[kReference]), 0.35);
  compare("VERSION, vmlane-tap", median(took["vmlane-tap"]), median(took[kReference]), 0.35);
}

// Interleaving is not possible where the one follows from the other; so the median of the first ADDs against
// that of the last.
TEST_F(CniBenchmark, LastOfManyAttachmentsAgainstTheFirst) {
  constexpr int kCount = 200;
  constexpr int kSample = 15;
  for (const std::string type : {"vmlane-veth", "vmlane-tap"}) {
    Samples took;
    for (int i = 0; i < kCount; i++) {
      const std::string name = type + "-" + std::to_string(i);
      took.push_back(time_of(type, "ADD", make_pod(name).name(), name));
    }
    const Samples first(took.begin() + 1, took.begin() + 1 + kSample);
    const Samples last(took.end() - kSample, took.end());
    compare("ADD number 200 to number 1, " + type.substr(7), median(last), median(first), 1.3);
    for (int i = 0; i < kCount; i++) {
      const std::string name = type + "-" + std::to_string(i);
      time_of(type, "DEL", name, name);
    }
  }
}

}  // namespace
}  // namespace vmlane::test
