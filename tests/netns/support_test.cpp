// SPDX-License-Identifier: Apache-2.0
// The test tools themselves: a snapshot that sees nothing, or a fixture that leaks, would make every other
// test worthless.
#include "tests/support/frames.h"
#include "tests/support/guest.h"
#include "tests/support/host.h"
#include "tests/support/snapshot.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

class SupportTest : public HostFixture {
 protected:
  Snapshot snapshot() const { return take_snapshot(node(), ipam_dir(), pods()); }
  // A veth pair between two pods with 192.0.2.1 and .2.
  void join(const Pod& a, const Pod& b) {
    must({"ip", "link", "add", "x0", "netns", a.name(), "type", "veth", "peer", "name", "x0", "netns",
          b.name()});
    ASSERT_TRUE(a.run({"ip", "addr", "add", "192.0.2.1/24", "dev", "x0"}).ok());
    ASSERT_TRUE(b.run({"ip", "addr", "add", "192.0.2.2/24", "dev", "x0"}).ok());
    ASSERT_TRUE(a.run({"ip", "link", "set", "x0", "up"}).ok());
    ASSERT_TRUE(b.run({"ip", "link", "set", "x0", "up"}).ok());
    ASSERT_TRUE(await_active(a.path(), "x0") && await_active(b.path(), "x0"));
  }
};

TEST_F(SupportTest, HostStartsWithLoopbackOnly) {
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
}

TEST_F(SupportTest, SnapshotSeesEveryKindOfChange) {
  Pod& pod = make_pod("a");
  const std::vector<std::vector<std::string>> changes = {
      {"ip", "link", "add", "br9", "type", "bridge"},
      {"ip", "link", "set", "br9", "mtu", "1400"},
      {"ip", "addr", "add", "192.0.2.1/24", "dev", "br9"},
      {"ip", "link", "set", "br9", "up"},
      {"ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9"},
      {"bridge", "fdb", "add", "02:00:00:00:00:09", "dev", "br9", "self", "local"},
      {"tc", "qdisc", "add", "dev", "br9", "clsact"},
      {"nft", "add", "table", "inet", "x"},
      {"ip", "netns", "exec", pod.name(), "ip", "link", "add", "x1", "type", "veth", "peer", "name", "x2"},
      {"touch", (ipam_dir() / "192.0.2.7").string()},
      {"mkdir", "-p", (node().state_dir / "attachments").string(), node().run_dir.string(),
       node().bpf_dir.string()},
      {"touch", (node().state_dir / "attachments" / "x.json").string()},
      {"touch", (node().run_dir / "x.sock").string()},
  };
  for (const auto& change : changes) {
    const Snapshot before = snapshot();
    must(change);
    const std::string differs = difference(before, snapshot());
    if (change[0] == "mkdir") continue;  // empty directories are no state
    EXPECT_NE(differs, "") << change[0] << " " << change[1];
  }
}

TEST_F(SupportTest, SnapshotOfAnUnchangedNodeIsAlike) {
  make_pod("a");
  must({"ip", "link", "add", "br9", "type", "bridge"});
  must({"ip", "link", "set", "br9", "up"});
  const Snapshot before = snapshot();
  sleep_ms(200);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_F(SupportTest, TrafficHelpersTellReachableFromUnreachable) {
  Pod& a = make_pod("a");
  Pod& b = make_pod("b");
  join(a, b);
  EXPECT_TRUE(reach(a.path(), "192.0.2.2").all());
  EXPECT_EQ(ping(a.path(), "192.0.2.77", {.count = 1}).received, 0);
  EXPECT_EQ(tcp_transfer(a.path(), b.path(), "192.0.2.2", 1 << 20), "");
  EXPECT_EQ(udp_exchange(a.path(), b.path(), "192.0.2.2", "hello"), "");
  EXPECT_NE(tcp_transfer(a.path(), b.path(), "192.0.2.1", 10), "");
}

TEST_F(SupportTest, RawFramesArriveAtTheOtherEnd) {
  Pod& a = make_pod("a");
  Pod& b = make_pod("b");
  join(a, b);
  const PacketSocket sender(a.path(), "x0");
  const PacketSocket receiver(b.path(), "x0");
  const MacAddress source = MacAddress::derived("source");
  sender.send(make_test_frame(broadcast_mac(), source, "hello"));
  const auto frame = receiver.receive([](const Frame& f) { return ether_type_of(f) == kEtherTypeTest; },
                                      std::chrono::seconds(2));
  ASSERT_TRUE(frame);
  EXPECT_EQ(source_of(*frame), source);
  EXPECT_EQ(destination_of(*frame), broadcast_mac());
  EXPECT_TRUE(carries(*frame, "hello"));
}

TEST_F(SupportTest, FakeGuestAnswersArpAndPing) {
  Pod& pod = make_pod("a");
  ASSERT_TRUE(
      pod.run({"ip", "tuntap", "add", "tap0", "mode", "tap", "user", "107", "group", "107", "vnet_hdr"})
          .ok());
  ASSERT_TRUE(pod.run({"ip", "addr", "add", "192.0.2.1/24", "dev", "tap0"}).ok());
  ASSERT_TRUE(pod.run({"ip", "link", "set", "tap0", "up"}).ok());
  EXPECT_EQ(open_tap(pod.path(), "tap0", 1234, false).error, EPERM);
  FakeGuest guest(pod.path(), "tap0", MacAddress::derived("guest"));
  guest.serve(*IpAddress::parse("192.0.2.2"));
  const auto result = reach(pod.path(), "192.0.2.2");
  EXPECT_TRUE(result.all()) << result.output;
}

TEST_F(SupportTest, RunReportsStatusSignalOutputAndTimeout) {
  EXPECT_EQ(run({"false"}).status, 1);
  EXPECT_EQ(run({"cat"}, {.input = "text"}).out, "text");
  EXPECT_EQ(run({"sh", "-c", "kill -9 $$"}).signal, 9);
  EXPECT_TRUE(run({"sleep", "10"}, {.timeout = std::chrono::milliseconds(50)}).timed_out);
}

}  // namespace
}  // namespace vmlane::test
