// SPDX-License-Identifier: Apache-2.0
// What the policy stage costs a packet, by BPF_PROG_TEST_RUN over an empty program, and natively. Medians of
// interleaved rounds. A verdict is told by itself, and the whole way of a packet that it drops, with what is
// counted and told of it. Run it by scripts/benchmark on an idle machine; it is no part of the tests.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <policy_probe.skel.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <span>

#include "ebpf/policy_programs.h"
#include "ebpf/policy_tables.h"
#include "perf/statistics.h"
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
constexpr std::uint32_t kPolicyRepeat = 200'000;
constexpr int kPolicyRounds = 9;
constexpr int kPass = -1;  // TC_ACT_UNSPEC

// One line, with the limit where there is one.
void told(const std::string& what, double value, const std::string& unit, std::optional<double> limit = {}) {
  std::printf("%-64s %8.1f %s", what.c_str(), value, unit.c_str());
  if (limit) std::printf(", limit %g", *limit);
  std::printf("\n");
  if (limit) {
    EXPECT_LE(value, *limit) << what;
  }
}

// ns of a call.
double native_cost(const std::function<void()>& call) {
  std::vector<double> samples;
  for (int round = 0; round < kPolicyRounds; round++) {
    const auto start = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < kPolicyRepeat; i++) call();
    samples.push_back(
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
        kPolicyRepeat);
  }
  return perf::median(samples);
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
    load_probe();
  }
  // On the maps of the stage itself.
  void load_probe() {
    probe_.reset(policy_probe_bpf::open());
    ASSERT_NE(probe_, nullptr);
    const auto& maps = probe_->maps;
    for (const auto& [map, which] :
         {std::pair{maps.vmlane_subjects, PolicyMap::kSubjects},
          std::pair{maps.vmlane_owners, PolicyMap::kOwners}, std::pair{maps.vmlane_state, PolicyMap::kState},
          std::pair{maps.vmlane_tables, PolicyMap::kTables},
          std::pair{maps.vmlane_connections, PolicyMap::kConnections},
          std::pair{maps.vmlane_counters, PolicyMap::kCounters},
          std::pair{maps.vmlane_events, PolicyMap::kEvents}})
      ASSERT_EQ(bpf_map__reuse_fd(map, programs_->map(which)), 0);
    ASSERT_EQ(policy_probe_bpf::load(probe_.get()), 0);
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
                .data_size_in = static_cast<std::uint32_t>(frame.size()), .repeat = kPolicyRepeat);
    EXPECT_EQ(bpf_prog_test_run_opts(program, &options), 0);
    if (result != nullptr) *result = options.retval;
    return options.duration;
  }
  // Over the empty program, whose rounds are in between.
  double cost(int program, const Frame& frame) const {
    std::vector<double> costs;
    for (int round = 0; round < kPolicyRounds; round++)
      costs.push_back(run(program, frame) - run(empty_, frame));
    return perf::median(costs);
  }
  int verdict_program() const { return bpf_program__fd(probe_->progs.vmlane_probe_verdict); }
  // The same questions natively: the stage as a switch has it, and the verdict alone.
  void tell_native(const std::string& size, std::span<const std::uint64_t> block, std::uint32_t endpoint) {
    const vmlane_policy_tables tables{block.data(), static_cast<std::uint32_t>(block.size_bytes())};
    policy::NativeStage native(1 << 16, 1);
    native.use_tables(tables, 1);
    const auto stage = [&](const Frame& frame) {
      native.decide(frame, workload_, VMLANE_POLICY_INGRESS, 100);
    };
    stage(make_packet(packet(0x02)));
    const Frame established = make_packet(packet(0x10));
    const Frame denied = make_packet(packet(0x02, 81));
    told(size + "natively, established packet", native_cost([&] { stage(established); }), "ns");
    told(size + "natively, whole way of a packet that is dropped", native_cost([&] { stage(denied); }), "ns");
    const std::array<std::uint32_t, 4> client{0xc000024d};
    const std::uint32_t network = vmlane_policy_endpoint_of(&tables, endpoint)->network;
    std::uint32_t allowed = 0;
    const double verdict = native_cost([&] {
      const auto peer = vmlane_policy_find_peer(&tables, network, 0, client.data());
      const vmlane_policy_question question{endpoint, peer.group,        0,
                                            80,       VMLANE_POLICY_TCP, VMLANE_POLICY_INGRESS};
      allowed += vmlane_policy_judge(&tables, &question).allowed;
    });
    EXPECT_EQ(allowed, kPolicyRepeat * kPolicyRounds);
    told(size + "natively, verdict on a new flow, by the last rule", verdict, "ns", 12);
  }
  static PacketSpec packet(std::uint8_t flags, std::uint16_t port = 80) {
    return {.source = *IpAddress::parse("192.0.2.77"),
            .destination = *IpAddress::parse("192.0.2.2"),
            .destination_port = port,
            .tcp_flags = flags};
  }

  struct DestroyProbe {
    void operator()(policy_probe_bpf* probe) const { policy_probe_bpf::destroy(probe); }
  };
  std::optional<ebpf::PolicyPrograms> programs_;
  std::optional<ebpf::PolicyTables> tables_;
  std::unique_ptr<policy_probe_bpf, DestroyProbe> probe_;
  vmlane_policy_workload workload_{};
  int empty_ = -1;
};

TEST_F(PolicyBenchmark, CostOfAPacket) {
  std::map<int, double> verdicts;
  const Frame opening = make_packet(packet(0x02));
  const Frame established = make_packet(packet(0x10));
  const Frame denied = make_packet(packet(0x02, 81));
  PacketSpec late = packet(0x02);
  late.source_port = 40001;  // allowed by the last rule; the verdict alone makes no connection
  for (const auto& [rules, peers] :
       {std::pair{10, 1000}, std::pair{1000, 100'000}, std::pair{10'000, 1000}}) {
    policy::Store store;
    store.put(world(rules, peers));
    const std::span<const std::uint64_t> block = store.publish().block;
    const std::uint32_t endpoint = store.endpoint("blue/server", "default").value();
    ASSERT_NO_FATAL_FAILURE(publish(block, endpoint));
    std::uint32_t verdict = 0;
    run(programs_->to.get(), opening, &verdict);
    EXPECT_EQ(static_cast<int>(verdict), kPass);
    run(verdict_program(), make_packet(late), &verdict);
    EXPECT_EQ(static_cast<int>(verdict), kPass);
    run(verdict_program(), denied, &verdict);
    EXPECT_NE(static_cast<int>(verdict), kPass);
    const std::string size = std::to_string(rules) + " rules, " + std::to_string(peers) + " peers: ";
    told(size + "established packet", cost(programs_->to.get(), established), "ns", 30);
    verdicts[rules] = cost(verdict_program(), make_packet(late));
    told(size + "verdict on a new flow, by the last rule", verdicts[rules], "ns", 120);
    told(size + "verdict on a new flow, by none", cost(verdict_program(), denied), "ns", 120);
    told(size + "whole way of a packet that is dropped", cost(programs_->to.get(), denied), "ns");
    tell_native(size, block, endpoint);
  }
  told("10,000 rules to 10, the verdict by the last rule", verdicts[10'000] / verdicts[10], "times", 1.5);
}

}  // namespace
}  // namespace vmlane::test
