// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <thread>

#include "perf/client.h"
#include "tests/support/host.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

using std::chrono::milliseconds;

// A responder and its client in one pod, over loopback.
class PerfClientTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped()) return;
    responder_.emplace(std::vector<std::string>{built("vmlane-perf"), "respond"},
                       RunOptions{.netns = make_pod("p").path()});
    where_.emplace(*netlink::Namespace::open("/run/netns/p"));
    ASSERT_TRUE(client().await_answer(std::chrono::seconds(5)));
  }
  void TearDown() override {
    responder_.reset();
    HostFixture::TearDown();
  }

  perf::Client client(const char* address = "127.0.0.1") const {
    return {*where_, {*IpAddress::parse(address)}, [] { return false; }};
  }
  const BackgroundProcess& responder() const { return *responder_; }
  // Runs `measure` while the responder stands still for 100 ms in its middle.
  template <class Measure>
  perf::Block with_a_stall(Measure measure) const {
    std::thread stall([this] {
      sleep_ms(150);
      ::kill(responder().pid(), SIGSTOP);
      sleep_ms(100);
      ::kill(responder().pid(), SIGCONT);
    });
    const auto block = measure();
    stall.join();
    EXPECT_TRUE(block) << block.error().text();
    return block ? *block : perf::Block();
  }
  static std::uint64_t slower_than(const perf::Block& block, milliseconds limit) {
    std::uint64_t count = 0;
    for (const auto& [value, samples] : block.histogram.buckets()) {
      if (value > static_cast<std::uint64_t>(perf::Nanoseconds(limit).count())) count += samples;
    }
    return count;
  }

 private:
  std::optional<BackgroundProcess> responder_;
  std::optional<netlink::Namespace> where_;
};

TEST_F(PerfClientTest, EveryWayOfAskingGetsItsAnswers) {
  for (const char* address : {"127.0.0.1", "::1"}) {
    for (const std::uint32_t bytes : {64U, 1400U}) {
      for (const auto& block : {client(address).udp_closed(bytes, milliseconds(50)),
                                client(address).tcp_closed(bytes, milliseconds(50)),
                                client(address).udp_open(bytes, 2000, milliseconds(100), 1),
                                client(address).tcp_open(bytes, 2000, milliseconds(100), 1)}) {
        ASSERT_TRUE(block) << block.error().text();
        EXPECT_EQ(block->lost, 0U);
        EXPECT_EQ(block->histogram.count(), block->sent);
        EXPECT_GT(block->sent, 50U);
        EXPECT_GT(block->client_cpu_ns, 0U);
      }
    }
    EXPECT_GT(*client(address).tcp_stream(milliseconds(50)), 0.1);
    EXPECT_GT(*client(address).tcp_connections(milliseconds(50)), 100);
    EXPECT_GT(*client(address).udp_zero_loss(64, milliseconds(20)), 1000);
    EXPECT_GT(client(address).udp_flood(64, milliseconds(20))->arrived, 100U);
  }
}

TEST_F(PerfClientTest, OpenLoopKeepsItsRate) {
  const auto block = client().udp_open(64, 3000, milliseconds(500), 7);
  ASSERT_TRUE(block);
  EXPECT_NEAR(static_cast<double>(block->sent), 1500, 200);
}

// A closed loop asks nothing while the other end stands still, and so sees one slow answer. Requests of an
// open loop fall due all the same, and each of them waited.
TEST_F(PerfClientTest, AStallCountsForEveryRequestItHeldUpInAnOpenLoopOnly) {
  const auto closed = with_a_stall([&] { return client().udp_closed(64, milliseconds(400)); });
  EXPECT_LE(slower_than(closed, milliseconds(20)), 3U);
  for (const bool tcp : {false, true}) {
    const auto open = with_a_stall([&] {
      return tcp ? client().tcp_open(64, 1000, milliseconds(400), 1)
                 : client().udp_open(64, 1000, milliseconds(400), 1);
    });
    EXPECT_GE(slower_than(open, milliseconds(20)), 50U) << "about 80 fell due while it stood";
    EXPECT_EQ(open.lost, 0U);
  }
}

TEST_F(PerfClientTest, WhatIsNotAnsweredIsLostOrAnError) {
  ::kill(responder().pid(), SIGSTOP);
  const auto block = client().udp_closed(64, milliseconds(300));
  ASSERT_TRUE(block);
  EXPECT_EQ(block->histogram.count(), 0U);
  EXPECT_GE(block->lost, 1U);
  EXPECT_FALSE(client().udp_zero_loss(64, milliseconds(10)));
  EXPECT_FALSE(client().await_answer(milliseconds(50)));
  ::kill(responder().pid(), SIGCONT);
}

}  // namespace
}  // namespace vmlane::test
