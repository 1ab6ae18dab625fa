// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>

#include "perf/machine.h"
#include "perf/result.h"
#include "tests/support/host.h"
#include "tests/support/long_run.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

const std::string kPerf = built("vmlane-perf");
const fs::path kSite = "/run/vmlane-perf";
// As little as still goes through every part of a run.
const std::vector<std::string> kShort = {"--duration", "0.4",     "--epochs",    "1",        "--rounds",
                                         "2",          "--rates", "2000",        "--guests", "native",
                                         "--sizes",    "64",      "--allow-busy"};

class PerfTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    // All that a run starts inherits it.
    if (!IsSkipped()) ::setenv("VMLANE_PERF_TEST", directory().c_str(), 1);
  }
  void TearDown() override {
    if (!IsSkipped()) expect_nothing_left();
    HostFixture::TearDown();
  }

  fs::path out() const { return directory() / "out"; }
  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {kPerf, "run", "--out", out().string()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }
  RunResult perf(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), kShort.begin(), kShort.end());
    return run(command(arguments));
  }
  perf::RunResult result() const {
    auto read = perf::read_result(out() / "result.json");
    EXPECT_TRUE(read) << read.error().text();
    return read ? std::move(*read) : perf::RunResult();
  }
  static const perf::LaneResult& lane(const perf::RunResult& result, const std::string& name) {
    for (const auto& lane : result.lanes) {
      if (lane.name == name) return lane;
    }
    static const perf::LaneResult none;
    ADD_FAILURE() << "no lane " << name;
    return none;
  }
  std::vector<std::string> processes_left() const {
    std::vector<std::string> found;
    std::error_code error;  // processes end while we look
    for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
      const std::string pid = entry->path().filename();
      if (pid.find_first_not_of("0123456789") == std::string::npos && std::stoi(pid) != ::getpid() &&
          slurp(entry->path() / "environ").find("VMLANE_PERF_TEST=" + directory().string()) !=
              std::string::npos)
        found.push_back(slurp(entry->path() / "cmdline"));
    }
    return found;
  }
  void expect_nothing_left() const {
    EXPECT_FALSE(fs::exists(kSite));
    EXPECT_EQ(slurp("/proc/self/mountinfo").find("vmlane-perf"), std::string::npos);
    std::error_code error;
    for (fs::directory_iterator entry("/sys/fs/bpf", error), end; !error && entry != end;
         entry.increment(error))
      EXPECT_FALSE(entry->path().filename().string().starts_with("vmlane-perf-")) << entry->path();
    EXPECT_EQ(processes_left(), std::vector<std::string>());
  }
  // A run that would take a while, once it is measuring.
  BackgroundProcess start_long_run() const {
    BackgroundProcess process(command({"--lanes", "tap", "--guests", "native", "--duration", "60", "--epochs",
                                       "2", "--rounds", "30", "--allow-busy"}),
                              {.stdout_path = directory() / "log"});
    EXPECT_TRUE(eventually([] { return fs::exists(kSite / "netns/lane"); }, std::chrono::seconds(20)));
    sleep_ms(6000);
    return process;
  }
};

TEST_F(PerfTest, MeasuresNativeLanesAgainstTheContainer) {
  const auto ran = perf({"--lanes", "tap,tap-inpod-bridge,macvtap,vhost-user,sriov"});
  ASSERT_TRUE(ran.ok()) << ran.err;
  const perf::RunResult found = result();
  EXPECT_EQ(found.status, "complete");
  EXPECT_FALSE(found.noise.verdict.empty());
  EXPECT_LT(found.harness_percent, 5);
  for (const char* name : {"container", "tap", "tap-inpod-bridge", "macvtap", "vhost-user"}) {
    const perf::LaneResult& measured = lane(found, name);
    EXPECT_EQ(measured.status, "ok") << name << ": " << measured.reason;
    ASSERT_FALSE(measured.rtt.empty()) << name;
    EXPECT_GT(measured.rtt.front().histogram.count(), 100U) << name;
    EXPECT_EQ(measured.rtt.front().lost, 0U) << name;
    EXPECT_TRUE(perf::ratio_to_container(measured)) << name;
    for (const char* key :
         {"cpu_ns_per_packet", "cpu_ns_per_packet_loaded", "udp_zero_loss_pps", "add_ms", "del_ms",
          "nic_ready_ms", "idle_cpu_percent", "tcp_stream_gbps", "tcp_connections_per_second"})
      EXPECT_TRUE(measured.series.contains(key)) << name << " " << key;
    const auto tcp = std::ranges::find(measured.rtt, perf::RttKind{"tcp", 64, 0}, &perf::RttCell::kind);
    ASSERT_NE(tcp, measured.rtt.end()) << name;
    EXPECT_GT(tcp->histogram.count(), 100U) << name;
    EXPECT_EQ(tcp->lost, 0U) << name;
  }
  EXPECT_EQ(lane(found, "sriov").status, "skipped");
  EXPECT_NE(lane(found, "sriov").reason, "");
  EXPECT_NE(slurp(out() / "report.html").find("tap-inpod-bridge"), std::string::npos);
  EXPECT_NE(ran.out.find("skipped: sriov"), std::string::npos) << ran.out;

  // The same file in other uses.
  const std::string file = out() / "result.json";
  const auto compared = run({kPerf, "compare", file, file});
  EXPECT_TRUE(compared.ok()) << compared.err;
  EXPECT_NE(compared.out.find("Nothing got worse"), std::string::npos) << compared.out;
  ASSERT_TRUE(run({kPerf, "report", file, "--out", out() / "again.html"}).ok());
  EXPECT_EQ(slurp(out() / "again.html"), slurp(out() / "report.html"));
}

// scripts/setup does not install this peer.
TEST_F(PerfTest, OpenVswitchIsMeasuredWhereItIsInstalled) {
  if (perf::usable_cpus().size() < 3) GTEST_SKIP() << "its polling thread wants a CPU of its own, a third";
  const auto ran = perf({"--lanes", "ovs-dpdk,tap", "--cpus", "0,1,2"});
  ASSERT_TRUE(ran.ok()) << ran.err;
  const perf::RunResult found = result();
  const perf::LaneResult& peer = lane(found, "ovs-dpdk");
  if (peer.status == "skipped") {
    EXPECT_TRUE(std::regex_search(peer.reason, std::regex("install the package|vm\\.nr_hugepages")))
        << peer.reason;
    GTEST_SKIP() << peer.reason;
  }
  EXPECT_EQ(peer.status, "ok") << peer.reason;
  EXPECT_TRUE(std::ranges::any_of(peer.processes,
                                  [](const auto& process) { return process.name == "ovs-vswitchd"; }));
  EXPECT_FALSE(peer.series.contains("add_ms")) << "no plugin of ours made it";
}

TEST_F(PerfTest, ASlowGuestIsSeenAndCompareEndsWithAStatusOfItsOwn) {
  std::vector<std::string> arguments = {"--lanes", "tap"};
  arguments.insert(arguments.end(), kShort.begin(), kShort.end());
  *std::next(std::ranges::find(arguments, "--epochs")) = "3";  // compare wants three
  ASSERT_TRUE(run(command(arguments)).ok());
  fs::rename(out() / "result.json", directory() / "before.json");
  arguments.insert(arguments.end(), {"--guest-delay", "tap=2000000"});
  ASSERT_TRUE(run(command(arguments)).ok());
  EXPECT_GT(lane(result(), "tap").rtt.front().histogram.percentile(0.5), 2'000'000U);
  const auto compared = run({kPerf, "compare", directory() / "before.json", out() / "result.json"});
  EXPECT_EQ(compared.status, 3) << compared.out << compared.err;
  EXPECT_NE(compared.out.find("WORSE"), std::string::npos) << compared.out;
  EXPECT_NE(compared.out.find("planted delay"), std::string::npos) << compared.out;
}

TEST_F(PerfTest, InterruptedRunLeavesNothingButItsPartialResult) {
  BackgroundProcess process = start_long_run();
  ::kill(process.pid(), SIGINT);
  EXPECT_EQ(process.wait(std::chrono::seconds(20)), 130);
  const perf::RunResult found = result();
  EXPECT_EQ(found.status, "partial");
  EXPECT_NE(found.reason.find("interrupted"), std::string::npos) << found.reason;
  EXPECT_EQ(lane(found, "tap").status, "partial");
  EXPECT_FALSE(lane(found, "tap").rtt.empty()) << "what was measured is kept";
}

TEST_F(PerfTest, KilledRunIsClearedAwayByTheNext) {
  {
    BackgroundProcess process = start_long_run();
    ::kill(process.pid(), SIGKILL);
    process.wait(std::chrono::seconds(5));
  }
  ASSERT_TRUE(fs::exists(kSite));
  const auto ran = perf({"--lanes", "tap"});
  ASSERT_TRUE(ran.ok()) << ran.err;
  EXPECT_NE(ran.err.find("killed run"), std::string::npos) << ran.err;
}

TEST_F(PerfTest, TwoRunsDoNotShareADirectory) {
  BackgroundProcess process = start_long_run();
  const auto second = perf({"--lanes", "tap"});
  EXPECT_FALSE(second.ok());
  EXPECT_NE(second.err.find("another vmlane-perf works in"), std::string::npos) << second.err;
  ::kill(process.pid(), SIGINT);
  EXPECT_EQ(process.wait(std::chrono::seconds(20)), 130);
}

// The other lanes go on.
TEST_F(PerfTest, ALaneThatFailsIsToldOfAndLeftOut) {
  spit(directory() / "networks.yaml", R"(
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: containers}
spec:
  config: '{"cniVersion":"1.1.0","name":"c","type":"vmlane-veth","bridge":"b0","ipam":{"type":"host-local","subnet":"192.0.2.0/24"}}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: tap}
spec:
  config: '{"cniVersion":"1.1.0","name":"t","type":"vmlane-tap","bridge":"b0","mtu":9000,"ipam":{"type":"host-local","subnet":"192.0.2.0/24"}}'
)");
  const auto ran = perf({"--networks", directory() / "networks.yaml"});
  ASSERT_TRUE(ran.ok()) << ran.err;
  const perf::RunResult found = result();
  EXPECT_EQ(lane(found, "tap").status, "failed");
  EXPECT_NE(lane(found, "tap").reason.find("mtu"), std::string::npos) << lane(found, "tap").reason;
  EXPECT_EQ(lane(found, "tap-inpod-bridge").status, "ok");
}

TEST_F(PerfTest, SelfTestShowsThatTheInstrumentsCostNextToNothing) {
  const auto ran = run({kPerf, "self-test"});
  EXPECT_TRUE(ran.ok()) << ran.out << ran.err;
  EXPECT_NE(ran.out.find("limit 1 %"), std::string::npos);
}

TEST_F(PerfTest, CrossCheckSetsItsFiguresBesideIperf3s) {
  if (!long_run()) GTEST_SKIP() << "twelve seconds of generators: VMLANE_LONG=1";
  const auto ran = run({kPerf, "self-test", "--cross-check"});
  EXPECT_TRUE(ran.ok()) << ran.out << ran.err;
  // scripts/setup installs iperf3.
  EXPECT_TRUE(
      std::regex_search(ran.out, std::regex("against iperf3: TCP stream [0-9.]+ Gbit/s here, [0-9.]+ there")))
      << ran.out;
  EXPECT_NE(ran.out.find("against sockperf: "), std::string::npos) << ran.out;
}

// Said before anything is set up, naming what is wrong and what to do.
TEST_F(PerfTest, BadInputIsRefusedAtOnce) {
  spit(directory() / "file", "x");
  spit(directory() / "empty.yaml", "");
  struct Case {
    std::vector<std::string> arguments;
    const char* text;
  };
  const std::vector<Case> cases = {
      {{"--lanes", "warp"}, "there is no lane \"warp\" (lanes are container, usernet"},
      {{"--lanes", "sriov"}, "none of the lanes that were named can be measured here"},
      {{"--guests", "bhyve"}, "there is no kind of guest \"bhyve\""},
      {{"--cpus", "0,99999"}, "CPU 99999 of --cpus"},
      {{"--cpus", "x"}, "--cpus is \"x\""},
      {{"--rates", "0"}, "rates must be"},
      {{"--sizes", "1473"}, "--sizes has 1473, a size must be 16 to 1472 bytes"},
      {{"--guest-delay", "tap"}, "--guest-delay is \"tap\""},
      {{"--guest-delay", "warp=1"}, "no lane \"warp\" to plant"},
      {{"--networks", directory() / "none.yaml"}, "none.yaml"},
      {{"--bin-dir", "/nowhere", "--cni-path", "/nowhere"}, "vmlane-veth is not in /nowhere"},
      {{"--dir", directory() / "file"}, "file"},
      {{"--dir", directory()}, "is not empty and no run left it so"}};
  for (const auto& [arguments, text] : cases) {
    const auto ran = perf(arguments);
    EXPECT_EQ(ran.status, 1) << text;
    EXPECT_NE(ran.err.find(text), std::string::npos) << text << " is not in " << ran.err;
    EXPECT_FALSE(fs::exists(kSite)) << text;
  }
  EXPECT_EQ(run({kPerf, "run"}).status, 2) << "--out is missing";
  const auto unwritable = run({kPerf, "run", "--out", "/proc/nowhere", "--allow-busy"});
  EXPECT_EQ(unwritable.status, 1);
  EXPECT_NE(unwritable.err.find("/proc/nowhere"), std::string::npos) << unwritable.err;
  const auto missing = run({kPerf, "compare", "/nowhere/a.json", "/nowhere/b.json"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.err.find("/nowhere/a.json"), std::string::npos);
}

TEST_F(PerfTest, BusyCpusAndMissingPrivilegesAreSaid) {
  const auto plain = run(command({"--lanes", "tap"}), {.uid = 65534});
  EXPECT_EQ(plain.status, 1);
  EXPECT_NE(plain.err.find("root"), std::string::npos) << plain.err;
  std::vector<BackgroundProcess> busy;
  for (int i = 0; i < 4; i++) busy.emplace_back(std::vector<std::string>{"sh", "-c", "while :; do :; done"});
  const auto ran = run(command({"--lanes", "tap"}));
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("% busy before anything has begun"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("--allow-busy"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace vmlane::test
