// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include "tests/support/lab.h"
#include "tests/support/traffic.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

const std::string kExample = VMLANE_SOURCE_DIR "/examples/vhost-user.yaml";

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
  Json ports() const {
    const auto told = test::run(
        {VMLANE_BIN_DIR "/vmlanectl", "switch", "ports", "--lab", "--dir", lab_dir(), "-o", "json"});
    const Json json = Json::parse(told.out, nullptr, false);
    return json.is_array() ? json : Json::array();
  }
};

// Real guests with Linux' own driver: among themselves, with a container, and with a VM on the tap lane.
TEST_F(VhostUserVms, ReachEachOtherAndTheirNetworkAlsoWhenTheSwitchWasKilled) {
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
  for (const Json& port : ports()) EXPECT_EQ(port.value("state", ""), "running") << port;

  // The switch goes, and another comes: guests keep running, and the network comes back by itself.
  const Json state = Json::parse(slurp(lab_dir() / "lab.json"));
  const pid_t switch_pid = state["nodeProcesses"][0].value("pid", 0);
  ASSERT_GT(switch_pid, 0);
  ::kill(switch_pid, SIGKILL);
  EXPECT_FALSE(exec("vm-a", {"ping", "-c", "1", "-W", "1", vm_b}).ok());
  {
    RunOptions options{.netns = lab_dir() / "netns/host", .stdout_path = directory() / "switch.out"};
    options.env = {{"VMLANE_CONFIG", (lab_dir() / "node.json").string()}, {"PATH", "/usr/sbin:/usr/bin"}};
    const BackgroundProcess another({VMLANE_BIN_DIR "/vmlane-switch", "--pages", "normal"}, options);
    EXPECT_TRUE(pings("vm-a", vm_b));
    EXPECT_TRUE(pings("vm-a", address(all, "default/pod-a", 0)));
  }

  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left(pids);
}

}  // namespace
}  // namespace vmlane::test
