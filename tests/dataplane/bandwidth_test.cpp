// SPDX-License-Identifier: Apache-2.0
// How much of the switch one guest may have: the bandwidth that its attachment asks for, and its share of the
// worker's time.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/dataplane/switch_test.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

using lab::VirtioFeatures;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr double kByteBits = 8;

// A thread that does something again and again for as long as this lives.
class Repeating {
 public:
  explicit Repeating(std::function<void()> what)
      : thread_([this, what = std::move(what)] {
          while (!stopping_) what();
        }) {}
  ~Repeating() {
    stopping_ = true;
    thread_.join();
  }
  Repeating(const Repeating&) = delete;
  Repeating& operator=(const Repeating&) = delete;

 private:
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

class SwitchBandwidth : public SwitchTest {
 protected:
  static constexpr std::uint64_t kRate = 16'000'000;
  Json limited(const std::string& direction) const {
    // A second's worth, so that a loaded machine may pause the sender for that long.
    return inside(
        {{"runtimeConfig", {{"bandwidth", {{direction + "Rate", kRate}, {direction + "Burst", kRate}}}}}});
  }
  static Frame full_frame(const Nic& from, const Nic& to) {
    return make_test_frame(to.mac, from.mac, std::string(1400, 'x'));
  }
  // Bytes that the switch let pass to a guest, whether that had room or not.
  std::uint64_t passed(const Nic& nic) const {
    const Json port = port_of(nic);
    constexpr std::uint64_t kFrame = 1414;
    return port.value("tx_bytes", std::uint64_t{0}) + drops_at(nic, "no-room") * kFrame;
  }
  // Bits a second that pass from one guest to another that sends three times the rate.
  double measure(Nic& from, Nic& to, const Nic& limited_nic) {
    const Frame frame = full_frame(from, to);
    const auto start = Clock::now();
    double sent = 0;
    const Repeating sender([&] {
      const std::chrono::duration<double> time = Clock::now() - start;
      while (sent < time.count() * 3 * kRate / kByteBits && from.guest->send(frame))
        sent += static_cast<double>(frame.size());
      std::this_thread::sleep_for(milliseconds(1));
    });
    const Repeating receiver([&] { (void)to.guest->receive_within(milliseconds(20)); });
    // The burst is spent when the first frame is dropped.
    EXPECT_TRUE(eventually([&] { return drops_at(limited_nic, "rate") > 0; }, kPatience));
    std::this_thread::sleep_for(milliseconds(200));
    const std::uint64_t before = passed(to);
    const auto began = Clock::now();
    std::this_thread::sleep_for(std::chrono::seconds(rounds(4, 12)));
    const std::uint64_t after = passed(to);
    const std::chrono::duration<double> time = Clock::now() - began;
    return static_cast<double>(after - before) * kByteBits / time.count();
  }
};

TEST_F(SwitchBandwidth, HoldsTheRateOfWhatAGuestSends) {
  start_switch();
  Nic a = connect_nic("a", limited("egress"));
  Nic b = connect_nic("b", inside());
  EXPECT_EQ(port_of(a)["bandwidth"], (Json{{"egress", {{"rate", kRate}, {"burst", kRate}}}}));
  const double measured = measure(a, b, a);
  EXPECT_NEAR(measured / kRate, 1.0, 0.05);
  EXPECT_EQ(drops_at(b, "rate"), 0U);
}

TEST_F(SwitchBandwidth, HoldsTheRateOfWhatAGuestGets) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", limited("ingress"));
  const double measured = measure(a, b, b);
  EXPECT_NEAR(measured / kRate, 1.0, 0.05);
  EXPECT_EQ(drops_at(a, "rate"), 0U);
}

TEST_F(SwitchBandwidth, LimitsTheDirectionThatWasAskedForAndNoOther) {
  start_switch();
  Nic a = connect_nic("a", limited("egress"));
  Nic b = connect_nic("b", inside());
  // More than two seconds' worth.
  constexpr unsigned kFrames = 4000;
  const Frame frame = full_frame(b, a);
  unsigned came = 0;
  for (unsigned i = 0; i < kFrames; i++) {
    while (!b.guest->send(frame)) std::this_thread::sleep_for(milliseconds(1));
    if (a.guest->receive_within(kPatience)) came++;
  }
  EXPECT_EQ(came, kFrames);
  EXPECT_EQ(drops_at(a, "rate"), 0U);
}

TEST_F(SwitchBandwidth, AFrameThatIsCutLaterCountsAsItsSegments) {
  start_switch();
  constexpr std::size_t kPayload = 60'000;
  constexpr std::uint16_t kSegment = 100;
  Nic a = connect_nic(
      "a",
      inside({{"spoofCheck", false},
              {"ipam", nullptr},
              {"runtimeConfig", {{"bandwidth", {{"egressRate", 1'000'000}, {"egressBurst", 1'000'000}}}}}}));
  Nic b = connect_nic("b", inside({{"spoofCheck", false}, {"ipam", nullptr}}));
  const Packet packet = make_offloaded_tcp(b.mac, a.mac, false, kPayload, kSegment);
  const lab::VirtioNetHeader header{.flags = packet.header.flags,
                                    .gso_type = packet.header.gso_type,
                                    .header_length = packet.header.header_length,
                                    .gso_size = packet.header.gso_size,
                                    .checksum_start = packet.header.checksum_start,
                                    .checksum_offset = packet.header.checksum_offset};
  // The bucket has 131,072 bytes: two such frames as they are, one with the headers of 600 segments.
  ASSERT_TRUE(a.guest->send(packet.frame, header));
  ASSERT_TRUE(a.guest->send(packet.frame, header));
  EXPECT_TRUE(eventually([&] { return drops_at(a, "rate") == 1; }, kPatience)) << port_of(a);
  EXPECT_TRUE(b.guest->receive_within(kPatience));
}

TEST_F(SwitchBandwidth, RefusesARateThatItCannotHold) {
  Pod& pod = make_pod("c1");
  const CniOutcome outcome =
      add(pod, inside({{"runtimeConfig", {{"bandwidth", {{"egressRate", 999}, {"egressBurst", 1}}}}}}));
  EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  EXPECT_NE(outcome.message().find("egressRate"), std::string::npos) << outcome;
  const CniOutcome burst = add(pod, inside({{"runtimeConfig", {{"bandwidth", {{"ingressBurst", 5000}}}}}}));
  EXPECT_CNI_ERROR(burst, Code::kInvalidConfig);
  EXPECT_NE(burst.message().find("ingressBurst"), std::string::npos) << burst;
}

TEST_F(SwitchBandwidth, AFloodOfCostlyFramesDoesNotStarveOthers) {
  start_switch();
  const Json open = inside({{"spoofCheck", false}, {"ipam", nullptr}});
  Nic attacker = connect_nic("attacker", open);
  // Takes no segments, so the switch has to cut them.
  Nic sink = connect_nic("sink", open, VirtioFeatures::kPlain);
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  constexpr std::size_t kPayload = 60'000;
  constexpr std::uint16_t kSegment = 200;
  const Packet packet = make_offloaded_tcp(sink.mac, attacker.mac, true, kPayload, kSegment);
  const lab::VirtioNetHeader header{.flags = packet.header.flags,
                                    .gso_type = packet.header.gso_type,
                                    .header_length = packet.header.header_length,
                                    .gso_size = packet.header.gso_size,
                                    .checksum_start = packet.header.checksum_start,
                                    .checksum_offset = packet.header.checksum_offset};
  const Repeating flood([&] {
    if (!attacker.guest->send(packet.frame, header)) std::this_thread::yield();
  });
  for (int i = 0; i < 200; i++) ASSERT_TRUE(passes(a, b, "frame " + std::to_string(i)));
  EXPECT_GT(port_of(attacker).value("short_turns", 0U), 0U) << port_of(attacker);
  EXPECT_EQ(port_of(a).value("short_turns", 1U), 0U);
}

}  // namespace
}  // namespace vmlane::test
