// SPDX-License-Identifier: Apache-2.0
// The switch, guests and attachments coming and going in any order.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "core/names.h"
#include "tests/dataplane/stream.h"
#include "tests/dataplane/switch_test.h"
#include "tests/support/long_run.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

using std::chrono::milliseconds;
constexpr uid_t kNobody = 65534;

class Lifecycle : public SwitchTest {
 protected:
  // The test's directory is its own; a switch without privileges must get to what the node's administrator
  // lets it get to.
  void let_pass(uid_t user) const {
    std::filesystem::create_directories(node().run_dir);
    std::filesystem::create_directories(node().state_dir);
    for (const auto& path : {directory(), node().state_dir, node().run_dir})
      ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
    ASSERT_EQ(::chmod(node_json().c_str(), 0644), 0);
    ASSERT_EQ(::chown(node().run_dir.c_str(), user, user), 0);
  }
};

TEST_F(Lifecycle, GuestsWorkOnWhenTheSwitchWasKilledAndStartedAgain) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(passes(a, b, "before"));
  for (int i = 0; i < 3; i++) {
    // Frames that nobody takes yet stay in the ring.
    kill_switch();
    ASSERT_TRUE(eventually([&] { return !a.guest->connected(); }, kPatience));
    ASSERT_TRUE(a.guest->send(make_test_frame(b.mac, a.mac, "meanwhile " + std::to_string(i))));
    start_switch();
    connect(b);
    connect(a);
    EXPECT_TRUE(arrives(b, "meanwhile " + std::to_string(i)));
    EXPECT_TRUE(passes(b, a, "after " + std::to_string(i)));
  }
}

TEST_F(Lifecycle, AGuestThatIsStartedAgainIsConnectedAgain) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  const std::string socket = a.result["interfaces"].back().value("socketPath", "");
  for (int i = 0; i < 5; i++) {
    a.guest.reset();
    ASSERT_TRUE(eventually([&] { return port_of(a).value("state", "") == "waiting"; }, kPatience));
    // Another driver than before: firmware, say, with its few features.
    const std::uint64_t features = i % 2 == 0 ? lab::VirtioFeatures::kPlain : lab::VirtioFeatures::kAll;
    a.guest = *lab::VhostFrontend::listen({.socket = socket, .features = features});
    connect(a);
    EXPECT_TRUE(passes(a, b, "again " + std::to_string(i)));
    EXPECT_TRUE(passes(b, a, "and back " + std::to_string(i)));
  }
}

TEST_F(Lifecycle, AGuestMayTakeItsRingsBackAndGiveThemAgain) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(passes(a, b, "before"));
  ASSERT_TRUE(a.guest->take_back());
  ASSERT_TRUE(eventually([&] { return port_of(a).value("pairs", 1U) == 0; }, kPatience));
  a.guest->disconnect();
  connect(a);
  EXPECT_TRUE(passes(a, b, "after"));
}

TEST_F(Lifecycle, AnAttachmentMadeBeforeTheSwitchStartsIsServedWhenItDoes) {
  Nic a = make_nic("a", inside());
  Nic b = make_nic("b", inside());
  start_switch();
  connect(a);
  connect(b);
  EXPECT_TRUE(passes(a, b, "hello"));
}

TEST_F(Lifecycle, AfterDelTheGuestNeitherSendsNorGets) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(passes(a, b, "hello"));
  ASSERT_CNI_OK(del(pods().at("a")->path(), inside(), "a"));
  EXPECT_TRUE(port_of(a).empty()) << "when DEL has ended the switch has let go";
  EXPECT_TRUE(eventually([&] { return !a.guest->connected(); }, kPatience));
  EXPECT_FALSE(std::filesystem::exists(node().ports_dir() / id_of(a)));
}

TEST_F(Lifecycle, SaysWhatKeepsAPortFromBeingConnected) {
  configure_node({{"switchUid", kNobody}, {"vmlaneGid", kNobody}});
  let_pass(kNobody);
  Nic a = make_nic("a", inside());
  const std::string socket = a.result["interfaces"].back().value("socketPath", "");
  start_switch({}, kNobody);
  // The port directory is for QEMU's group.
  ASSERT_TRUE(eventually([&] { return port_of(a).value("state", "") == "refused"; }, kPatience))
      << port_of(a);
  EXPECT_NE(port_of(a).value("problem", "").find(socket), std::string::npos) << port_of(a);
}

TEST_F(Lifecycle, WorksAsAUserWithoutAnyCapability) {
  configure_node(
      {{"switchUid", kNobody}, {"vmlaneGid", kNobody}, {"ownerUid", kNobody}, {"ownerGid", kNobody}});
  let_pass(kNobody);
  Nic a = make_nic("a", config());
  ASSERT_EQ(::chown(a.result["interfaces"].back().value("socketPath", "").c_str(), kNobody, kNobody), 0);
  start_switch({}, kNobody);
  connect(a);
  ASSERT_CNI_OK(run_plugin(
      "vmlane-veth", call("ADD", make_pod("c").path(), config({{"type", "vmlane-veth"}}), "c"), node_json()));
  const AnsweringGuest guest(a);
  EXPECT_TRUE(reach(pods().at("c")->path(), a.address->to_string()).all());
}

TEST_F(Lifecycle, AContainerAndAGuestOfOneNetworkReachEachOther) {
  start_switch();
  Nic a = connect_nic("a", config());
  Nic b = connect_nic("b", config());
  Pod& container = make_pod("c");
  ASSERT_CNI_OK(run_plugin(
      "vmlane-veth", call("ADD", container.path(), config({{"type", "vmlane-veth"}}), "c"), node_json()));
  {
    const AnsweringGuest guest(a);
    EXPECT_TRUE(reach(container.path(), a.address->to_string()).all());
    // In fragments, to the largest that the guest can take.
    EXPECT_TRUE(reach(container.path(), a.address->to_string(), {.payload = 1400}).all());
  }
  EXPECT_TRUE(passes(a, b, "guest to guest"));
  // The uplink comes back by itself when it was removed and made again by another ADD.
  const std::string tap = names::uplink_tap(node().state_dir.string(), "bridge:br1");
  must({"ip", "link", "delete", tap});
  Nic d = connect_nic("d", config());
  const AnsweringGuest guest(d);
  EXPECT_TRUE(reach(container.path(), d.address->to_string()).all());
}

// While a message of QEMU's is carried out the guest's rings are locked. No frame is to be left lying because
// of that until the next one comes: none is sent twice here.
TEST_F(Lifecycle, AFrameThatComesWithAMessageIsNotLeftLying) {
  // A message for each ring, one right after the other.
  constexpr unsigned kPairs = 8;
  start_switch({"--mode", "interrupt"});
  Nic a = connect_nic("a", inside(), lab::VirtioFeatures::kAll, kPairs);
  Nic b = connect_nic("b", inside());
  std::atomic<bool> stopping = false;
  std::thread messages([&] {
    while (!stopping) EXPECT_TRUE(a.guest->use_pairs(kPairs));
  });
  unsigned lost = 0;
  for (int i = 0; i < rounds(500, 20'000) && lost == 0; i++) {
    const std::string text = "frame " + std::to_string(i);
    ASSERT_TRUE(a.guest->send(make_test_frame(b.mac, a.mac, text)));
    if (!arrives(b, text, std::chrono::seconds(3))) lost++;
  }
  stopping = true;
  messages.join();
  EXPECT_EQ(lost, 0U);
}

TEST_F(Lifecycle, NoFrameIsLostWhileMemoryIsPlugged) {
  start_switch({"--mode", "interrupt"});
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Stream there(a, b, 5000);
  ASSERT_TRUE(there.runs());
  for (int i = 0; i < 7; i++) {
    for (Nic* nic : {&a, &b}) ASSERT_TRUE(nic->guest->plug_memory(std::size_t{2} << 20));
    ASSERT_TRUE(there.runs());
  }
  const auto outcome = there.finish();
  EXPECT_EQ(outcome.lost, 0U) << outcome;
  EXPECT_EQ(outcome.repeated, 0U) << outcome;
}

TEST_F(Lifecycle, NoFrameIsLostWhileAGuestChangesHowManyRingsItUses) {
  start_switch({"--mode", "interrupt"});
  Nic a = connect_nic("a", inside({{"spoofCheck", false}}));
  Nic b = connect_nic("b", inside({{"spoofCheck", false}}), lab::VirtioFeatures::kAll, 2);
  std::atomic<bool> stopping = false;
  std::thread changes([&] {
    for (unsigned i = 0; !stopping; i++) EXPECT_TRUE(b.guest->use_pairs(1 + i % 2));
  });
  const int all = rounds(3000, 50'000);
  int came = 0;
  const auto take = [&] {
    for (unsigned pair = 0; pair < 2; pair++) {
      while (b.guest->receive(pair)) came++;
    }
  };
  for (int i = 0; i < all; i++) {
    // Of many flows, for all of its rings.
    MacAddress source = a.mac;
    source.bytes[5] = static_cast<std::uint8_t>(i);
    const Frame frame = make_test_frame(b.mac, source, "frame " + std::to_string(i));
    // No more on their way than either ring has room for.
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while ((i - came > 100 || !a.guest->send(frame)) && std::chrono::steady_clock::now() < deadline) {
      take();
      std::this_thread::yield();
    }
  }
  eventually([&] { return take(), came >= all; }, std::chrono::seconds(5));
  stopping = true;
  changes.join();
  EXPECT_EQ(came, all) << ask("drops");
}

TEST_F(Lifecycle, AMessageWakesTheWorkerOnceAndNotForEver) {
  start_switch();
  Nic a = connect_nic("a", inside(), lab::VirtioFeatures::kAll, 2);
  const auto wakes = [&] { return ask("stats")["worker"].value("wakes", std::uint64_t{0}); };
  const std::uint64_t before = wakes();
  ASSERT_TRUE(a.guest->use_pairs(1));
  // A question of ours would end what this is about.
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_LE(wakes() - before, 50U);
}

TEST_F(Lifecycle, TheSwitchUsesNoCpuWhileNothingComes) {
  start_switch();
  std::vector<Nic> nics;
  for (const char* name : {"a", "b", "c", "d"}) nics.push_back(connect_nic(name, inside()));
  ASSERT_TRUE(passes(nics[0], nics[1], "hello"));
  const auto blocked = [&] { return ask("stats")["worker"].value("blocked_seconds", 0.0); };
  const double before = blocked();
  sleep_ms(1000);
  EXPECT_GT(blocked() - before, 0.8);
  // And a frame after all that time is not lost.
  EXPECT_TRUE(passes(nics[2], nics[3], "still there"));
}

class Mode : public SwitchTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(Mode, ForwardsAndTellsWhatItsTimeWentInto) {
  start_switch({"--mode", GetParam()});
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  for (int i = 0; i < 20; i++) EXPECT_TRUE(passes(a, b, "frame " + std::to_string(i)));
  const Json worker = ask("stats")["worker"];
  EXPECT_GT(worker.value("busy_seconds", 0.0), 0.0);
  if (std::string(GetParam()) == "poll") {
    EXPECT_EQ(worker.value("blocked_seconds", 1.0), 0.0);
    EXPECT_GT(worker.value("spinning_seconds", 0.0), 0.0);
  } else {
    EXPECT_GT(worker.value("blocked_seconds", 0.0), 0.0);
    EXPECT_GT(worker.value("wakes", 0U), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Mode, ::testing::Values("adaptive", "poll", "interrupt"),
                         [](const auto& mode) { return std::string(mode.param); });

}  // namespace
}  // namespace vmlane::test
