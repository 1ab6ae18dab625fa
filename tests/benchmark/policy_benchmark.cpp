// SPDX-License-Identifier: Apache-2.0
// What the policy stage costs a packet, by BPF_PROG_TEST_RUN over an empty program, and natively. Medians of
// interleaved rounds. Run it by scripts/benchmark on an idle machine; it is no part of the tests.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <span>

#include "ebpf/policy_programs.h"
#include "ebpf/policy_tables.h"
#include "policy/native_stage.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/host.h"
#include "tests/support/policy_frames.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using ebpf::PolicyMap;

constexpr std::uint32_t kIncarnation = 77;
constexpr std::uint32_t kRepeat = 200'000;
constexpr int kRounds = 9;

double median(std::vector<double> samples) {
  std::ranges::sort(samples);
  return samples[samples.size() / 2];
}

int empty_program() {
  const std::array<bpf_insn, 2> code{
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
      bpf_insn{.code = BPF_JMP | BPF_EXIT}};
  return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", code.data(), code.size(), nullptr);
}

// One pod with so many rules, each for a port of its own and an address block, and the last one for the
// client.
policy::Objects world(int rules, int peers) {
  policy::Objects objects;
  const auto pod = [&](const std::string& name, const std::string& ip, const std::string& app) {
    policy::add_object(objects,
                       Json{{"apiVersion", "v1"},
                            {"kind", "Pod"},
                            {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", {{"app", app}}}}},
                            {"spec", {{"containers", Json::array()}}},
                            {"status", {{"phase", "Running"}, {"podIPs", {{{"ip", ip}}}}}}},
                       "benchmark");
  };
  pod("server", "192.0.2.2", "server");
  pod("client", "192.0.2.77", "client");
  for (int i = 0; i < peers; i++)
    pod("p" + std::to_string(i),
        "10." + std::to_string(i >> 16) + "." + std::to_string(i >> 8 & 255) + "." + std::to_string(i & 255),
        "other");
  Json ingress = Json::array();
  for (int i = 1; i < rules; i++) {
    ingress.push_back({{"from", {{{"ipBlock", {{"cidr", "192.0.0.0/" + std::to_string(8 + i % 8)}}}}}},
                       {"ports", {{{"port", 1000 + i}}}}});
  }
  ingress.push_back(
      {{"from", {{{"podSelector", {{"matchLabels", {{"app", "client"}}}}}}}}, {"ports", {{{"port", 80}}}}});
  policy::add_object(
      objects,
      Json{{"apiVersion", "networking.k8s.io/v1"},
           {"kind", "NetworkPolicy"},
           {"metadata", {{"namespace", "blue"}, {"name", "guard"}}},
           {"spec", {{"podSelector", {{"matchLabels", {{"app", "server"}}}}}, {"ingress", ingress}}}},
      "benchmark");
  return objects;
}

class PolicyBenchmark : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped()) return;
    programs_.emplace(value_of(ebpf::policy_programs(node())));
    tables_.emplace(value_of(ebpf::PolicyTables::open(node())));
    empty_ = empty_program();
    ASSERT_GE(empty_, 0);
  }
  void publish(std::span<const std::uint64_t> block, std::uint32_t endpoint) {
    ASSERT_TRUE(succeeded(tables_->publish(tables_->generation() + 1, block, {})));
    const std::uint32_t key = 0;
    vmlane_policy_workload workload{};
    workload.incarnation = kIncarnation;
    const std::uint64_t number = std::uint64_t{kIncarnation} << 32 | (endpoint + 1);
    workload.endpoint[0] = workload.endpoint[1] = number;
    workload_ = workload;
    ASSERT_EQ(bpf_map_update_elem(programs_->map(PolicyMap::kSubjects), &key, &workload, BPF_ANY), 0);
  }
  // ns of a run.
  double run(int program, const Frame& frame, std::uint32_t* result = nullptr) const {
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
                .data_size_in = static_cast<std::uint32_t>(frame.size()), .repeat = kRepeat);
    EXPECT_EQ(bpf_prog_test_run_opts(program, &options), 0);
    if (result != nullptr) *result = options.retval;
    return options.duration;
  }
  // Over the empty program, whose rounds are in between.
  double cost(const Frame& frame) const {
    std::vector<double> costs;
    for (int round = 0; round < kRounds; round++)
      costs.push_back(run(programs_->to.get(), frame) - run(empty_, frame));
    return median(costs);
  }
  static PacketSpec packet(std::uint8_t flags, std::uint16_t port = 80) {
    return {.source = *IpAddress::parse("192.0.2.77"),
            .destination = *IpAddress::parse("192.0.2.2"),
            .destination_port = port,
            .tcp_flags = flags};
  }

  std::optional<ebpf::PolicyPrograms> programs_;
  std::optional<ebpf::PolicyTables> tables_;
  vmlane_policy_workload workload_{};
  int empty_ = -1;
};

TEST_F(PolicyBenchmark, CostOfAPacket) {
  std::map<int, double> judged;
  for (const auto& [rules, peers] :
       {std::pair{10, 1000}, std::pair{1000, 100'000}, std::pair{10'000, 1000}}) {
    policy::Store store;
    store.put(world(rules, peers));
    const std::span<const std::uint64_t> block = store.publish().block;
    ASSERT_NO_FATAL_FAILURE(publish(block, store.endpoint("blue/server", "default").value()));
    std::uint32_t verdict = 0;
    run(programs_->to.get(), make_packet(packet(0x02)), &verdict);
    EXPECT_EQ(static_cast<int>(verdict), -1);
    const double established = cost(make_packet(packet(0x10)));
    // A reset of no connection is judged each time and leaves none; what is not allowed neither.
    PacketSpec denied = packet(0x02, 81);
    judged[rules] = cost(make_packet(denied));
    std::printf(
        "%6d rules, %6d peers, empty program %.0f ns: established %.0f ns, judged and denied %.0f ns\n",
        rules, peers, run(empty_, make_packet(denied)), established, judged[rules]);

    policy::NativeStage native(1 << 16, 1);
    native.use_tables({block.data(), static_cast<std::uint32_t>(block.size_bytes())}, 1);
    const auto timed = [&](const Frame& frame) {
      std::vector<double> samples;
      for (int round = 0; round < kRounds; round++) {
        const auto start = std::chrono::steady_clock::now();
        for (std::uint32_t i = 0; i < kRepeat; i++)
          native.decide(frame, workload_, VMLANE_POLICY_INGRESS, 100);
        samples.push_back(
            std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
            kRepeat);
      }
      return median(samples);
    };
    native.decide(make_packet(packet(0x02)), workload_, VMLANE_POLICY_INGRESS, 100);
    std::printf("                natively:  established %.0f ns, judged and denied %.0f ns\n",
                timed(make_packet(packet(0x10))), timed(make_packet(denied)));
  }
  std::printf("10,000 rules to 10: %.2f\n", judged[10'000] / judged[10]);
}

}  // namespace
}  // namespace vmlane::test
