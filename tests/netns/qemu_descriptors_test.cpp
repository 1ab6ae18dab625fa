// SPDX-License-Identifier: Apache-2.0
// The files that QEMU gets by number.
#include <fcntl.h>
#include <sys/wait.h>

#include <filesystem>

#include "lab/qemu.h"
#include "tests/support/host.h"

namespace vmlane::test {
namespace {

class QemuDescriptorsTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped()) return;
    Pod& pod = make_pod("a");
    for (const char* name : {"kernel", "initramfs", "seed"}) spit(directory() / name, name);
    // In QEMU's place: says what it has under the numbers QEMU is told.
    spit(directory() / "qemu",
         "#!/bin/sh\nfor n in 10 11 12 13 14 15 16; do readlink /proc/$$/fd/$n; done\n");
    must({"chmod", "0755", directory() / "qemu"});
    must({"chmod", "0755", directory()});
    ASSERT_TRUE(pod.run({"ip", "tuntap", "add", "tap0", "mode", "tap", "vnet_hdr"}).ok());
    ASSERT_TRUE(pod.run({"ip", "tuntap", "add", "tap1", "mode", "tap", "vnet_hdr", "multi_queue"}).ok());
    place_ = {.network_namespace = pod.path(),
              .directory = directory() / "vm",
              .console_log = directory() / "console.log",
              .output = directory() / "output",
              .uid = 0,
              .gid = 0,
              .kvm_group = std::nullopt,
              .guest = {directory() / "kernel", directory() / "initramfs"},
              .seed = directory() / "seed"};
  }

  // What the program in QEMU's place says.
  std::string descriptors_of_qemu() const {
    std::filesystem::remove(place_.output);
    const lab::QemuSpec spec{.program = directory() / "qemu", .name = "a", .memory_mib = 64, .seed = true};
    const auto started = lab::start_qemu(spec, {{"tap0", false, 1}, {"tap1", true, 2}}, place_,
                                         [](const lab::ProcessRef&) { return Result<>(); });
    if (!started) return started.error().text();
    EXPECT_TRUE(eventually([&] { return !lab::is_alive(*started); }));
    ::waitpid(started->pid, nullptr, 0);
    return slurp(place_.output);
  }

  lab::QemuPlace place_;
};

TEST_F(QemuDescriptorsTest, AreAllThereWhateverTheCallerHasOpen) {
  const std::string expected =
      (directory() / "kernel").string() + "\n" + (directory() / "initramfs").string() + "\n" +
      (directory() / "console.log").string() + "\n" + (directory() / "seed").string() +
      "\n/dev/net/tun\n/dev/net/tun\n/dev/net/tun\n";
  // Each descriptor opened on the way gets in turn each number that QEMU's files go to.
  constexpr int kLast = lab::QemuDescriptors::kFirstTap + 4;
  std::vector<Fd> taken;
  while (taken.empty() || taken.back().get() < kLast) {
    EXPECT_EQ(descriptors_of_qemu(), expected) << "with " << taken.size() << " more descriptors open";
    taken.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
}

}  // namespace
}  // namespace vmlane::test
