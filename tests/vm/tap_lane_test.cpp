// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <future>
#include <string>

#include "core/json.h"
#include "tests/support/host.h"
#include "tests/support/long_run.h"
#include "tests/support/process.h"

// Each test starts a lab of its own, so there are few and long ones.
// The tap lane with real guests: the lab starts examples/demo.yaml, and QEMU's guests talk to containers and
// to each other.
namespace vmlane::test {
namespace {

const std::string kVmlanectl = VMLANE_BIN_DIR "/vmlanectl";
constexpr int kMtu = 1450;    // of the networks in examples/demo.yaml
constexpr int kHeaders = 28;  // IPv4 and ICMP, beside an echo request's payload

class TapLaneTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const RunResult image =
        run({VMLANE_SOURCE_DIR "/scripts/guest-image"}, {.timeout = std::chrono::minutes(5)});
    ASSERT_TRUE(image.ok()) << image.err;
    const RunResult up =
        run({kVmlanectl, "lab", "up", "--dir", directory(), VMLANE_SOURCE_DIR "/examples/demo.yaml"},
            {.timeout = std::chrono::minutes(5)});
    ASSERT_TRUE(up.ok()) << up.out << up.err;
  }

  static void TearDownTestSuite() {
    const RunResult down = run({kVmlanectl, "lab", "down", "--dir", directory()});
    EXPECT_TRUE(down.ok()) << down.err;
    EXPECT_FALSE(std::filesystem::exists(directory()));
  }

  static std::string directory() { return "/run/vmlane-test-" + std::to_string(::getpid()); }

  static RunResult in(const std::string& name, const std::string& command,
                      std::chrono::seconds timeout = std::chrono::seconds(60)) {
    return run({kVmlanectl, "lab", "exec", "--dir", directory(), "--timeout", std::to_string(timeout.count()),
                name, "--", "sh", "-c", command},
               {.timeout = timeout + std::chrono::seconds(10)});
  }

  static Json row(const std::string& name) {
    const RunResult listed = run({kVmlanectl, "lab", "ls", "--dir", directory(), "-o", "json"});
    for (const Json& entry : Json::parse(listed.out)) {
      if (entry["name"] == "default/" + name) return entry;
    }
    return {};
  }

  static std::string address(const std::string& name, bool v6 = false) {
    for (const Json& ip : row(name)["ips"]) {
      const auto text = ip.get<std::string>();
      if ((text.find(':') != std::string::npos) == v6) return text.substr(0, text.find('/'));
    }
    return {};
  }

  // Sends `mib` MiB over TCP, each the same block of random bytes; the checksum at either end, which begins
  // with that of the sender. A guest's nc is busybox's and closes when the program that it runs ends; a
  // container's is OpenBSD's.
  static std::pair<std::string, std::string> transfer(const std::string& from, const std::string& to, int mib,
                                                      int port) {
    const auto limit = std::chrono::minutes(10);
    const std::string block = "dd if=/dev/urandom of=/tmp/block bs=1M count=1 && echo 'for i in $(seq " +
                              std::to_string(mib) + "); do cat /tmp/block; done' >/tmp/stream";
    EXPECT_TRUE(in(from, block).ok());
    auto received = std::async(std::launch::async, [&] {
      return in(to, "nc -l -p " + std::to_string(port) + " </dev/null | md5sum", limit);
    });
    sleep_ms(1000);
    const std::string peer = address(to) + " " + std::to_string(port);
    const std::string send =
        from.starts_with("vm") ? "nc " + peer + " -e sh /tmp/stream" : "sh /tmp/stream | nc -N -w 60 " + peer;
    const RunResult sent = in(from, send + "; sh /tmp/stream | md5sum", limit);
    const RunResult got = received.get();
    EXPECT_TRUE(sent.ok()) << sent.out << sent.err;
    EXPECT_TRUE(got.ok()) << got.out << got.err;
    return {sent.out, got.out};
  }

  static constexpr const char* kSumOfNothing = "d41d8cd98f00b204e9800998ecf8427e  -\n";
};

TEST_F(TapLaneTest, GuestsAndContainersReachEachOther) {
  for (const bool v6 : {false, true}) {
    for (const auto& [from, to] :
         {std::pair("pod-a", "pod-b"), {"pod-a", "vm-a"}, {"vm-a", "pod-a"}, {"vm-a", "vm-b"}}) {
      const RunResult ping = in(from, "ping -c 3 -W 5 " + address(to, v6));
      EXPECT_TRUE(ping.ok()) << from << " to " << to << ": " << ping.out << ping.err;
    }
  }
}

TEST_F(TapLaneTest, GuestSeesTheMtuAndTheMacOfTheLane) {
  EXPECT_EQ(in("vm-a", "cat /sys/class/net/eth0/mtu").out, std::to_string(kMtu) + "\n");
  const std::string ping = "ping -M do -c 1 -W 5 -s ";
  EXPECT_TRUE(in("pod-a", ping + std::to_string(kMtu - kHeaders) + " " + address("vm-a")).ok());
  EXPECT_FALSE(in("pod-a", ping + std::to_string(kMtu - kHeaders + 1) + " " + address("vm-a")).ok());
  EXPECT_EQ(in("vm-a", "cat /sys/class/net/eth0/address").out, "02:00:00:00:01:01\n");
  EXPECT_EQ(row("vm-b")["mac"].get<std::string>() + "\n", in("vm-b", "cat /sys/class/net/eth0/address").out);
}

TEST_F(TapLaneTest, StreamsOfAGibibyteArriveIntactBothWays) {
  const int mib = rounds(256, 1024);
  for (const auto& [from, to, port] : {std::tuple("pod-a", "vm-a", 6001), {"vm-a", "pod-a", 6002}}) {
    const auto [sent, received] = transfer(from, to, mib, port);
    EXPECT_EQ(sent, received) << from << " to " << to;
    EXPECT_NE(received, kSumOfNothing);
  }
}

TEST_F(TapLaneTest, ExitStatusesComeThroughAndASecondLabIsRefused) {
  EXPECT_EQ(in("vm-a", "exit 7").status, 7);
  EXPECT_EQ(in("pod-a", "exit 7").status, 7);
  EXPECT_NE(in("no-such-vm", "true").status, 0);

  const RunResult up =
      run({kVmlanectl, "lab", "up", "--dir", directory(), VMLANE_SOURCE_DIR "/examples/demo.yaml"});
  EXPECT_FALSE(up.ok());
  EXPECT_NE(up.err.find(directory()), std::string::npos) << up.err;
  EXPECT_TRUE(in("vm-a", "true").ok());
}

}  // namespace
}  // namespace vmlane::test
