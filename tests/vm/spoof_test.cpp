// SPDX-License-Identifier: Apache-2.0
// A guest that turns bad: root in a VM of the lab takes addresses that are not its own. Every row of the
// source guard is tested with frames made by hand (tests/conformance/cni_source_guard_test.cpp); this is what
// a real kernel sends.
#include "tests/support/lab.h"
#include "tests/support/paths.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

std::string objects(const std::string& lane) {
  const std::string place = lane == "tap" ? R"("bridge": "blue0")" : R"("lowerDevice": "up0")";
  std::string text = R"(apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: blue}
spec:
  config: |
    {"cniVersion": "1.1.0", "name": "blue", "type": "vmlane-)" +
                     lane + "\", " + place + R"(,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24"}], [{"subnet": "2001:db8::/64"}]]}}
)";
  for (const std::string name : {"vm-a", "vm-b"}) {
    text +=
        "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: " + name +
        "}\nspec:\n  domain:\n    memory: {guest: 192Mi}\n    devices: {interfaces: [{name: net, binding: "
        "{name: vmlane-" +
        lane + "}}]}\n  networks: [{name: net, multus: {networkName: blue}}]\n";
  }
  return text;
}

class SpoofingGuest : public LabFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  static void SetUpTestSuite() { guest_image(); }
  void SetUp() override {
    LabFixture::SetUp();
    if (IsSkipped()) return;
    ASSERT_FALSE(guest_image().initramfs.empty()) << "scripts/guest-image failed";
    const auto file = directory() / "objects.yaml";
    spit(file, objects(GetParam()));
    const auto started =
        lab("up", {file.string(), "--guest", guest_image().kernel.parent_path(), "-o", "json"});
    ASSERT_TRUE(started.ok()) << started.err;
    all_ = Json::parse(started.out);
  }
  std::string vm_b(std::size_t family) const { return address(all_, "default/vm-b", family); }
  // Root's shell in the guest.
  RunResult guest(const std::string& script) const { return exec("vm-a", {"sh", "-c", script}); }
  bool reaches(const std::string& options) const {
    return guest("for i in 1 2 3 4 5 6 7 8; do ping -c 1 -W 2 " + options + " && exit 0; done; exit 1").ok();
  }
  bool is_cut_off(const std::string& options) const { return !guest("ping -c 3 -W 2 " + options).ok(); }
  // How many frames of vm-a were dropped for a reason.
  std::uint64_t dropped(const std::string& reason) const {
    const auto listed =
        test::run({built("vmlanectl"), "attachment", "ls", "--lab", "--dir", lab_dir(), "-o", "json"});
    for (const Json& record : Json::parse(listed.out)) {
      if (record["pod"].get<std::string>().find("vm-a") == std::string::npos) continue;
      const auto shown = test::run({built("vmlanectl"), "attachment", "show", record["id"].get<std::string>(),
                                    "--lab", "--dir", lab_dir(), "-o", "json"});
      return Json::parse(shown.out).value(Json::json_pointer("/counters/dropped/" + reason),
                                          std::uint64_t{0});
    }
    return 0;
  }

  Json all_;
};

TEST_P(SpoofingGuest, ReachesNobodyUnderAnothersAddress) {
  EXPECT_TRUE(reaches(vm_b(0)));
  EXPECT_TRUE(reaches(vm_b(1)));

  EXPECT_TRUE(guest("ip addr add 192.0.2.222/24 dev eth0 && ip addr add 2001:db8::222/64 dev eth0").ok());
  EXPECT_TRUE(is_cut_off("-I 192.0.2.222 " + vm_b(0)));
  EXPECT_TRUE(is_cut_off("-I 2001:db8::222 " + vm_b(1)));
  // Announced as its own, and as the answer to nobody's question.
  EXPECT_FALSE(guest("arping -c 2 -w 3 -I eth0 -s 192.0.2.222 " + vm_b(0)).ok());
  EXPECT_TRUE(guest("arping -c 2 -w 10 -I eth0 " + vm_b(0)).ok());
  guest("ip addr del 192.0.2.222/24 dev eth0; ip addr del 2001:db8::222/64 dev eth0");

  const std::string mac = "$(cat /sys/class/net/eth0/address)";
  EXPECT_TRUE(guest("echo " + mac + " >/tmp/mac; ip link set eth0 address 02:00:00:00:00:66").ok());
  EXPECT_TRUE(is_cut_off(vm_b(0)));
  EXPECT_TRUE(guest("ip link set eth0 address $(cat /tmp/mac)").ok());
  EXPECT_TRUE(reaches(vm_b(0)));
  for (const char* reason : {"ipv4", "arp", "mac"}) EXPECT_GT(dropped(reason), 0U) << reason;
}

INSTANTIATE_TEST_SUITE_P(Lane, SpoofingGuest, ::testing::Values("tap", "macvtap"),
                         [](const ::testing::TestParamInfo<std::string>& lane) { return lane.param; });

}  // namespace
}  // namespace vmlane::test
