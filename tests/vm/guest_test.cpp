// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/guest.h"

#include "core/hash.h"
#include "lab/guest_network.h"
#include "netlink/netlink.h"
#include "tests/support/host.h"

namespace vmlane::test {
namespace {

using namespace std::chrono_literals;

// One guest on two taps made by hand: the first with addresses and a route, the second without an address.
class GuestTest : public HostFixture {
 protected:
  static void SetUpTestSuite() { guest_image(); }

  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped()) return;
    ASSERT_FALSE(guest_image().initramfs.empty()) << "scripts/guest-image failed";
    pod_ = &make_pod("launcher");
    make_tap("tap0", false);
    make_tap("tap1", true);
  }

  void TearDown() override {
    if (qemu_.pid != 0) {
      EXPECT_TRUE(lab::stop_processes({qemu_}, 3s));
    }
    HostFixture::TearDown();
  }

  void make_tap(const std::string& name, bool multi_queue) {
    const auto inside = netlink::Namespace::open(pod_->path());
    ASSERT_TRUE(inside);
    const auto made = netlink::create_tap(*inside, {.name = name, .multi_queue = multi_queue});
    ASSERT_TRUE(made) << made.error().text();
    ASSERT_TRUE(pod_->run({"sysctl", "-qw", "net.ipv6.conf." + name + ".disable_ipv6=1"}).ok());
    ASSERT_TRUE(pod_->run({"ip", "link", "set", name, "mtu", "1450", "up"}).ok());
  }

  void start(uid_t uid = 107) {
    const lab::GuestNic first{
        .mac = {{2, 0, 0, 0, 0, 1}},
        .mtu = 1450,
        .addresses = {*IpPrefix::parse("192.0.2.10/24"), *IpPrefix::parse("2001:db8::10/64")},
        .routes = {{*IpPrefix::parse("198.51.100.0/24"), *IpAddress::parse("192.0.2.1")}}};
    const lab::GuestNic second{.mac = {{2, 0, 0, 0, 0, 2}}};
    lab::QemuSpec spec{.name = "guest",
                       .memory_mib = 192,
                       .vcpus = 1,
                       .nics = {{first.mac, 1450, 1}, {second.mac, std::nullopt, 2}}};
    spec.kernel_arguments = *lab::kernel_command_line("guest", {first, second});
    const lab::QemuPlace place{.network_namespace = pod_->path(),
                               .directory = directory() / "vm",
                               .console_log = directory() / "console",
                               .output = directory() / "output",
                               .uid = uid,
                               .gid = 107,
                               .guest = guest_image()};
    started_ = lab::start_qemu(spec, {{"tap0", false, 1}, {"tap1", true, 2}}, place,
                               [this](const lab::ProcessRef& process) -> Result<> {
                                 qemu_ = process;
                                 return {};
                               });
  }

  Result<lab::GuestChannel> connect() const { return lab::GuestChannel::connect(directory() / "vm", qemu_); }

  void start_and_wait() {
    start();
    ASSERT_TRUE(started_) << started_.error().text();
    auto channel = connect();
    ASSERT_TRUE(channel) << channel.error().text() << slurp(directory() / "output");
    const auto ready = channel->wait_ready(5min, [] { return false; });
    ASSERT_TRUE(ready) << ready.error().text() << slurp(directory() / "output")
                       << slurp(directory() / "console");
  }

  std::uint64_t frames_sent_on(const std::string& tap) const {
    return ip_json(pod_->path(), {"-s", "link", "show", tap}).at(0).at("stats64").at("rx").at("packets");
  }

  Pod* pod_ = nullptr;
  lab::ProcessRef qemu_;
  Result<lab::ProcessRef> started_;
};

TEST_F(GuestTest, ConfiguresItselfFromTheKernelCommandLine) {
  start_and_wait();
  auto channel = connect();
  ASSERT_TRUE(channel);
  const auto result = guest_run(*channel, "ip addr; ip route; cat /sys/class/net/eth0/mtu; hostname");
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* part :
       {"inet 192.0.2.10/24", "inet6 2001:db8::10/64", "198.51.100.0/24 via 192.0.2.1 dev eth0",
        "\n1450\nguest\n", "link/ether 02:00:00:00:00:01", "link/ether 02:00:00:00:00:02"})
    EXPECT_NE(result.out.find(part), std::string::npos) << part << " is missing in\n" << result.out;
  EXPECT_EQ(frames_sent_on("tap1"), 0U) << "a NIC without an address has nothing to say";
}

TEST_F(GuestTest, SendsThroughBothItsNics) {
  start_and_wait();
  auto channel = connect();
  ASSERT_TRUE(channel);
  for (const std::string tap : {"tap0", "tap1"}) {
    const std::uint64_t before = frames_sent_on(tap);
    // Nobody answers; the ARP requests must leave all the same.
    guest_run(*channel, tap == "tap0" ? "ping -c 1 -W 1 192.0.2.99"
                                      : "ip addr add 203.0.113.1/24 dev eth1; ping -c 1 -W 1 203.0.113.2");
    EXPECT_GT(frames_sent_on(tap), before) << tap;
  }
}

TEST_F(GuestTest, QemuHasNoPrivileges) {
  start_and_wait();
  const std::string status = slurp("/proc/" + std::to_string(qemu_.pid) + "/status");
  for (const char* line : {"Uid:\t107\t107\t107\t107\n", "Groups:\t107 \n", "CapEff:\t0000000000000000\n",
                           "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n"})
    EXPECT_NE(status.find(line), std::string::npos) << line << " is missing in\n" << status;
}

TEST_F(GuestTest, TapOfAnotherOwnerIsRefused) {
  start(108);
  ASSERT_FALSE(started_);
  EXPECT_NE(started_.error().text().find("cannot open tap tap0 as uid 108"), std::string::npos)
      << started_.error().text();
  qemu_ = {};
}

TEST_F(GuestTest, CommandsKeepStatusStreamsAndBytes) {
  start_and_wait();
  auto channel = connect();
  ASSERT_TRUE(channel);
  const auto split = guest_run(*channel, "echo out; echo err >&2; exit 7");
  EXPECT_EQ(split.status, 7);
  EXPECT_EQ(split.out, "out\n");
  EXPECT_EQ(split.err, "err\n");
  const auto binary =
      guest_run(*channel, "head -c 1000000 /dev/urandom >/tmp/data; sha256sum </tmp/data >&2; cat /tmp/data");
  ASSERT_EQ(binary.out.size(), 1000000U);
  EXPECT_EQ(binary.err.substr(0, 64), sha256_hex(binary.out));
  EXPECT_EQ(guest_run(*channel, "kill -9 $$").status, 128 + 9);
  EXPECT_EQ(guest_run(*channel, "cat").out, "") << "standard input is empty";
  // Commands that follow each other at once: none may be lost.
  for (int i = 0; i < 50; i++)
    EXPECT_EQ(guest_run(*channel, "echo " + std::to_string(i)).out, std::to_string(i) + "\n");
}

TEST_F(GuestTest, LimitEndsACommandWithAllItStarted) {
  start_and_wait();
  auto channel = connect();
  ASSERT_TRUE(channel);
  const auto limited = guest_run(*channel, "echo begun; sleep 1234 | sleep 1234", 1);
  EXPECT_EQ(limited.status, lab::kLimitStatus);
  EXPECT_EQ(limited.out, "begun\n");
  EXPECT_EQ(guest_run(*channel, "pidof sleep", 0).out, "");
  const auto too_long = guest_run(*channel, std::string(40000, 'x'));
  EXPECT_NE(too_long.err.find("the limit is 32768"), std::string::npos) << too_long.err;
}

TEST_F(GuestTest, NextClientGoesOnWhereverTheLastOneLeft) {
  start_and_wait();
  {  // leaves in the middle of an endless command
    auto channel = connect();
    ASSERT_TRUE(channel);
    int calls = 0;
    const auto status = channel->run(
        "yes", 0, [](std::string_view) {}, [](std::string_view) {}, [&] { return ++calls > 10; });
    ASSERT_FALSE(status);
  }
  {  // dies without a word: half a request, and a command still running
    const auto socket = lab::connect_in(directory() / "vm", lab::kCommandSocket);
    ASSERT_TRUE(socket);
    const std::string requests =
        "\nrun 00000000000000000000000000000001 0 16 d2hpbGUgOjsgZG8=\nrun 00000000000000000000000000000002 "
        "0 40 cm0gLXJm";
    ASSERT_EQ(::write(socket->get(), requests.data(), requests.size()),
              static_cast<ssize_t>(requests.size()));
  }
  auto channel = connect();
  ASSERT_TRUE(channel);
  EXPECT_EQ(guest_run(*channel, "echo fine; (while true; do echo noise; sleep 0.05; done) & exit 3").status,
            3);
  // The noise of what the last command left behind reaches nobody.
  const auto after = guest_run(*channel, "sleep 0.5; echo alone");
  EXPECT_EQ(after.out, "alone\n");
  EXPECT_EQ(guest_run(*channel, "pidof yes").out, "");
}

TEST_F(GuestTest, EndOfQemuIsNoticed) {
  start_and_wait();
  auto channel = connect();
  ASSERT_TRUE(channel);
  const auto result = guest_run(*channel, "poweroff -f; sleep 60");
  EXPECT_EQ(result.status, -1);
  EXPECT_NE(result.err.find("QEMU has ended"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace vmlane::test
