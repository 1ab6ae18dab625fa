// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "lab/plan.h"

namespace vmlane::lab {
namespace {

const std::string kNad = R"(
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: blue}
spec:
  config: '{"cniVersion": "1.1.0", "name": "blue", "type": "vmlane-tap", "ipam": {"type": "host-local", "subnet": "192.0.2.0/24"}}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: veth}
spec:
  config: '{"cniVersion": "1.1.0", "name": "veth", "type": "vmlane-veth"}'
---
)";

std::string pod(const std::string& spec) {
  return kNad + "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: " + spec + "\n";
}

struct Vm {
  std::string interface = "{name: net, binding: {name: vmlane-tap}}";
  std::string network = "{name: net, multus: {networkName: blue}}";
  std::string memory = "256Mi";
  std::string volumes = "[]";

  std::string text() const {
    return kNad +
           "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm-a}\nspec:\n  "
           "domain: {memory: {guest: " +
           memory + "}, devices: {interfaces: [" + interface + "]}}\n  networks: [" + network +
           "]\n  volumes: " + volumes + "\n";
  }
};

Result<LabPlan> plan_of(const std::string& text, const PlanOptions& options = {}) {
  multus::ObjectStore objects;
  VMLANE_TRY(objects.add_text(text, "a.yaml"));
  return plan_lab(objects, options);
}

// The error of a text that cannot be planned.
std::string refusal(const std::string& text, const PlanOptions& options = {}) {
  const auto plan = plan_of(text, options);
  EXPECT_FALSE(plan) << text;
  return plan ? "" : plan.error().text();
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(LabPlan, LowerDevicesOfMacvtapNetworksAreTheLabsToMake) {
  const auto plan = plan_of(Vm{.interface = "{name: net, binding: {name: vmlane-macvtap}}",
                               .network = "{name: net, multus: {networkName: wire}}"}
                                .text() +
                            R"(---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: wire}
spec:
  config: '{"cniVersion": "1.1.0", "name": "wire", "type": "vmlane-macvtap", "lowerDevice": "up0"}'
)");
  ASSERT_TRUE(plan) << plan.error().text();
  EXPECT_EQ(plan->lower_devices, std::set<std::string>{"up0"});
}

TEST(LabPlan, PodsThenVmsWithTheirLauncherPods) {
  const auto plan =
      plan_of(Vm{}.text() +
              "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c}]}\n");
  ASSERT_TRUE(plan) << plan.error().text();
  ASSERT_EQ(plan->workloads.size(), 2U);
  EXPECT_EQ(plan->workloads[0].name(), "web");
  EXPECT_EQ(plan->workloads[1].kind, WorkloadKind::kVm);
  EXPECT_EQ(plan->workloads[1].name(), "vm-a");
  EXPECT_TRUE(plan->workloads[1].pod.name.starts_with("virt-launcher-vm-a-"));
}

TEST(LabPlan, RefusesWhatNothingWouldStart) {
  EXPECT_HAS(refusal(kNad), "no Pod, VirtualMachineInstance or VirtualMachine");
}

TEST(LabPlan, RefusesPodsItCannotRun) {
  EXPECT_HAS(refusal(pod("{hostNetwork: true, containers: [{name: c}]}")),
             "Pod default/web: key \"hostNetwork\"");
  EXPECT_HAS(refusal(pod("{containers: [{name: c, args: [-v]}]}")),
             "container \"c\" has \"args\" but no \"command\"");
}

TEST(LabPlan, RefusesVmsOnOtherLanes) {
  EXPECT_HAS(refusal(Vm{.network = "{name: net, multus: {networkName: veth}}"}.text()),
             "VirtualMachineInstance default/vm-a, interface \"net\" is attached by \"vmlane-veth\"");
  EXPECT_HAS(refusal(Vm{.interface = "{name: net, bridge: {}}"}.text()),
             "core binding \"bridge\" does not go with vmlane-tap");
  EXPECT_HAS(refusal(Vm{.network = "{name: net, multus: {networkName: green}}"}.text()),
             "default/green is in none of the files");
  EXPECT_HAS(refusal(Vm{.interface = "{name: net, binding: {name: vmlane-tap}, model: e1000e}"}.text()),
             "\"model\" is \"e1000e\"");
}

TEST(LabPlan, PodNetworkNeedsADefaultNetwork) {
  const std::string text = Vm{.network = "{name: net, pod: {}}"}.text();
  EXPECT_HAS(refusal(text), "--default-network");
  const auto plan = plan_of(text, {.default_network = "blue"});
  EXPECT_TRUE(plan) << plan.error().text();
}

TEST(LabPlan, SmallGuestsAreRefusedWithTheLimit) {
  EXPECT_HAS(refusal(Vm{.memory = "64Mi"}.text()), "64 MiB of memory, the lab's guest needs 128");
}

TEST(LabPlan, CloudInitIsRefusedOrWarnedOfButNotDroppedSilently) {
  const std::string text = Vm{.volumes = "[{name: c, cloudInitNoCloud: {userData: '#cloud-config'}}]"}.text();
  EXPECT_HAS(refusal(text), "cloud-init userData");
  const auto plan = plan_of(text, {.cloud_init = CloudInit::kIgnored});
  ASSERT_TRUE(plan) << plan.error().text();
  ASSERT_EQ(plan->warnings.size(), 1U);
  EXPECT_HAS(plan->warnings[0], "default/vm-a");
}

TEST(LabPlan, CloudInitGoesToADriveWhenAskedUnlessItIsNotWhole) {
  const PlanOptions options{.cloud_init = CloudInit::kDrive};
  const auto plan =
      plan_of(Vm{.volumes = "[{name: c, cloudInitNoCloud: {userData: '#cloud-config'}}]"}.text(), options);
  ASSERT_TRUE(plan) << plan.error().text();
  EXPECT_TRUE(plan->warnings.empty());
  EXPECT_EQ(plan->workloads.at(0).vm->user_data, "#cloud-config");
  EXPECT_HAS(
      refusal(Vm{.volumes = "[{name: c, cloudInitNoCloud: {userData: 'packages: [vim]'}}]"}.text(), options),
      "default/vm-a: userData does not begin as user-data does");
  EXPECT_HAS(refusal(Vm{.volumes = "[{name: c, cloudInitNoCloud: {secretRef: {name: s}}}]"}.text(), options),
             "secretRef\" refers to a Secret");
}

TEST(LabPlan, PodAndVmOfOneNameAreRefused) {
  EXPECT_HAS(
      refusal(Vm{}.text() +
              "---\napiVersion: v1\nkind: Pod\nmetadata: {name: vm-a}\nspec: {containers: [{name: c}]}\n"),
      "both called default/vm-a");
}

TEST(LabPlan, NamesThatMakeNoFileNameAreRefused) {
  const std::string name(201, 'a');
  const auto plan = plan_of(kNad + "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name +
                            "}\nspec: {containers: [{name: c}]}\n");
  ASSERT_FALSE(plan);
  EXPECT_HAS(plan.error().text(), "the lab's limit is 200");
}

TEST(LabPlan, ObjectsForMultusKeepAddressesInTheLab) {
  multus::ObjectStore objects;
  ASSERT_TRUE(objects.add_text(Vm{}.text(), "a.yaml"));
  const auto plan = plan_lab(objects, {});
  ASSERT_TRUE(plan) << plan.error().text();
  multus::ObjectStore again;
  const auto added = again.add_text(objects_text(objects, *plan, "/lab/ipam"), "objects.json");
  ASSERT_TRUE(added) << added.error().text();
  ASSERT_EQ(again.networks().size(), 2U);
  EXPECT_EQ(Json::parse(again.find_network("default", "blue")->config)["ipam"]["dataDir"], "/lab/ipam");
  EXPECT_EQ(again.find_network("default", "veth")->config, objects.find_network("default", "veth")->config);
  ASSERT_EQ(again.pods().size(), 1U);
  EXPECT_EQ(again.pods()[0].annotations, plan->workloads[0].pod.annotations);
  EXPECT_EQ(again.pods()[0].uid, plan->workloads[0].pod.uid);
}

TEST(LabPlan, AGivenDataDirStays) {
  multus::ObjectStore objects;
  ASSERT_TRUE(
      objects.add_text("apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: "
                       "a}\nspec: {config: '{\"name\": \"a\", "
                       "\"plugins\": [{\"type\": \"vmlane-veth\", \"ipam\": {\"type\": \"host-local\", "
                       "\"dataDir\": \"/mine\"}}]}'}\n",
                       "a.yaml"));
  EXPECT_EQ(objects_text(objects, {}, "/lab/ipam").find("/lab/ipam"), std::string::npos);
}

}  // namespace
}  // namespace vmlane::lab
