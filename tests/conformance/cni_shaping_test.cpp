// SPDX-License-Identifier: Apache-2.0
// The capability `bandwidth`: rates in both directions, held where the pod cannot lift them.
#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/conformance/lane_test.h"
#include "tests/support/frames.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

using std::chrono::steady_clock;

constexpr std::uint64_t kMbit = 1'000'000;

// Sends full-size frames at three times a rate while it lives.
class Flood {
 public:
  Flood(const std::string& netns, const MacAddress& to, const MacAddress& from, std::uint64_t bits_per_second)
      : socket_(netns, "eth0"),
        frame_(make_frame(to, from, kEtherTypeTest, std::vector<std::uint8_t>(1500))) {
    thread_ = std::thread([this, bits_per_second] { run(bits_per_second); });
  }
  ~Flood() {
    stop_ = true;
    thread_.join();
  }
  Flood(const Flood&) = delete;
  Flood& operator=(const Flood&) = delete;

 private:
  void run(std::uint64_t bits_per_second) {
    const double wanted_a_second = 3.0 * static_cast<double>(bits_per_second) / 8.0;
    const auto start = steady_clock::now();
    double sent = 0;
    while (!stop_) {
      const std::chrono::duration<double> passed = steady_clock::now() - start;
      while (sent < passed.count() * wanted_a_second && !stop_) {
        socket_.send(frame_);
        sent += static_cast<double>(frame_.size());
      }
      sleep_ms(2);
    }
  }

  PacketSocket socket_;
  Frame frame_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class ShapingTest : public LaneTest {
 protected:
  static Json shaped(const Json& bandwidth) { return {{"runtimeConfig", {{"bandwidth", bandwidth}}}}; }
  // The pod's MAC.
  MacAddress attach(const std::string& name, const Json& keys) {
    const CniOutcome outcome = add(make_pod(name), config(keys), name);
    EXPECT_CNI_OK(outcome);
    return *MacAddress::parse(link_of(pods().at(name)->path(), "eth0")["address"].get<std::string>());
  }
  std::uint64_t received_bytes(const std::string& pod) const {
    const Json links = ip_json(pods().at(pod)->path(), {"-s", "link", "show", "dev", "eth0"});
    return links.at(0)["stats64"]["rx"]["bytes"].get<std::uint64_t>();
  }
  // Bits a second that arrive at the pod, by the kernel's count of bytes.
  double arriving(const std::string& pod, std::chrono::milliseconds time) const {
    const auto start = steady_clock::now();
    const std::uint64_t before = received_bytes(pod);
    sleep_ms(static_cast<int>(time.count()));
    const std::uint64_t after = received_bytes(pod);
    const std::chrono::duration<double> passed = steady_clock::now() - start;
    return static_cast<double>(after - before) * 8.0 / passed.count();
  }
  void expect_rate(const std::string& from, const std::string& to, const MacAddress& to_mac,
                   const MacAddress& from_mac, std::uint64_t rate) {
    const Flood flood(pods().at(from)->path(), to_mac, from_mac, rate);
    sleep_ms(1000);  // the burst is spent
    const double measured = arriving(to, std::chrono::seconds(rounds(3, 10)));
    EXPECT_NEAR(measured, static_cast<double>(rate), 0.05 * static_cast<double>(rate));
  }
};

TEST_P(ShapingTest, RatesAreHeldInBothDirections) {
  const MacAddress other = attach("other", Json::object());
  std::vector<std::uint64_t> rates = {kMbit, 100 * kMbit};
  if (long_run()) rates.push_back(1000 * kMbit);
  for (const std::uint64_t rate : rates) {
    SCOPED_TRACE(std::to_string(rate) + " bit/s");
    const std::string name = "p" + std::to_string(rate);
    const MacAddress mac = attach(name, shaped({{"ingressRate", rate}, {"egressRate", rate}}));
    expect_rate(name, "other", other, mac, rate);
    expect_rate("other", name, mac, other, rate);
  }
}

// Faster than a thread sends frame by frame: TCP between two pods, with what its payload takes on the wire.
TEST_P(ShapingTest, FiveGigabitsAreHeldWhereThePathGivesMore) {
  if (!long_run()) GTEST_SKIP() << "measures for a minute and wants an idle machine: VMLANE_LONG=1";
  if (plugin() != "vmlane-veth") GTEST_SKIP() << "the host end, where rates are held, is the same for guests";
  constexpr double kGbit = 1e9;
  constexpr double kOnWire = 1514.0 / 1448.0;  // Ethernet, IPv4 and TCP with timestamps around a segment
  const auto address = [&](const CniOutcome& outcome) {
    const std::string text = outcome.document->at("ips").at(0).at("address");
    return text.substr(0, text.find('/'));
  };
  const CniOutcome server = add(make_pod("server"), config(), "server");
  ASSERT_CNI_OK(server);
  const BackgroundProcess listening({"iperf3", "-s"}, {.netns = pods().at("server")->path()});
  const auto measure = [&](const std::string& pod, bool towards_pod) {
    std::vector<std::string> command = {"iperf3", "-J", "-O", "2", "-t", "10", "-c", address(server)};
    if (towards_pod) command.emplace_back("-R");
    RunResult run;
    EXPECT_TRUE(eventually([&] {
      run = pods().at(pod)->run(command);
      return run.ok();
    })) << run.out;
    return Json::parse(run.out)["end"]["sum_received"].value("bits_per_second", 0.0) * kOnWire;
  };
  ASSERT_CNI_OK(add(make_pod("free"), config(), "free"));
  const double unshaped = measure("free", false);
  if (unshaped < 6 * kGbit) GTEST_SKIP() << "the path gives only " << unshaped / kGbit << " Gbit/s";
  const std::uint64_t rate = 5000 * kMbit;
  ASSERT_CNI_OK(add(make_pod("a"), config(shaped({{"ingressRate", rate}, {"egressRate", rate}})), "a"));
  for (const bool towards_pod : {false, true})
    EXPECT_NEAR(measure("a", towards_pod), 5 * kGbit, 0.05 * 5 * kGbit)
        << (towards_pod ? "to" : "from") << " the pod";
}

TEST_P(ShapingTest, PodCannotLiftItAndDelTakesItAway) {
  const Pod& pod = make_pod("a");
  const Snapshot before = snapshot();
  const Json conf = config(shaped({{"ingressRate", 8 * kMbit}, {"egressRate", 16 * kMbit}}));
  const CniOutcome outcome = add(pod, conf, "a");
  ASSERT_CNI_OK(outcome);
  const std::string inside = pod.run({"tc", "qdisc", "show"}).out;
  EXPECT_EQ(inside.find("tbf"), std::string::npos) << inside;
  EXPECT_FALSE(link_of("", names::shaper_link(id_of("a"))).is_null());
  EXPECT_CNI_OK(check(pod, conf, *outcome.document, "a"));
  must({"ip", "link", "set", names::shaper_link(id_of("a")), "down"});
  EXPECT_CNI_ERROR(check(pod, conf, *outcome.document, "a"), Code::kChanged);
  EXPECT_CNI_OK(del(pod.path(), conf, "a"));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ShapingTest, GuardOfTheMacStandsBeforeIt) {
  const MacAddress other = attach("other", Json::object());
  Json keys = shaped({{"egressRate", 16 * kMbit}});
  keys["macspoofchk"] = true;
  const MacAddress mac = attach("a", keys);
  const PacketSocket seen(pods().at("other")->path(), "eth0");
  const PacketSocket sender(pods().at("a")->path(), "eth0");
  sender.send(make_test_frame(other, MacAddress::derived("stranger"), "spoofed"));
  sender.send(make_test_frame(other, mac, "honest"));
  const auto first =
      seen.receive([](const Frame& frame) { return carries(frame, "spoofed") || carries(frame, "honest"); },
                   std::chrono::seconds(10));
  ASSERT_TRUE(first);
  EXPECT_TRUE(carries(*first, "honest"));
}

TEST_P(ShapingTest, DelFindsItWithoutARecord) {
  const Json conf = config(shaped({{"egressRate", 16 * kMbit}}));
  ASSERT_CNI_OK(add(make_pod("a"), conf, "a"));
  std::filesystem::remove(record_file(id_of("a")));
  EXPECT_CNI_OK(del(pods().at("a")->path(), conf, "a"));
  EXPECT_TRUE(link_of("", names::shaper_link(id_of("a"))).is_null());
}

TEST_P(ShapingTest, ForeignLinkOfItsNameIsRefusedAndKept) {
  make_pod("a");
  const std::string name = names::shaper_link(id_of("a"));
  must({"ip", "link", "add", name, "type", "ifb"});
  const Json conf = config(shaped({{"egressRate", 16 * kMbit}}));
  expect_refused(call("ADD", pods().at("a")->path(), conf, "a"), Code::kConflict, {name});
}

TEST_P(ShapingTest, RateAboveThirtyTwoBitsOfBytesIsKept) {
  attach("a", shaped({{"ingressRate", 40'000 * kMbit}}));
  const std::string shown = run({"tc", "qdisc", "show"}).out;
  EXPECT_NE(shown.find("rate 40Gbit"), std::string::npos) << shown;
}

TEST_P(ShapingTest, WrongValuesAreRefusedByName) {
  make_pod("a");
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"ingressRate", 0}}, "ingressRate"},
      {{{"egressRate", 0}}, "egressRate"},
      {{{"egressRate", -1}}, "egressRate"},
      {{{"ingressRate", std::uint64_t{1} << 63}}, "ingressRate"},
      {{{"ingressBurst", 8000}}, "ingressBurst"},
      {{{"egressRate", 0}, {"egressBurst", 8000}}, "egressBurst"},
      {{{"egressRate", 8000}, {"egressBurst", std::uint64_t{UINT32_MAX} * 8 + 1}}, "egressBurst"}};
  for (const auto& [bandwidth, key] : cases) {
    SCOPED_TRACE(bandwidth.dump());
    expect_refused(call("ADD", pods().at("a")->path(), config(shaped(bandwidth)), "a"), Code::kInvalidConfig,
                   {"runtimeConfig.bandwidth." + key});
  }
}

TEST_P(ShapingTest, NoneIsAskedForByZeros) {
  attach("a", shaped({{"ingressRate", 0}, {"ingressBurst", 0}, {"egressRate", 0}, {"egressBurst", 0}}));
  EXPECT_EQ(run({"tc", "qdisc", "show"}).out.find("tbf"), std::string::npos);
}

VMLANE_FOR_BRIDGE_LANES(ShapingTest);

}  // namespace
}  // namespace vmlane::test
