// SPDX-License-Identifier: Apache-2.0
// Links whose policy stage is of another build than the publisher's, on each lane: an upgrade, and back. And
// policies that flip meanwhile, under traffic of which each frame says when it was sent.
#include <bpf/bpf.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "ebpf/policy.h"
#include "ebpf/policy_layout.bpf.h"
#include "ebpf/policy_programs.h"
#include "policy/reader.h"
#include "tests/conformance/policy_lane.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

Json pod_object(const std::string& name, const std::string& address) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", {{"app", name}}}}},
          {"spec", {{"containers", Json::array()}}},
          {"status", {{"phase", "Running"}, {"podIPs", {{{"ip", address}}}}}}};
}

// Lets `peer` reach c1 by that protocol and port.
Json rule_object(const std::string& name, const std::string& peer, const std::string& protocol, int port) {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"namespace", "blue"}, {"name", name}}},
          {"spec",
           {{"podSelector", {{"matchLabels", {{"app", "c1"}}}}},
            {"policyTypes", {"Ingress", "Egress"}},
            {"ingress",
             {{{"from", {{{"podSelector", {{"matchLabels", {{"app", peer}}}}}}}},
               {"ports", {{{"protocol", protocol}, {"port", port}}}}}}}}}};
}

class PolicyUpgrade : public PolicyOnALane {
 protected:
  void publish(bool open) {
    policy::Objects objects;
    policy::add_object(objects, pod_object("c1", "192.0.2.2"), "test");
    policy::add_object(objects, pod_object("client", "192.0.2.77"), "test");
    policy::add_object(objects, rule_object("always", "client", "TCP", 80), "test");
    if (open) policy::add_object(objects, rule_object("sometimes", "client", "UDP", 53), "test");
    publish_objects(objects, "blue/c1");
  }
  // What is loaded counts as another build's from now on, as after vmlane was upgraded or downgraded.
  void become_another_build() {
    tables_.reset();
    const fs::path programs = node().run_dir / "programs";
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(programs)) {
      if (entry.path().filename().string().starts_with("policy-")) files.push_back(entry.path());
    }
    for (const fs::path& file : files)
      fs::rename(file, programs / ("policy-other" + std::to_string(builds_++) + ".json"));
  }
  // As if what is loaded were of a release that this one cannot read.
  void become_another_layout() {
    become_another_build();
    for (const auto& build : value_of(ebpf::all_policy_programs(node().run_dir))) {
      const int map = build.map(ebpf::PolicyMap::kState);
      const std::uint32_t key = 0;
      vmlane_policy_state state{};
      ASSERT_EQ(bpf_map_lookup_elem(map, &key, &state), 0);
      state.layout = VMLANE_POLICY_LAYOUT - 1;
      ASSERT_EQ(bpf_map_update_elem(map, &key, &state, BPF_ANY), 0);
    }
  }
  // As the agent does at its start.
  void take_over(bool open) {
    tables_.emplace(value_of(ebpf::PolicyTables::open(node())));
    ASSERT_TRUE(succeeded(tables_->adopt({{id_of(), 0}})));
    publish(open);
    ASSERT_TRUE(succeeded(tables_->move_links({{id_of(), pods().at("a")->path()}})));
  }
  PacketSpec tcp(std::uint16_t port, std::uint8_t flags) const {
    PacketSpec spec = to_workload(false, port);
    spec.tcp_flags = flags;
    return spec;
  }
  PacketSpec udp() const {
    PacketSpec spec = to_workload(false, 53);
    spec.protocol = kUdp;
    return spec;
  }
  void connect() {
    ASSERT_TRUE(enters(tcp(80, kSyn)));
    ASSERT_TRUE(leaves(answer_to(tcp(80, kSyn), kSynAck)));
  }

 private:
  int builds_ = 0;
};

TEST_P(PolicyUpgrade, ConnectionsGoOnAndWhatIsDeniedStaysDenied) {
  const Snapshot before = snapshot();
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish(true);
  connect();
  ASSERT_TRUE(enters(udp()));
  for (const char* way : {"upgrade", "downgrade"}) {
    become_another_build();
    EXPECT_TRUE(enters(tcp(80, kAck))) << "before the " << way << ": the last state is in force";
    EXPECT_FALSE(enters(tcp(81, kSyn))) << way;
    take_over(true);
    EXPECT_TRUE(enters(tcp(80, kAck))) << way;
    EXPECT_TRUE(leaves(answer_to(tcp(80, kAck), kAck))) << way;
    EXPECT_TRUE(leaves(answer_to(udp(), 0))) << way;
    EXPECT_FALSE(enters(tcp(81, kSyn))) << way;
    PacketSpec stray = tcp(80, kAck);
    stray.source_port = 40001;
    EXPECT_FALSE(enters(stray)) << "of no connection, " << way;
    EXPECT_EQ(value_of(ebpf::policed_workloads(node().run_dir)), std::vector<std::string>{id_of()}) << way;
    EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
    publish(false);
    EXPECT_FALSE(enters(udp())) << "links follow who took over, " << way;
    publish(true);
  }
  guest_.reset();
  wire_.reset();
  macvtap_.reset();
  tables_.reset();
  EXPECT_CNI_OK(del(pods().at("a")->path(), conf_));
  const Snapshot after = snapshot();
  EXPECT_EQ(after.at("workloads"), before.at("workloads"));
}

TEST_P(PolicyUpgrade, WhatAnotherLayoutKnowsIsJudgedInTheMiddleForSomeSeconds) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish(true);
  connect();
  become_another_layout();
  take_over(true);
  EXPECT_TRUE(enters(tcp(80, kAck)));
  EXPECT_TRUE(leaves(answer_to(tcp(80, kAck), kAck)));
  PacketSpec denied = tcp(81, kAck);
  EXPECT_FALSE(enters(denied)) << "neither end may open it";
  EXPECT_EQ(tables_->connections(id_of()).size(), 1U);
}

// Flow by flow, what was sent when, and what of it came.
class StampedTraffic {
 public:
  enum Flow : std::uint8_t { kAllowed, kDenied, kFlipping };
  static constexpr std::size_t kFlows = 3;

  // Neither verdict is wrong while a publication is under way.
  void begin_change() { state_ = -1; }
  void end_change(bool open) { state_ = open ? 1 : 0; }

  // `send` is called with the frame.
  template <class Send>
  void send(Flow flow, Frame frame, const Send& send) {
    const std::uint32_t number = next_++;
    for (std::size_t i = 0; i < sizeof(number); i++)
      frame[frame.size() - 1 - i] = static_cast<std::uint8_t>(number >> (8 * i));
    frame[frame.size() - 1 - sizeof(number)] = kMagic | flow;
    const int before = state_;
    send(frame);
    // What a change overtakes may be judged by either of its sides.
    sent_.push_back({flow, before == state_ ? before : -1});
  }
  void note(const Frame& frame) {
    if (frame.size() < 40) return;
    const std::uint8_t what = frame[frame.size() - 1 - sizeof(std::uint32_t)];
    if ((what & 0xf0) != kMagic) return;
    std::uint32_t number = 0;
    for (std::size_t i = 0; i < sizeof(number); i++)
      number |= std::uint32_t{frame[frame.size() - 1 - i]} << (8 * i);
    came_.insert(number);
  }
  struct Sum {
    int sent = 0;
    int lost = 0;    // allowed, and did not come
    int leaked = 0;  // denied, and came
  };
  // Per flow.
  std::array<Sum, kFlows> sums() const {
    std::array<Sum, kFlows> sums{};
    for (std::uint32_t number = 0; number < sent_.size(); number++) {
      const auto& [flow, state] = sent_[number];
      Sum& sum = sums.at(flow);
      sum.sent++;
      const bool came = came_.contains(number);
      const bool allowed = flow == kAllowed || (flow == kFlipping && state == 1);
      const bool denied = flow == kDenied || (flow == kFlipping && state == 0);
      if (allowed && !came) sum.lost++;
      if (denied && came) sum.leaked++;
    }
    return sums;
  }

 private:
  static constexpr std::uint8_t kMagic = 0xa0;
  std::atomic<int> state_ = -1;
  std::uint32_t next_ = 0;
  std::vector<std::pair<Flow, int>> sent_;  // by number
  std::set<std::uint32_t> came_;
};

TEST_P(PolicyUpgrade, UnderLoadNothingDeniedPassesAndNothingAllowedIsLost) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish(true);
  connect();
  StampedTraffic traffic;
  traffic.end_change(true);
  std::atomic<bool> done = false;
  std::atomic<bool> all_sent = false;
  {
    const std::jthread receiver([&] {
      while (!done) {
        receive(true, [&](const Frame& frame) {
          traffic.note(frame);
          return done.load();
        });
      }
    });
    const std::jthread sender([&] {
      PacketSpec allowed = tcp(80, kAck);
      PacketSpec denied = tcp(81, kSyn);
      PacketSpec flipping = udp();
      for (PacketSpec* spec : {&allowed, &denied, &flipping}) spec->payload = 32;
      const auto put = [&](const Frame& frame) { send(frame, true); };
      while (!all_sent) {
        traffic.send(StampedTraffic::kAllowed, frame_of(allowed, true), put);
        traffic.send(StampedTraffic::kDenied, frame_of(denied, true), put);
        traffic.send(StampedTraffic::kFlipping, frame_of(flipping, true), put);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    const int flips = rounds(16, 1000);
    for (int flip = 0; flip < flips; flip++) {
      const bool open = flip % 2 == 1;
      traffic.begin_change();
      // What is on its way gets there by the policies under which it was sent.
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (flip % 8 == 3) {
        become_another_build();
        take_over(open);
      } else {
        publish(open);
      }
      traffic.end_change(open);
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
    }
    all_sent = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    done = true;
    // Something must come for the receiver to notice.
    send(mark(), true);
  }
  const auto sums = traffic.sums();
  for (std::size_t flow = 0; flow < StampedTraffic::kFlows; flow++) {
    EXPECT_GT(sums.at(flow).sent, 100) << flow;
    EXPECT_EQ(sums.at(flow).lost, 0) << "of " << sums.at(flow).sent << ", flow " << flow;
    EXPECT_EQ(sums.at(flow).leaked, 0) << "of " << sums.at(flow).sent << ", flow " << flow;
  }
}

VMLANE_FOR_EACH_LANE(PolicyUpgrade);

}  // namespace
}  // namespace vmlane::test
