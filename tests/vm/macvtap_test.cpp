// SPDX-License-Identifier: Apache-2.0
// Two VMs on one lower device by vmlane-macvtap, as `vmlanectl lab` runs them: QEMU opens the device node as
// the unprivileged user that owns it.
#include "tests/support/lab.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

constexpr const char* kNetwork = R"(apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: wire}
spec:
  config: |
    {"cniVersion": "1.1.0", "name": "wire", "type": "vmlane-macvtap", "lowerDevice": "up0", "queues": 2, "mtu": 1450,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24"}], [{"subnet": "2001:db8::/64"}]]}}
)";

std::string vm(const std::string& name, int vcpus) {
  return "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: " + name +
         "}\nspec:\n  domain:\n    cpu: {cores: " + std::to_string(vcpus) +
         "}\n    memory: {guest: 192Mi}\n    devices: {interfaces: [{name: net, binding: {name: "
         "vmlane-macvtap}}]}\n  networks: [{name: net, multus: {networkName: wire}}]\n";
}

class MacvtapVms : public LabFixture {
 protected:
  static void SetUpTestSuite() { guest_image(); }
};

TEST_F(MacvtapVms, TwoGuestsOnOneLowerDeviceReachEachOther) {
  ASSERT_FALSE(guest_image().initramfs.empty()) << "scripts/guest-image failed";
  const auto file = directory() / "macvtap.yaml";
  spit(file, kNetwork + vm("vm-a", 1) + vm("vm-b", 2));
  const auto started =
      lab("up", {file.string(), "--guest", guest_image().kernel.parent_path(), "-o", "json"});
  ASSERT_TRUE(started.ok()) << started.err;
  const Json all = Json::parse(started.out);
  ASSERT_EQ(all.size(), 2U) << all;
  for (const Json& row : all) {
    EXPECT_EQ(row["lane"], "macvtap");
    EXPECT_EQ(row["state"], "ready");
    EXPECT_EQ(row["mtu"], 1450);
  }
  const auto pids = processes();
  // IPv6 needs its neighbour solicitations, which are multicast.
  for (const std::size_t family : {0U, 1U}) {
    const auto pinged = exec("vm-a", {"ping", "-c", "3", "-W", "5", address(all, "default/vm-b", family)});
    EXPECT_TRUE(pinged.ok()) << pinged.out << pinged.err;
  }
  EXPECT_TRUE(
      exec("vm-b", {"ping", "-c", "1", "-s", "1422", "-W", "5", address(all, "default/vm-a", 0)}).ok());
  expect_dhcp_gives("vm-a", address(all, "default/vm-a", 0));
  EXPECT_EQ(exec("vm-b", {"sh", "-c", "ls -d /sys/class/net/eth0/queues/rx-* | wc -l"}).out, "2\n");
  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left(pids);
}

}  // namespace
}  // namespace vmlane::test
