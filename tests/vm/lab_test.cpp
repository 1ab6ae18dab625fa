// SPDX-License-Identifier: Apache-2.0
#include "tests/support/lab.h"

#include "tests/support/long_run.h"
#include "tests/support/paths.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

const std::string kDemo = source_file("examples/demo.yaml");

class LabVms : public LabFixture {
 protected:
  static void SetUpTestSuite() { guest_image(); }

  RunResult up(const std::vector<std::string>& rest = {}) const {
    std::vector<std::string> arguments = {kDemo, "--guest", guest_image().kernel.parent_path(), "-o", "json"};
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    return lab("up", arguments);
  }
};

TEST_F(LabVms, DemoOfTwoVmsAndTwoPods) {
  ASSERT_FALSE(guest_image().initramfs.empty()) << "scripts/guest-image failed";
  const auto started = up();
  ASSERT_TRUE(started.ok()) << started.err;
  const Json all = Json::parse(started.out);
  ASSERT_EQ(all.size(), 4U) << all;
  for (const Json& row : all) {
    EXPECT_EQ(row["mtu"], 1450);
    EXPECT_EQ(row["lane"], row["kind"] == "vm" ? "tap" : "veth");
    EXPECT_EQ(row["state"], row["kind"] == "vm" ? "ready" : "running");
  }
  const auto pids = processes();

  const std::string vm_b = address(all, "default/vm-b", 0);
  EXPECT_TRUE(exec("vm-a", {"ping", "-c", "3", "-i", "0.2", "-W", "5", vm_b}).ok());
  EXPECT_TRUE(exec("vm-a", {"ping", "-c", "3", "-W", "5", address(all, "default/pod-b", 1)}).ok());

  // From guest to guest, without a container's TCP stack at either end. A program stands at the listening
  // socket because busybox' nc ends as soon as its own standard input does.
  const int mib = rounds(64, 1024);
  const std::string blocks = "for i in $(seq " + std::to_string(mib) + "); do cat /tmp/block; done";
  ASSERT_TRUE(exec("vm-a", {"sh", "-c", "head -c 1048576 /dev/urandom >/tmp/block"}).ok());
  BackgroundProcess receiver(lab_command("exec", {"vm-b", "--", "sh", "-c",
                                                  "nc -l -p 5000 -e sh -c 'md5sum >/tmp/sum'; cat /tmp/sum"}),
                             {.stdout_path = directory() / "received"});
  EXPECT_TRUE(exec("vm-a", {"sh", "-c", "sleep 2; nc " + vm_b + " 5000 -e sh -c '" + blocks + "'"}).ok());
  EXPECT_EQ(receiver.wait(std::chrono::minutes(5)), 0);
  const auto sum = exec("vm-a", {"sh", "-c", "(" + blocks + ") | md5sum"});
  EXPECT_TRUE(sum.ok()) << sum.err;
  EXPECT_EQ(slurp(directory() / "received"), sum.out);

  expect_dhcp_gives("vm-a", address(all, "default/vm-a", 0));

  const auto records =
      test::run({built("vmlanectl"), "attachment", "ls", "--lab", "--dir", lab_dir(), "-o", "json"});
  EXPECT_EQ(Json::parse(records.out).size(), 4U) << records.err;

  // cloud-init would be told what this guest was told in another way.
  const auto told = test::run({built("vmlanectl"), "cloud-init", "--lab", "--dir", lab_dir(), "--vm",
                               "default/vm-a", "--print", "network-config"});
  EXPECT_TRUE(told.ok()) << told.err;
  const std::string mac = exec("vm-a", {"cat", "/sys/class/net/eth0/address"}).out;
  EXPECT_NE(told.out.find("\"macaddress\": \"" + mac.substr(0, mac.find('\n')) + "\""), std::string::npos)
      << told.out << mac;
  EXPECT_NE(told.out.find("- \"" + address(all, "default/vm-a", 0) + "/"), std::string::npos) << told.out;

  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left(pids);
}

TEST_F(LabVms, GuestThatDoesNotComeUpIsReportedAndNothingStays) {
  const auto up_without_qemu = up({"--qemu", "false"});
  EXPECT_EQ(up_without_qemu.status, 1);
  EXPECT_NE(up_without_qemu.err.find("VM default/vm-a did not start"), std::string::npos)
      << up_without_qemu.err;
  EXPECT_NE(up_without_qemu.err.find("QEMU has ended"), std::string::npos) << up_without_qemu.err;
  expect_nothing_left({});
  const auto too_short = up({"--timeout", "1"});
  EXPECT_EQ(too_short.status, 1);
  EXPECT_NE(too_short.err.find("the guest was not ready after 1 s"), std::string::npos) << too_short.err;
  expect_nothing_left({});
}

TEST_F(LabVms, MissingGuestImageIsToldBeforeAnythingIsMade) {
  const auto refused = lab("up", {kDemo, "--guest", "/nonexistent"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("/nonexistent/vmlinuz"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("scripts/guest-image"), std::string::npos) << refused.err;
  expect_nothing_left({});
}

TEST_F(LabVms, ConsoleShowsTheGuestAndEndsAtTheEscape) {
  ASSERT_TRUE(up().ok());
  // Ctrl-] (octal 035) comes when the guest has had time to answer; what is typed behind it is not for the
  // guest.
  const std::string typing =
      R"((sleep 1; echo 'echo $((40 + 2))'; sleep 5; printf '\035'; sleep 1; echo unheard) | )";
  std::string command;
  for (const std::string& word : lab_command("console", {"vm-a"})) command += word + " ";
  const auto console = test::run({"sh", "-c", typing + command});
  EXPECT_EQ(console.status, 0) << console.err;
  const auto log = [this] { return slurp(lab_dir() / "log/default_vm-a.console"); };
  EXPECT_TRUE(eventually([&] { return log().find("\n42\r\n") != std::string::npos; })) << log();
  EXPECT_EQ(log().find("unheard"), std::string::npos) << log();
}

}  // namespace
}  // namespace vmlane::test
