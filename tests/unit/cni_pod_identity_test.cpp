// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "cni/mac_claim.h"
#include "cni/pod_identity.h"

namespace vmlane::cni {
namespace {

TEST(PodIdentityTest, VmIsReadFromTheLaunchersName) {
  EXPECT_EQ(vm_of_launcher("virt-launcher-vm1-abcde"), "vm1");
  EXPECT_EQ(vm_of_launcher("virt-launcher-my-vm-2-x9z8w"), "my-vm-2");
  for (const char* other : {"", "web-0", "virt-launcher-", "virt-launcher-abcde", "virt-launcher--abcde",
                            "virt-launcher-vm1-abcd", "virt-launcher-vm1-ABCDE", "virt-launcher-vm1_abcde"}) {
    EXPECT_EQ(vm_of_launcher(other), "") << other;
  }
}

TEST(PodIdentityTest, NameThatMayHaveBeenCutIsNoVm) {
  const std::string vm(43, 'v');
  EXPECT_EQ(vm_of_launcher("virt-launcher-" + vm.substr(1) + "-abcde"), vm.substr(1));
  EXPECT_EQ(vm_of_launcher("virt-launcher-" + vm + "-abcde"), "");  // 63 characters: there may have been more
}

TEST(PodIdentityTest, WorkloadTellsVmPodAndNobodyApart) {
  EXPECT_EQ((PodIdentity{.ns = "blue", .name = "web-0"}.workload()), "blue/pod/web-0");
  EXPECT_EQ((PodIdentity{.ns = "blue", .name = "virt-launcher-a-abcde", .vm = "a"}.workload()), "blue/vm/a");
  EXPECT_EQ(PodIdentity().workload(), "");
}

TEST(PodIdentityTest, RecordKeepsIt) {
  const PodIdentity pod{.ns = "blue", .name = "p", .uid = "u", .vm = "v", .migration = "m"};
  const auto read = PodIdentity::from_json(pod.to_json());
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->to_json(), pod.to_json());
}

TEST(DerivedMacTest, F052_SameNameSameMacAndNoTwoNamesOne) {
  constexpr int kNames = 100'000;
  const auto mac_of = [](const std::string& vm, const AttachmentKey& key) {
    return workload_mac(key, {.ns = "blue", .name = "virt-launcher-" + vm + "-abcde", .vm = vm});
  };
  std::set<MacAddress> seen;
  for (int i = 0; i < kNames; i++) {
    const std::string vm = "vm-" + std::to_string(i);
    const MacAddress mac = mac_of(vm, {"blue", "c" + std::to_string(i), "net1"});
    EXPECT_TRUE(mac.usable());
    EXPECT_TRUE(seen.insert(mac).second) << vm;
  }
  EXPECT_EQ(mac_of("a", {"blue", "c1", "net1"}), mac_of("a", {"blue", "c2", "net1"}));
  EXPECT_NE(mac_of("a", {"blue", "c1", "net1"}), mac_of("a", {"blue", "c1", "net2"}));
  EXPECT_NE(mac_of("a", {"blue", "c1", "net1"}), mac_of("a", {"red", "c1", "net1"}));
}

TEST(DerivedMacTest, WithoutAnIdentityItIsTheAttachments) {
  const AttachmentKey first{"blue", "c1", "net1"};
  EXPECT_EQ(workload_mac(first, {}), attachment_mac(first));
  EXPECT_NE(attachment_mac(first), attachment_mac({"blue", "c2", "net1"}));
}

}  // namespace
}  // namespace vmlane::cni
