// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "lab/qemu_command.h"

namespace vmlane::lab {
namespace {

QemuSpec spec_with(std::vector<QemuNic> nics) {
  return {.name = "default/vm-a",
          .memory_mib = 256,
          .vcpus = 2,
          .kernel_arguments = "quiet",
          .nics = std::move(nics)};
}

MacAddress mac(std::uint8_t last) {
  return {{2, 0, 0, 0, 0, last}};
}

// Values of every occurrence of an option.
std::vector<std::string> values(const std::vector<std::string>& command, const std::string& option) {
  std::vector<std::string> found;
  for (std::size_t i = 0; i + 1 < command.size(); i++) {
    if (command[i] == option) found.push_back(command[i + 1]);
  }
  return found;
}

using Texts = std::vector<std::string>;

TEST(LabQemuCommand, MachineOfTheVm) {
  const auto command = qemu_command(spec_with({}));
  EXPECT_EQ(command[0], "qemu-system-x86_64");
  EXPECT_EQ(values(command, "-m"), Texts{"256M"});
  EXPECT_EQ(values(command, "-smp"), Texts{"2"});
  EXPECT_EQ(values(command, "-append"), Texts{"quiet"});
  EXPECT_EQ(values(command, "-accel"), Texts{"tcg,thread=multi"});
  EXPECT_TRUE(values(command, "-netdev").empty());
  for (const char* option : {"-nodefaults", "-no-user-config"})
    EXPECT_NE(std::ranges::find(command, option), command.end()) << option;
  EXPECT_NE(values(command, "-sandbox").at(0).find("spawn=deny"), std::string::npos);
}

TEST(LabQemuCommand, SeedIsADriveThatNobodyWrites) {
  auto spec = spec_with({{.mac = mac(1)}});
  EXPECT_TRUE(values(qemu_command(spec), "-blockdev").empty());
  spec.seed = true;
  const auto command = qemu_command(spec);
  ASSERT_EQ(values(command, "-blockdev").size(), 1U);
  EXPECT_NE(values(command, "-blockdev")[0].find("read-only=on"), std::string::npos);
  EXPECT_NE(values(command, "-blockdev")[0].find("/dev/fdset/2"), std::string::npos);
  EXPECT_NE(std::ranges::find(command, "fd=13,set=2"), command.end());
}

TEST(LabQemuCommand, KvmOnlyWhenAsked) {
  auto spec = spec_with({});
  spec.kvm = true;
  const auto command = qemu_command(spec);
  EXPECT_EQ(values(command, "-accel"), Texts{"kvm"});
  EXPECT_EQ(values(command, "-cpu"), Texts{"host"});
}

TEST(LabQemuCommand, NicHasMacAndTellsItsMtu) {
  const auto command = qemu_command(spec_with({{mac(1), 1450, 1}, {mac(2), std::nullopt, 1}}));
  EXPECT_EQ(values(command, "-netdev"),
            (Texts{"tap,id=net0,fd=14,vhost=off", "tap,id=net1,fd=15,vhost=off"}));
  EXPECT_EQ(values(command, "-device"),
            (Texts{"virtio-net-pci,netdev=net0,mac=02:00:00:00:00:01,romfile=,host_mtu=1450",
                   "virtio-net-pci,netdev=net1,mac=02:00:00:00:00:02,romfile="}));
}

TEST(LabQemuCommand, MultiQueueNicTakesADescriptorForEachQueue) {
  const auto command = qemu_command(spec_with({{mac(1), std::nullopt, 3}, {mac(2), std::nullopt, 1}}));
  EXPECT_EQ(values(command, "-netdev"),
            (Texts{"tap,id=net0,fds=14:15:16,vhost=off", "tap,id=net1,fd=17,vhost=off"}));
  EXPECT_EQ(values(command, "-device").at(0),
            "virtio-net-pci,netdev=net0,mac=02:00:00:00:00:01,romfile=,mq=on,vectors=8");
}

TEST(LabQemuCommand, SerialPortsAreConsoleThenCommands) {
  const auto command = qemu_command(spec_with({}));
  EXPECT_EQ(values(command, "-serial"), (Texts{"chardev:console", "chardev:command"}));
}

TEST(LabQemuCommand, NicsWithoutATap) {
  UserNetwork user{*IpPrefix::parse("198.51.100.15/24"), {7000}, {7001, 7002}};
  const auto command =
      qemu_command(spec_with({{.mac = mac(1), .backend = user},
                              {.mac = mac(2)},
                              {.mac = mac(3), .backend = FrameSocket{"/run/x/passt.sock"}}}));
  EXPECT_EQ(values(command, "-netdev"),
            (Texts{"user,id=net0,ipv6=off,net=198.51.100.0/24,hostfwd=udp::7000-198.51.100.15:7000,"
                   "hostfwd=tcp::7001-198.51.100.15:7001,hostfwd=tcp::7002-198.51.100.15:7002",
                   "tap,id=net1,fd=14,vhost=off",
                   "stream,id=net2,server=off,addr.type=unix,addr.path=/run/x/passt.sock"}));
}

}  // namespace
}  // namespace vmlane::lab
