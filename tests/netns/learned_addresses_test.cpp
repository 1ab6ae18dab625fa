// SPDX-License-Identifier: Apache-2.0
// A network that gives out its addresses by itself: a real DHCP server and client over a guarded link, and
// what the client is afterwards.

#include <filesystem>
#include <optional>

#include "tests/support/plugin.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

constexpr std::chrono::seconds kLearningTime{30};

// host: br1 with the server's 198.51.100.1 ==== pods: eth0 without any address.
class LearnedAddressesTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_CNI_OK(add(make_pod("a"), guarded(), "a"));
    must({"ip", "addr", "add", "198.51.100.1/24", "dev", "br1"});
    spit(directory() / "leases", "");
    spit(directory() / "udhcpd.conf", "start 198.51.100.50\nend 198.51.100.60\ninterface br1\nlease_file " +
                                          (directory() / "leases").string() + "\npidfile " +
                                          (directory() / "pid").string() +
                                          "\nopt subnet 255.255.255.0\nopt lease 3600\n");
    server_.emplace(
        std::vector<std::string>{"busybox", "udhcpd", "-f", (directory() / "udhcpd.conf").string()});
    spit(directory() / "script",
         "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add \"$ip/24\" dev \"$interface\"\nexit 0\n");
    std::filesystem::permissions(directory() / "script", std::filesystem::perms::owner_all);
  }
  void TearDown() override {
    server_.reset();
    PluginFixture::TearDown();
  }
  Json guarded() const { return config({{"spoofCheck", true}, {"ipam", nullptr}}); }
  // The address that the server gives the pod.
  std::string configure(const Pod& pod) const {
    const RunResult client = pod.run({"busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "10", "-T",
                                      "1", "-s", (directory() / "script").string()},
                                     {.timeout = kLearningTime});
    EXPECT_TRUE(client.ok()) << client.err;
    const auto addresses = addresses_of(pod.path(), "eth0");
    return addresses.empty() ? "" : addresses.front().substr(0, addresses.front().find('/'));
  }
  static bool reaches_from(const Pod& pod, const std::string& source) {
    return pod.run({"ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", source, "198.51.100.1"}).ok();
  }
  Pod& pod(const std::string& name) const { return *pods().at(name); }

  std::optional<BackgroundProcess> server_;
};

TEST_F(LearnedAddressesTest, ClientHasTheAddressOfItsLeaseAndNoOther) {
  const std::string leased = configure(pod("a"));
  ASSERT_FALSE(leased.empty());
  const PingResult ping = reach(pod("a").path(), "198.51.100.1");
  EXPECT_TRUE(ping.all()) << ping.output;
  EXPECT_EQ(udp_exchange(pod("a").path(), "", "198.51.100.1", "from the lease"), "");
  EXPECT_EQ(tcp_transfer(pod("a").path(), "", "198.51.100.1", 1 << 20), "");
  ASSERT_TRUE(pod("a").run({"ip", "addr", "add", "198.51.100.99/24", "dev", "eth0"}).ok());
  EXPECT_FALSE(reaches_from(pod("a"), "198.51.100.99"));
  EXPECT_TRUE(reaches_from(pod("a"), leased));
}

TEST_F(LearnedAddressesTest, OnesLeaseIsNotAnothers) {
  const std::string leased = configure(pod("a"));
  ASSERT_FALSE(leased.empty());
  ASSERT_CNI_OK(add(make_pod("b"), guarded(), "b"));
  // b has no lease yet: any address that is nobody's will do.
  ASSERT_TRUE(pod("b").run({"ip", "addr", "add", "198.51.100.88/24", "dev", "eth0"}).ok());
  const PingResult ping = reach(pod("b").path(), "198.51.100.1");
  EXPECT_TRUE(ping.all()) << ping.output;
  ASSERT_TRUE(pod("b").run({"ip", "addr", "add", leased + "/24", "dev", "eth0"}).ok());
  EXPECT_FALSE(reaches_from(pod("b"), leased));
  EXPECT_CNI_OK(del("/run/netns/a", guarded(), "a"));
  pod("a").remove();
  EXPECT_TRUE(eventually([&] { return reaches_from(pod("b"), leased); }, kLearningTime));
}

}  // namespace
}  // namespace vmlane::test
