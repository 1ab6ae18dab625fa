// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/names.h"
#include "multus-adapter/kubevirt.h"
#include "multus-adapter/network_selection.h"
#include "multus-adapter/objects.h"

namespace vmlane::multus {
namespace {

// A VirtualMachineInstance with this text for spec.domain.devices and for spec.networks.
std::string vmi(const std::string& devices, const std::string& networks,
                const std::string& domain = "memory: {guest: 256Mi}") {
  return "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm1, namespace: blue, "
         "labels: {app: db}}\nspec:\n  domain:\n    " +
         domain + "\n    devices: " + devices + "\n  networks: " + networks + "\n";
}

VirtualMachineInstance vm_of(const std::string& text) {
  ObjectStore store;
  const auto added = store.add_text(text, "vm.yaml");
  EXPECT_TRUE(added) << added.error().text();
  return store.vms().empty() ? VirtualMachineInstance{} : store.vms()[0];
}

std::string vm_error(const std::string& text) {
  ObjectStore store;
  const auto added = store.add_text(text, "vm.yaml");
  EXPECT_FALSE(added) << text;
  return added ? "" : added.error().text();
}

const std::string kDevices =
    "{networkInterfaceMultiqueue: true, interfaces: [{name: default, masquerade: {}}, "
    "{name: blue, binding: {name: vmlane-tap}, macAddress: '02-00-00-00-00-0A', model: virtio}, {name: red, "
    "bridge: {}}]}";
const std::string kNetworks =
    "[{name: default, pod: {}}, {name: red, multus: {networkName: other/red-net}}, {name: blue, multus: "
    "{networkName: blue-net}}]";

TEST(MultusVm, ReadsNetworksCpuAndMemory) {
  const auto vm = vm_of(vmi(kDevices, kNetworks, "memory: {guest: 256Mi}\n    cpu: {cores: 2, sockets: 2}"));
  EXPECT_EQ(vm.memory_bytes, 256U << 20);
  EXPECT_EQ(vm.vcpus, 4U);
  EXPECT_TRUE(vm.multiqueue);
  ASSERT_EQ(vm.interfaces.size(), 3U);
  EXPECT_EQ(vm.interfaces[1].binding, "vmlane-tap");
  EXPECT_TRUE(vm.interfaces[1].binding_plugin);
  EXPECT_EQ(vm.interfaces[1].mac->to_string(), "02:00:00:00:00:0a");
  EXPECT_EQ(vm.interface_of(vm.networks[1]).name, "red");
}

TEST(MultusVm, VirtualMachineTemplateIsARunningInstance) {
  const std::string text =
      "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: vm1, namespace: blue}\nspec:\n  "
      "template:\n    metadata: {labels: {app: db}}\n"
      "    spec:\n      domain: {resources: {requests: {memory: 1G}}}\n      volumes:\n      - name: c\n     "
      "   cloudInitNoCloud: {userDataBase64: aGVsbG8K, networkData: 'version: 2'}\n";
  const auto vm = vm_of(text);
  EXPECT_TRUE(vm.from_vm);
  EXPECT_EQ(vm.labels.at("app"), "db");
  EXPECT_EQ(vm.memory_bytes, 1'000'000'000U);
  EXPECT_EQ(vm.user_data, "hello\n");
  EXPECT_EQ(vm.network_data, "version: 2");
  // Nothing said of networks: the pod network by masquerade.
  ASSERT_EQ(vm.networks.size(), 1U);
  EXPECT_TRUE(vm.networks[0].pod);
  EXPECT_EQ(vm.interfaces[0].binding, "masquerade");

  // The instance of the same name wins, whichever comes first.
  for (const std::string& both : {text + "---\n" + vmi("{}", "[]"), vmi("{}", "[]") + "---\n" + text}) {
    ObjectStore store;
    ASSERT_TRUE(store.add_text(both, "x"));
    ASSERT_EQ(store.vms().size(), 1U);
    EXPECT_FALSE(store.vms()[0].from_vm);
  }
}

TEST(MultusVm, ChecksAsKubeVirtDoes) {
  struct Case {
    std::string text;
    std::string expected;
  };
  const std::string one = "{interfaces: [{name: a, bridge: {}}]}";
  const std::vector<Case> cases = {
      {vmi(one, "[]"), "interface \"a\" has no network"},
      {vmi("{}", "[{name: a, pod: {}}]"), "network \"a\" has no interface"},
      {vmi("{interfaces: [{name: a, bridge: {}}, {name: a, bridge: {}}]}", "[{name: a, pod: {}}]"),
       "interface name \"a\" is given twice"},
      {vmi(one, "[{name: a, pod: {}}, {name: a, pod: {}}]"), "network name \"a\" is given twice"},
      {vmi("{interfaces: [{name: a}]}", "[{name: a, pod: {}}]"), "has 0 bindings"},
      {vmi("{interfaces: [{name: a, bridge: {}, sriov: {}}]}", "[{name: a, pod: {}}]"), "has 2 bindings"},
      {vmi("{interfaces: [{name: a, slirp: {}}]}", "[{name: a, pod: {}}]"), "removed from KubeVirt"},
      {vmi("{interfaces: [{name: a, masquerade: {}}]}", "[{name: a, multus: {networkName: x}}]"),
       "masquerade on a Multus network"},
      {vmi("{interfaces: [{name: a, sriov: {}}]}", "[{name: a, pod: {}}]"), "sriov on the pod network"},
      {vmi("{interfaces: [{name: a, bridge: {}, macAddress: '02:00'}]}", "[{name: a, pod: {}}]"),
       "spec.domain.devices.interfaces[0].macAddress"},
      {vmi("{interfaces: [{name: a, bridge: {}, macAddress: '01:00:00:00:00:01'}]}", "[{name: a, pod: {}}]"),
       "macAddress"},
      {vmi(one, "[{name: a}]"), "needs one of \"pod\" and \"multus\""},
      {vmi(one, "[{name: a, multus: {}}]"), "networkName"},
      {vmi("{interfaces: [{name: a, bridge: {}}, {name: b, bridge: {}}]}",
           "[{name: a, pod: {}}, {name: b, multus: {networkName: x, default: true}}]"),
       "first interface"},
      {vmi("{}", "[]", "memory: {guest: lots}"), "spec.domain.memory.guest"},
      {vmi("{}", "[]", "memory: {guest: 0}"), "spec.domain.memory.guest"},
      {vmi("{}", "[]", "memory: {}"), "no memory"},
      {vmi("{}", "[]", "memory: {guest: 1Gi}\n    cpu: {cores: 2000}"), "spec.domain.cpu.cores"},
  };
  for (const Case& each : cases) {
    const std::string error = vm_error(each.text);
    EXPECT_NE(error.find(each.expected), std::string::npos) << error;
    EXPECT_NE(error.find("VirtualMachineInstance blue/vm1"), std::string::npos) << error;
  }
}

TEST(MultusVm, Quantities) {
  const auto bytes = [](const Json& quantity) { return parse_quantity(quantity, "q"); };
  EXPECT_EQ(bytes("512Mi").value_or(0), 512ULL << 20);
  EXPECT_EQ(bytes("1.5Gi").value_or(0), 1536ULL << 20);
  EXPECT_EQ(bytes("2G").value_or(0), 2'000'000'000ULL);
  EXPECT_EQ(bytes("1e9").value_or(0), 1'000'000'000ULL);
  EXPECT_EQ(bytes("1500m").value_or(0), 2ULL);
  EXPECT_EQ(bytes(4096).value_or(0), 4096ULL);
  for (const Json& wrong : {Json("12Q"), Json("-1"), Json("Mi"), Json(""), Json(-4), Json(true),
                            Json("9999E"), Json("nan"), Json("1 Gi")}) {
    const auto result = bytes(wrong);
    ASSERT_FALSE(result) << wrong;
    EXPECT_NE(result.error().message.find("\"q\""), std::string::npos);
  }
}

TEST(MultusVm, LauncherPodAsksForNetworksAsKubeVirtDoes) {
  const auto vm = vm_of(vmi(kDevices, kNetworks));
  const auto pod = launcher_pod(vm);
  ASSERT_TRUE(pod) << pod.error().text();
  // Order of spec.networks, keys in KubeVirt's order, no entry for the pod network.
  EXPECT_EQ(
      pod->annotations.at(std::string(kNetworksAnnotation)),
      "[{\"name\":\"red-net\",\"namespace\":\"other\",\"interface\":\"" + names::kubevirt_pod_ifname("red") +
          "\"},{\"name\":\"blue-net\",\"namespace\":\"blue\",\"mac\":\"02:00:00:00:00:0a\",\"interface\":\"" +
          names::kubevirt_pod_ifname("blue") + "\"}]");
  EXPECT_FALSE(pod->annotations.contains(std::string(kDefaultNetworkAnnotation)));
  EXPECT_TRUE(pod->name.starts_with("virt-launcher-vm1-"));
  EXPECT_EQ(pod->name.size(), std::string("virt-launcher-vm1-").size() + 5);
  EXPECT_EQ(pod->labels.at("vm.kubevirt.io/name"), "vm1");
  EXPECT_EQ(pod->labels.at("kubevirt.io/created-by"), vm.uid);
  EXPECT_EQ(pod->labels.at("app"), "db");
  EXPECT_EQ(pod->name, launcher_pod(vm)->name);
  // What was written can be read.
  const auto selections =
      parse_networks_annotation(pod->annotations.at(std::string(kNetworksAnnotation)), pod->ns, "pod");
  ASSERT_TRUE(selections);
  EXPECT_EQ((*selections)[1].id(), "blue/blue-net");
}

TEST(MultusVm, DefaultMultusNetworkTakesThePlaceOfThePodNetwork) {
  const auto vm = vm_of(vmi("{interfaces: [{name: a, bridge: {}}]}",
                            "[{name: a, multus: {networkName: n/first, default: true}}]"));
  const auto pod = launcher_pod(vm);
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->annotations.at(std::string(kDefaultNetworkAnnotation)), "n/first");
  EXPECT_FALSE(pod->annotations.contains(std::string(kNetworksAnnotation)));
  EXPECT_EQ(pod_ifname(vm.networks[0]), "eth0");
}

TEST(MultusVm, LongNamesGiveValidPodNames) {
  VirtualMachineInstance vm{.ns = "blue", .name = std::string(100, 'a'), .uid = "u1"};
  const auto pod = launcher_pod(vm);
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->name.size(), 63U);
}

TEST(MultusVm, WrongNetworkNameIsNamed) {
  VirtualMachineInstance vm{.ns = "blue",
                            .name = "vm1",
                            .uid = "u1",
                            .interfaces = {{.name = "a"}},
                            .networks = {{.name = "a", .multus_network = "a/b/c"}}};
  const auto pod = launcher_pod(vm);
  ASSERT_FALSE(pod);
  EXPECT_NE(pod.error().text().find("network \"a\""), std::string::npos) << pod.error().text();
}

}  // namespace
}  // namespace vmlane::multus
