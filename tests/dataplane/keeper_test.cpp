// SPDX-License-Identifier: Apache-2.0
// The switch under its keeper: it dies and is replaced, and guests notice nothing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "tests/dataplane/stream.h"
#include "tests/dataplane/switch_test.h"
#include "tests/support/long_run.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

using lab::VirtioFeatures;
using std::chrono::milliseconds;
using std::chrono::seconds;

class Keeper : public SwitchTest {
 protected:
  Json status() const { return ask_keeper("status"); }
  pid_t switch_pid() const { return status().value("pid", 0); }
  bool forwarding() const { return status().value("state", "") == "forwarding"; }
  void await_standby() const {
    ASSERT_TRUE(eventually([&] { return status().value("standby", "") == "warm"; }, seconds(60))) << status();
  }
  // Kills the switch, and waits until another one forwards.
  void replace_by_force() const {
    const pid_t before = switch_pid();
    ASSERT_GT(before, 0);
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    ASSERT_TRUE(
        eventually([&] { return switch_pid() > 0 && switch_pid() != before && forwarding(); }, seconds(60)))
        << status();
  }
  // As vmlanectl asks for it.
  void replace_in_order() const {
    const auto before = status().value("restarts", 0U);
    ASSERT_FALSE(ask_keeper("restart").is_null());
    ASSERT_TRUE(
        eventually([&] { return status().value("restarts", 0U) == before + 1 && forwarding(); }, seconds(60)))
        << status();
  }
  Json session_of(const Nic& nic) const { return port_of(nic).value("session", Json::object()); }
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

TEST_F(Keeper, AGuestKeepsItsConnectionWhenTheSwitchIsKilled) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(passes(a, b, "before"));
  std::vector<double> gaps;
  const int kills = rounds(5, 50);
  for (int i = 0; i < kills; i++) {
    await_standby();
    const std::string text = "meanwhile " + std::to_string(i);
    replace_by_force();
    EXPECT_TRUE(passes(a, b, text));
    EXPECT_TRUE(passes(b, a, text));
    EXPECT_TRUE(a.guest->connected());
    EXPECT_TRUE(b.guest->connected());
    gaps.push_back(status().value("last_gap_seconds", 0.0) * 1000);
  }
  EXPECT_EQ(session_of(a).value("replays", 0), kills);
  EXPECT_EQ(status().value("deaths", 0), kills);
  std::cout << "kill -9 to forwarding with a warm stand-by, median: " << median(gaps) << " ms\n";
}

TEST_F(Keeper, AlsoWithoutAStandBy) {
  start_keeper({"--no-standby"});
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  std::vector<double> gaps;
  for (int i = 0; i < rounds(1, 20); i++) {
    replace_by_force();
    EXPECT_TRUE(passes(a, b, "after " + std::to_string(i)));
    EXPECT_TRUE(a.guest->connected());
    gaps.push_back(status().value("last_gap_seconds", 0.0) * 1000);
  }
  EXPECT_EQ(status().value("standby", ""), "none");
  std::cout << "kill -9 to forwarding, cold, median: " << median(gaps) << " ms\n";
}

TEST_F(Keeper, AStreamGoesOnThroughAKill) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  await_standby();
  Stream stream(a, b, 10'000);
  ASSERT_TRUE(stream.runs());
  replace_by_force();
  ASSERT_TRUE(stream.runs());
  const Stream::Outcome outcome = stream.finish();
  // What the killed switch had taken from one ring and not put into the other.
  EXPECT_LE(outcome.lost, 64U);
  std::cout << "through a kill: " << outcome << "\n";
}

TEST_F(Keeper, AStreamLosesNothingByAPlannedRestart) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  await_standby();
  for (int i = 0; i < rounds(2, 20); i++) {
    Stream stream(a, b, 10'000);
    ASSERT_TRUE(stream.runs());
    replace_in_order();
    ASSERT_TRUE(stream.runs());
    const Stream::Outcome outcome = stream.finish();
    EXPECT_EQ(outcome.lost, 0U) << outcome;
    EXPECT_EQ(outcome.repeated, 0U) << outcome;
    std::cout << "through a planned restart: " << outcome << "\n";
  }
  EXPECT_TRUE(a.guest->connected());
}

TEST_F(Keeper, WhenItDiesItselfItsSwitchDoesToAndBothComeBack) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  const pid_t old_switch = switch_pid();
  kill_switch();  // that is, the keeper
  EXPECT_TRUE(eventually([&] { return ::kill(old_switch, 0) != 0; }, kPatience));
  ASSERT_TRUE(eventually([&] { return !a.guest->connected() && !b.guest->connected(); }, kPatience));
  start_keeper();
  connect(a);
  connect(b);
  EXPECT_TRUE(passes(a, b, "again"));
}

TEST_F(Keeper, ConnectsAGuestThatIsStartedAgain) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  const std::string socket = a.result["interfaces"].back().value("socketPath", "");
  for (int i = 0; i < 3; i++) {
    a.guest.reset();
    ASSERT_TRUE(eventually([&] { return port_of(a).value("state", "") == "waiting"; }, kPatience));
    EXPECT_EQ(session_of(a).value("last_reason", ""), "QEMU ended the connection");
    a.guest = *lab::VhostFrontend::listen({.socket = socket});
    connect(a);
    EXPECT_TRUE(passes(a, b, "again " + std::to_string(i)));
  }
}

TEST_F(Keeper, SaysWhyItRefusesAGuestAndServesTheOthers) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Nic x = connect_nic("x", inside());
  const std::uint64_t regions = 9;
  std::vector<std::uint8_t> table(8 + 32 * 9);
  std::memcpy(table.data(), &regions, sizeof regions);
  ASSERT_TRUE(x.guest->send_message(vhost_user::Request::kSetMemTable, table));
  ASSERT_TRUE(eventually([&] { return !x.guest->connected(); }, kPatience));
  EXPECT_TRUE(eventually(
      [&] { return session_of(x).value("last_reason", "").find("8 memory regions") != std::string::npos; },
      kPatience))
      << port_of(x);
  EXPECT_TRUE(passes(a, b, "unharmed"));
  // Features without memory are what QEMU comes to when the VM does not share its memory.
  x.guest.reset();  // it takes its socket along
  x.guest = *lab::VhostFrontend::listen({.socket = x.result["interfaces"].back().value("socketPath", "")});
  const std::uint64_t features = VirtioFeatures::kVersion1 | VirtioFeatures::kProtocol;
  ASSERT_TRUE(x.guest->accept_only(kPatience));
  ASSERT_TRUE(x.guest->send_message(vhost_user::Request::kSetOwner, {}));
  ASSERT_TRUE(x.guest->send_message(vhost_user::Request::kGetFeatures, {}));
  std::array<std::uint8_t, sizeof features> payload{};
  std::memcpy(payload.data(), &features, sizeof features);
  ASSERT_TRUE(x.guest->send_message(vhost_user::Request::kSetFeatures, payload));
  EXPECT_TRUE(eventually(
      [&] { return port_of(x).value("problem", "").find("memory is not shared") != std::string::npos; },
      kPatience))
      << port_of(x);
}

TEST_F(Keeper, TheCommandLineShowsAndReplacesTheSwitch) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  await_standby();
  const pid_t before = switch_pid();
  const auto ctl = [this](const std::string& what) {
    return run({built("vmlanectl"), "switch", what, "--config", node_json(), "-o", "json"});
  };
  const RunResult restarted = ctl("restart");
  EXPECT_TRUE(restarted.ok()) << restarted.err;
  EXPECT_NE(switch_pid(), before);
  EXPECT_EQ(Json::parse(restarted.out).value("restarts", 0), 1);
  const Json sessions = Json::parse(ctl("sessions").out);
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_EQ(sessions[0]["state"], "held");
  EXPECT_EQ(sessions[0]["replays"], 1);
  EXPECT_TRUE(a.guest->connected());
}

// All that can happen to a guest and to what serves it, in any order, while frames go.
class RestartMatrix : public Keeper {
 protected:
  void SetUp() override {
    Keeper::SetUp();
    if (IsSkipped()) return;
    start_keeper();
    a_ = connect_nic("a", inside(), VirtioFeatures::kAll, kPairs);
    b_ = connect_nic("b", inside(), VirtioFeatures::kAll, kPairs);
    c_ = connect_nic("c", inside());
    d_ = connect_nic("d", inside());
  }
  void reboot(Nic& nic) { ASSERT_TRUE(nic.guest->restart_driver(VirtioFeatures::kAll)); }
  void rebind(Nic& nic) {
    // Firmware or another driver, then the usual one.
    ASSERT_TRUE(nic.guest->restart_driver(VirtioFeatures::kPlain));
    ASSERT_TRUE(nic.guest->restart_driver(VirtioFeatures::kAll));
  }
  void restart_vm(Nic& nic) {
    nic.guest.reset();
    nic.guest = *lab::VhostFrontend::listen(
        {.socket = nic.result["interfaces"].back().value("socketPath", ""), .pairs = kPairs});
    ASSERT_NO_FATAL_FAILURE(connect(nic));
  }
  void plug_memory(Nic& nic) {
    // The ninth region there is no room for; a VM that is started anew has one again.
    if (!nic.guest->plug_memory(std::size_t{2} << 20)) restart_vm(nic);
  }
  void change_queues(Nic& nic, std::mt19937& random) {
    ASSERT_TRUE(nic.guest->use_pairs(1 + random() % kPairs));
  }
  void kill_keeper() {
    kill_switch();
    ASSERT_NO_FATAL_FAILURE(start_keeper());
    for (Nic* nic : {&a_, &b_, &c_, &d_}) ASSERT_NO_FATAL_FAILURE(connect(*nic));
  }
  void disturb(std::mt19937& random) {
    Nic& nic = random() % 2 == 0 ? a_ : b_;
    switch (random() % 12) {
      case 0:
      case 1:
        return reboot(nic);
      case 2:
      case 3:
        return rebind(nic);
      case 4:
      case 5:
        return plug_memory(nic);
      case 6:
      case 7:
        return change_queues(nic, random);
      case 8:
      case 9:
        return replace_by_force();
      case 10:
        return random() % 2 == 0 ? replace_in_order() : restart_vm(nic);
      default:
        return random() % 4 == 0 ? kill_keeper() : replace_by_force();
    }
  }

  static constexpr unsigned kPairs = 2;
  Nic a_;
  Nic b_;
  Nic c_;
  Nic d_;
};

// A frame that is on its way in the moment of a disturbance may be lost, as on any link; a port that takes no
// later one is wedged.
bool reaches(Nic& from, Nic& to, const std::string& text) {
  const auto arrives = [&] {
    // By whichever ring of those that are in use.
    for (unsigned pair = 0; pair < 2; pair++) {
      while (const auto frame = to.guest->receive(pair)) {
        if (carries(frame->bytes, text)) return true;
      }
    }
    return false;
  };
  constexpr std::chrono::milliseconds kAgain{250};
  return eventually(
      [&] {
        return from.guest->send(make_test_frame(to.mac, from.mac, text)) && eventually(arrives, kAgain);
      },
      kPatience);
}

TEST_F(RestartMatrix, LeavesNoPortWithoutService) {
  std::mt19937 random(7);
  const int all = rounds(50, 1000);
  for (int i = 0; i < all; i++) {
    SCOPED_TRACE("disturbance " + std::to_string(i));
    // Frames are on their way when it happens.
    for (int j = 0; j < 16; j++) a_.guest->send(make_test_frame(b_.mac, a_.mac, "on its way"));
    ASSERT_NO_FATAL_FAILURE(disturb(random));
    ASSERT_TRUE(reaches(a_, b_, "to b " + std::to_string(i))) << port_of(a_) << port_of(b_);
    ASSERT_TRUE(reaches(b_, a_, "to a " + std::to_string(i))) << port_of(a_) << port_of(b_);
    ASSERT_TRUE(passes(c_, d_, "beside it " + std::to_string(i)));
  }
}

}  // namespace
}  // namespace vmlane::test
