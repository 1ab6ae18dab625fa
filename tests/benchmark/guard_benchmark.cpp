// SPDX-License-Identifier: Apache-2.0
// What a guarded link costs: a packet, by BPF_PROG_TEST_RUN over an empty program, the answer to a question
// of the guest, and an ADD over one without guard and answers. Medians of interleaved rounds. Run it by
// scripts/benchmark on an idle machine; it is no part of the tests.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>

#include "core/names.h"
#include "core/record.h"
#include "ebpf/workload.h"
#include "perf/statistics.h"
#include "tests/support/guest_messages.h"
#include "tests/support/long_run.h"
#include "tests/support/plugin.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

constexpr std::uint32_t kGuardRepeat = 200'000;
constexpr int kGuardRounds = 9;
constexpr MacAddress kOther{{0x02, 0, 0, 0, 0, 0x77}};

// A program by its id, or one that only returns.
class Program {
 public:
  explicit Program(std::uint32_t id) : fd_(bpf_prog_get_fd_by_id(id)) { EXPECT_TRUE(fd_); }
  static Program empty() {
    const std::array<bpf_insn, 2> code{
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
        bpf_insn{.code = BPF_JMP | BPF_EXIT}};
    return Program(
        Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", code.data(), code.size(), nullptr)));
  }
  // ns of a run, and what it returned.
  std::pair<double, int> run(const Frame& frame, std::uint32_t repeat) const {
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
                .data_size_in = static_cast<std::uint32_t>(frame.size()), .repeat = static_cast<int>(repeat));
    EXPECT_EQ(bpf_prog_test_run_opts(fd_.get(), &options), 0);
    return {options.duration, static_cast<int>(options.retval)};
  }

 private:
  explicit Program(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

class GuardBenchmark : public PluginFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  std::string plugin() const override { return GetParam(); }
  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    spread_macvtap_numbers(node());
    must({"ip", "link", "add", kLowerDevice, "type", "veth", "peer", "name", "far0"});
    for (const char* link : {kLowerDevice, "far0"}) must({"ip", "link", "set", link, "up"});
  }
  Json dual_stack(const Json& more = Json::object()) const {
    Json ipam = host_local();
    ipam["ranges"].push_back(Json::array({{{"subnet", "2001:db8::/64"}}}));
    ipam["routes"] = {{{"dst", "0.0.0.0/0"}}, {{"dst", "::/0"}}};
    Json keys = {{"ipam", ipam}, {"gatewayMode", "virtual"}};
    keys.update(more);
    return config(keys);
  }
  // The workload's entry under key 0, which is the key of a frame that no filter classified.
  static void copy_to_zero(std::uint32_t map, std::uint32_t key) {
    const Fd fd(bpf_map_get_fd_by_id(map));
    ASSERT_TRUE(fd);
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    ASSERT_EQ(bpf_obj_get_info_by_fd(fd.get(), &info, &length), 0);
    std::vector<std::uint8_t> value(info.value_size);
    ASSERT_EQ(bpf_map_lookup_elem(fd.get(), &key, value.data()), 0);
    const std::uint32_t zero = 0;
    ASSERT_EQ(bpf_map_update_elem(fd.get(), &zero, value.data(), BPF_ANY), 0);
  }
  static double cost(const Program& program, const Program& empty, const Frame& frame) {
    std::vector<double> costs;
    for (int round = 0; round < kGuardRounds; round++) {
      const auto [took, verdict] = program.run(frame, kGuardRepeat);
      EXPECT_EQ(verdict, -1) << "the frame is dropped or answered";
      costs.push_back(took - empty.run(frame, kGuardRepeat).first);
    }
    return perf::median(costs);
  }
};

TEST_P(GuardBenchmark, CostOfAPacketAndOfAnAnswer) {
  const CniOutcome added = add(make_pod("a"), dual_stack());
  ASSERT_CNI_OK(added);
  const auto record = value_of(RecordStore(node()).read(names::attachment_id("blue", "c1", "eth0")));
  const auto handle = ebpf::WorkloadHandle::from_json(record->handles["workload"]);
  ASSERT_TRUE(handle);
  for (const std::uint32_t map : {handle->guards_map, handle->plains_map, handle->answers_map})
    ASSERT_NO_FATAL_FAILURE(copy_to_zero(map, handle->key));
  const MacAddress mac = value_of(MacAddress::parse(*record->mac));
  const Program from(handle->from_program);
  const Program to(handle->to_program);
  const Program empty = Program::empty();
  const IpAddress own4 = ip("192.0.2.2");
  const IpAddress own6 = ip("2001:db8::2");
  // Else the first IPv6 frames bring a router advertisement.
  from.run(make_router_solicitation(mac, "fe80::1234"), 1);
  const Bytes payload(64);
  const Frame sent4 = make_udp({mac, kOther, own4, ip("198.51.100.1")}, 1000, 2000, payload);
  const Frame sent6 = make_udp({mac, kOther, own6, ip("2001:db8:f::1")}, 1000, 2000, payload);
  const Frame got4 = make_udp({kOther, mac, ip("198.51.100.1"), own4}, 2000, 1000, payload);
  std::printf(
      "%s, over an empty program: IPv4 sent %.1f ns, IPv6 sent %.1f ns, IPv4 received %.1f ns   limit 5\n",
      plugin().c_str(), cost(from, empty, sent4), cost(from, empty, sent6), cost(to, empty, got4));
  // Each run turns its frame into the reply, so it is timed by itself, clock included.
  constexpr int kQuestions = 2001;
  constexpr int kRedirected = 7;
  const auto answer = [&](const Frame& question) {
    std::vector<double> took;
    for (int i = 0; i < kQuestions; i++) {
      const auto [time, verdict] = from.run(question, 1);
      EXPECT_EQ(verdict, kRedirected) << "it is not answered";
      took.push_back(time);
    }
    return perf::median(took) / 1000;
  };
  std::printf(
      "%s, guard and answer: DHCP offer %.2f us, DHCP ack %.2f us, DHCPv6 advertise %.2f us, RA %.2f us   "
      "limit 20\n",
      plugin().c_str(), answer(make_dhcp(mac, {})),
      answer(make_dhcp(mac, {.type = 3, .client = "192.0.2.2", .destination = "192.0.2.1"})),
      answer(make_dhcp6(mac, {.source = "fe80::1234"})), answer(make_router_solicitation(mac, "fe80::1234")));
}

TEST_P(GuardBenchmark, CostOfAnAdd) {
  // A first attachment stays: that of an idle node is another matter, and the programs are loaded then.
  ASSERT_CNI_OK(add(make_pod("first"), dual_stack(), "first"));
  const std::vector<std::pair<std::string, Json>> kinds = {
      {"bare", {{"spoofCheck", false}, {"guestAnswers", false}, {"gatewayMode", nullptr}}},
      {"guard", {{"guestAnswers", false}, {"gatewayMode", nullptr}}},
      {"guard and answers", Json::object()}};
  std::map<std::string, std::vector<double>> took;
  const Pod& pod = make_pod("p");
  for (int round = 0; round < rounds(25, 100); round++) {
    for (const auto& [kind, more] : kinds) {
      Json conf = dual_stack(more);
      if (conf["gatewayMode"].is_null()) conf.erase("gatewayMode");
      const auto start = std::chrono::steady_clock::now();
      ASSERT_CNI_OK(add(pod, conf));
      took[kind].push_back(
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
      ASSERT_CNI_OK(del(pod.path(), conf));
    }
  }
  const double bare = perf::median(took["bare"]);
  std::printf("%s, ADD: bare %.1f ms, with guard %+.1f ms, with guard and answers %+.1f ms   limit +5.0\n",
              plugin().c_str(), bare, perf::median(took["guard"]) - bare,
              perf::median(took["guard and answers"]) - bare);
}

INSTANTIATE_TEST_SUITE_P(Lane, GuardBenchmark, ::testing::Values("vmlane-tap", "vmlane-macvtap"),
                         [](const ::testing::TestParamInfo<std::string>& lane) {
                           return lane.param.substr(7);
                         });

}  // namespace
}  // namespace vmlane::test
