// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "tests/support/lab.h"
#include "tests/support/paths.h"
#include "tests/support/traffic.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

const std::string kExample = source_file("examples/vhost-user.yaml");

class VhostUserVms : public LabFixture {
 protected:
  static void SetUpTestSuite() { guest_image(); }

  void SetUp() override {
    LabFixture::SetUp();
    if (IsSkipped()) return;
    // QEMU makes its sockets there, as another user.
    std::filesystem::permissions(directory(), std::filesystem::perms(0755));
  }
  bool pings(const std::string& from, const std::string& to) const {
    return eventually(
        [&] {
          return exec(from, {"ping", "-c", "3", "-i", "0.2", "-W", "5", to}).ok();
        },
        std::chrono::minutes(1));
  }
  Json ask(const std::string& what) const {
    const auto told =
        test::run({built("vmlanectl"), "switch", what, "--lab", "--dir", lab_dir(), "-o", "json"});
    return Json::parse(told.out, nullptr, false);
  }
  // "400 packets transmitted, 398 packets received, 0% packet loss"
  static int answered(const std::string& told) {
    const auto at = told.find("transmitted, ");
    return at == std::string::npos ? -1 : std::atoi(told.c_str() + at + std::strlen("transmitted, "));
  }
};

// Real guests with Linux' own driver: among themselves, with a container, and with a VM on the tap lane.
TEST_F(VhostUserVms, ReachEachOtherAndTheirNetworkAndDoNotNoticeThatTheSwitchIsReplaced) {
  ASSERT_FALSE(guest_image().initramfs.empty()) << "scripts/guest-image failed";
  const auto started = lab("up", {kExample, "--guest", guest_image().kernel.parent_path(), "-o", "json"});
  ASSERT_TRUE(started.ok()) << started.err;
  const Json all = Json::parse(started.out);
  const auto pids = processes();

  const std::string vm_b = address(all, "default/vm-b", 0);
  EXPECT_TRUE(pings("vm-a", vm_b));
  EXPECT_TRUE(pings("vm-a", address(all, "default/vm-b", 1)));
  EXPECT_TRUE(pings("vm-a", address(all, "default/vm-tap", 0)));
  EXPECT_TRUE(pings("vm-a", address(all, "default/pod-a", 0)));
  EXPECT_TRUE(pings("pod-a", vm_b));
  expect_dhcp_gives("vm-a", address(all, "default/vm-a", 0));

  // As much TCP as takes large segments, between guests and through the kernel's bridge.
  ASSERT_TRUE(exec("vm-a", {"sh", "-c", "head -c 8388608 /dev/urandom >/tmp/block"}).ok());
  const auto sum = exec("vm-a", {"sh", "-c", "md5sum </tmp/block"});
  for (const std::string receiver : {"vm-b", "vm-tap"}) {
    BackgroundProcess listening(
        lab_command("exec",
                    {receiver, "--", "sh", "-c", "nc -l -p 5000 -e sh -c 'md5sum >/tmp/sum'; cat /tmp/sum"}),
        {.stdout_path = directory() / receiver});
    const std::string to = address(all, "default/" + receiver, 0);
    EXPECT_TRUE(exec("vm-a", {"sh", "-c", "sleep 2; nc " + to + " 5000 -e cat /tmp/block"}).ok());
    EXPECT_EQ(listening.wait(std::chrono::minutes(3)), 0);
    EXPECT_EQ(slurp(directory() / receiver), sum.out) << receiver;
  }
  for (const Json& port : ask("ports")) EXPECT_EQ(port.value("state", ""), "running") << port;

  // One switch goes, another takes over: guests see a gap of a few pings, and their link stays up.
  const auto carrier = [&] { return exec("vm-a", {"cat", "/sys/class/net/eth0/carrier_changes"}).out; };
  const std::string before = carrier();
  for (const bool in_order : {false, true}) {
    ASSERT_TRUE(
        eventually([&] { return ask("status").value("standby", "") == "warm"; }, std::chrono::minutes(1)));
    BackgroundProcess pinging(
        lab_command("exec", {"vm-a", "--", "ping", "-q", "-c", "400", "-i", "0.02", "-W", "1", vm_b}),
        {.stdout_path = directory() / "pings"});
    sleep_ms(2000);
    if (in_order) {
      EXPECT_TRUE(ask("restart").is_object());
    } else {
      ::kill(ask("status").value("pid", 0), SIGKILL);
    }
    EXPECT_EQ(pinging.wait(std::chrono::minutes(2)), 0);
    const int received = answered(slurp(directory() / "pings"));
    std::cout << (in_order ? "planned restart: " : "kill -9: ") << received << " of 400 pings, gap "
              << ask("status").value("last_gap_seconds", 0.0) * 1000 << " ms\n";
    EXPECT_GE(received, in_order ? 398 : 390);
  }
  EXPECT_EQ(carrier(), before);
  EXPECT_TRUE(pings("vm-a", address(all, "default/pod-a", 0)));

  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left(pids);
}

}  // namespace
}  // namespace vmlane::test
