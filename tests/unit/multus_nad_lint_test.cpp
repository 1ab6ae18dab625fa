// SPDX-License-Identifier: Apache-2.0
// What is told about networks before a pod waits for one: whatever ADD would refuse, and what nobody reads.
#include <gtest/gtest.h>

#include <filesystem>

#include "cni/lanes.h"
#include "multus-adapter/nad_lint.h"
#include "tests/support/host.h"
#include "tests/support/paths.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;

std::string all_of(const std::vector<LintProblem>& problems) {
  std::string all;
  for (const LintProblem& problem : problems) all += problem.path + " " + problem.text() + "\n";
  return all;
}

class NadLintTest : public ::testing::Test {
 protected:
  std::vector<LintProblem> problems(const std::string& config, const std::string& resource = {}) const {
    return lint_network({.ns = "blue", .name = "n", .config = config, .resource_name = resource},
                        conf_dir_.path());
  }
  // One problem alone, at the path, with all the words.
  void expect_one(const std::string& config, const std::string& path, const std::vector<std::string>& words,
                  LintProblem::Severity severity = LintProblem::Severity::kError) const {
    SCOPED_TRACE(config);
    const auto found = problems(config);
    ASSERT_EQ(found.size(), 1U) << all_of(found);
    EXPECT_EQ(found[0].path, path) << all_of(found);
    EXPECT_EQ(found[0].severity, severity) << all_of(found);
    for (const std::string& word : words)
      EXPECT_NE(found[0].text().find(word), std::string::npos) << word << " in " << found[0].text();
  }

  test::TemporaryDirectory conf_dir_;
};

TEST_F(NadLintTest, TellsAllProblemsAtOnceWithTheirPlaces) {
  const auto found = problems(
      "{\n \"type\": \"vmlane-tap\",\n \"mtu\": \"1500\",\n \"vlan\": 100.5,\n \"brigde\": \"br1\",\n "
      "\"queues\": 4,\n \"mac\": \"02:00\"\n}");
  ASSERT_EQ(found.size(), 4U) << all_of(found);
  const std::string all = all_of(found);
  for (const std::string part :
       {"$.mtu error: blue/n, line 3, column 2: key \"mtu\" is \"1500\"",
        "$.vlan error: blue/n, line 4, column 2: key \"vlan\" is 100.5",
        "$.mac error: blue/n, line 7, column 2: key \"mac\": \"02:00\" is not a MAC address",
        "$.brigde warning: blue/n, line 5, column 2: unknown key \"brigde\"", "did you mean \"bridge\"?"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " in:\n" << all;
  }
}

TEST_F(NadLintTest, GoodNetworksOfEachLaneAndOthersHaveNoProblem) {
  for (
      const char* config :
      {R"({"type":"vmlane-veth","bridge":"br1","isGateway":true,"ipMasq":true,
            "ipam":{"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.10"}]]}})",
       R"({"type":"vmlane-veth","policyDefault":"deny","requirePolicy":true,"spoofCheck":true,"trusted":false})",
       R"({"type":"vmlane-tap","bridge":"br1","vlan":7,"queues":4,"learnAddresses":"any","multiQueue":true})",
       R"({"type":"vmlane-macvtap","lowerDevice":"eth1","mode":"vepa","queues":2,"promiscMode":false})",
       R"({"type":"vmlane-vhostuser","bridge":"br1","requireSwitch":true,"rings":"split","allowNode":true})",
       R"({"plugins":[{"type":"vmlane-tap","bridge":"b"},{"type":"tuning","sysctl":{}}]})",
       R"({"type":"other","anything":5,"master":"eth1"})"}) {
    EXPECT_TRUE(problems(config).empty()) << config << "\n" << all_of(problems(config));
  }
}

TEST_F(NadLintTest, F102_EachWrongValueIsToldAtItsPlace) {
  expect_one(R"({"type":"vmlane-macvtap","lowerDevice":"eth1","mode":"brigde"})", "$.mode",
             {"brigde", "vepa"});
  expect_one(R"({"type":"vmlane-macvtap","lowerDevice":"a/b"})", "$.lowerDevice", {"lowerDevice", "a/b"});
  expect_one(R"({"type":"vmlane-tap","ipam":{"type":"dhcp"}})", "$.ipam.type", {"dhcp", "guest"});
  expect_one(R"({"type":"vmlane-tap","vlan":4095})", "$.vlan", {"4095"});
  expect_one(R"({"type":"vmlane-veth","ipMasq":true})", "$.ipMasq", {"ipam"});
  expect_one(R"({"type":"vmlane-veth","policyDefault":"maybe"})", "$.policyDefault", {"maybe", "auto"});
  expect_one(R"({"type":"vmlane-vhostuser","mtu":12})", "$.mtu", {"12"});
  expect_one(R"({"plugins":[{"type":"tuning"},{"type":"vmlane-veth","mtu":99999}]})", "$.plugins[1].mtu",
             {"99999"});
  expect_one(R"({"type":"vmlane-macvtap","lowerDevice":"eth1","bridge":"br1"})", "$.bridge", {"nobody reads"},
             LintProblem::Severity::kWarning);
  // What is missing has no place.
  expect_one(R"({"type":"vmlane-macvtap"})", "$", {"lowerDevice", "deviceID"});
}

TEST_F(NadLintTest, DeviceOfAResourceTakesThePlaceOfTheLowerDevice) {
  EXPECT_TRUE(problems(R"({"type":"vmlane-macvtap"})", "vmlane.io/uplink").empty());
  EXPECT_TRUE(problems(R"({"type":"vmlane-macvtap","lowerDevice":"eth7"})", "vmlane.io/uplink").empty());
  const auto found = problems(R"({"type":"vmlane-vhostuser"})", "vmlane.io/ports");
  ASSERT_EQ(found.size(), 1U) << all_of(found);
  EXPECT_EQ(found[0].severity, LintProblem::Severity::kWarning);
  EXPECT_NE(found[0].text().find("CNIDeviceInfoFile"), std::string::npos);
  EXPECT_TRUE(
      problems(R"({"type":"vmlane-vhostuser","capabilities":{"CNIDeviceInfoFile":true}})", "vmlane.io/ports")
          .empty());
}

TEST_F(NadLintTest, AddressesOfKnownAllocatorsAreRead) {
  const auto host_local = [this](const std::string& rest, const std::string& path,
                                 const std::vector<std::string>& words) {
    for (const std::string type : {"vmlane-veth", "macvlan"}) {
      expect_one(R"({"type":")" + type + R"(","ipam":{"type":"host-local",)" + rest + "}}", path, words);
    }
  };
  host_local(R"("ranges":[[{"subnet":"192.0.2.0"}]])", "$.ipam.ranges[0][0].subnet",
             {"192.0.2.0", "prefix length"});
  host_local(R"("ranges":[[{"subnet":"192.0.2.7/24"}]])", "$.ipam.ranges[0][0].subnet", {"192.0.2.0/24"});
  host_local(R"("ranges":[{"subnet":"192.0.2.0/24"}])", "$.ipam.ranges[0]", {"list of lists"});
  host_local(R"("ranges":[])", "$.ipam", {"ranges", "subnet"});
  host_local(R"("subnet":"192.0.2.0/24","gateway":"198.51.100.1")", "$.ipam.gateway",
             {"198.51.100.1", "outside"});
  host_local(
      R"("ranges":[[{"subnet":"2001:db8::/64"},{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.9","rangeEnd":"192.0.2.8"}]])",
      "$.ipam.ranges[0][1].rangeEnd", {"192.0.2.8", "before"});
  host_local(R"("subnet":"192.0.2.0/24","routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0","gw":"192.0.2.1"}])",
             "$.ipam.routes[1].gw", {"family"});
  host_local(R"("subnet":"192.0.2.0/24","routes":[{"gw":"192.0.2.1"}])", "$.ipam.routes[0]", {"dst"});
  expect_one(
      R"({"type":"vmlane-veth","ipam":{"type":"static","addresses":[{"address":"192.0.2.5/24","gateway":"192.0.3.1"}]}})",
      "$.ipam.addresses[0].gateway", {"192.0.3.1"});
  EXPECT_TRUE(
      problems(R"({"type":"t","capabilities":{"ipRanges":true},"ipam":{"type":"host-local"}})").empty());
  EXPECT_TRUE(
      problems(R"({"type":"t","ipam":{"type":"whereabouts","range":"192.0.2.0-192.0.2.9/24"}})").empty());
}

TEST_F(NadLintTest, BrokenStructureIsToldOnceAndEndsNothingElse) {
  EXPECT_EQ(problems("{").size(), 1U);
  EXPECT_EQ(problems("").size(), 1U);
  EXPECT_EQ(problems("[1]").size(), 1U);
  EXPECT_EQ(problems(R"({"plugins":"x"})").size(), 1U);
  expect_one(R"({"type":"vmlane-veth","capabilities":7})", "$.capabilities", {"capabilities"});
  expect_one(R"({"type":"vmlane-veth","ipam":7})", "$.ipam", {"ipam"});
  const auto two = problems(R"({"plugins":[7,{"type":"vmlane-veth","mtu":true}]})");
  EXPECT_EQ(two.size(), 2U) << all_of(two);
}

TEST_F(NadLintTest, BindingThatDoesNotFitTheLaneIsAnErrorOfTheVm) {
  ObjectStore objects("a test");
  const auto add = [&](const Json& object) { ASSERT_TRUE(objects.add_object(object, "a test")); };
  const auto network = [&](const std::string& name, const std::string& type) {
    add({{"apiVersion", "k8s.cni.cncf.io/v1"},
         {"kind", "NetworkAttachmentDefinition"},
         {"metadata", {{"namespace", "blue"}, {"name", name}}},
         {"spec", {{"config", R"({"type":")" + type + R"(","lowerDevice":"eth1"})"}}}});
  };
  network("veth", "vmlane-veth");
  network("tap", "vmlane-tap");
  network("foreign", "bridge");
  const auto vm = [&](const std::string& name, const Json& binding, const std::string& net) {
    Json interface = {{"name", "nic"}};
    interface.update(binding);
    add({{"apiVersion", "kubevirt.io/v1"},
         {"kind", "VirtualMachineInstance"},
         {"metadata", {{"namespace", "blue"}, {"name", name}}},
         {"spec",
          {{"domain",
            {{"devices", {{"interfaces", {interface}}}},
             {"resources", {{"requests", {{"memory", "64Mi"}}}}}}},
           {"networks", {{{"name", "nic"}, {"multus", {{"networkName", net}}}}}}}}});
  };
  const Json bridge = {{"bridge", Json::object()}};
  vm("fits", bridge, "veth");
  vm("plugin", {{"binding", {{"name", "vmlane-tap"}}}}, "blue/tap");
  vm("other", bridge, "foreign");
  vm("wrong", bridge, "tap");
  vm("pci", {{"sriov", Json::object()}}, "tap");
  vm("nowhere", bridge, "gone");
  std::vector<std::string> about;
  const auto found = lint_objects(objects, conf_dir_.path());
  for (const LintProblem& problem : found) {
    if (problem.object.starts_with("VirtualMachine")) about.push_back(problem.text());
  }
  ASSERT_EQ(about.size(), 3U) << all_of(found);
  EXPECT_TRUE(about[0].starts_with("error: VirtualMachineInstance blue/wrong: ")) << about[0];
  for (const char* word : {"\"bridge\"", "blue/tap", "vmlane-veth"})
    EXPECT_NE(about[0].find(word), std::string::npos) << about[0];
  EXPECT_TRUE(about[1].starts_with("error: VirtualMachineInstance blue/pci: ")) << about[1];
  EXPECT_TRUE(about[2].starts_with("warning: VirtualMachineInstance blue/nowhere: ")) << about[2];
}

TEST_F(NadLintTest, LanesAreFoundByTheirPluginsNames) {
  for (const char* type : {"vmlane-veth", "vmlane-tap", "vmlane-macvtap", "vmlane-vhostuser"}) {
    const auto lane = cni::make_lane(type);
    ASSERT_NE(lane, nullptr) << type;
    EXPECT_EQ(lane->type(), type);
  }
  EXPECT_EQ(cni::make_lane("bridge"), nullptr);
  EXPECT_EQ(cni::make_lane(""), nullptr);
}

TEST_F(NadLintTest, ShippedExamplesAreClean) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(test::source_file("examples"))) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  ASSERT_GE(files.size(), 3U);
  int networks = 0;
  for (const fs::path& file : files) {
    SCOPED_TRACE(file);
    const auto objects = ObjectStore::load({file});
    ASSERT_TRUE(objects) << objects.error().text();
    networks += static_cast<int>(objects->networks().size());
    const auto found = lint_objects(*objects, conf_dir_.path());
    EXPECT_TRUE(found.empty()) << all_of(found);
  }
  EXPECT_GE(networks, 3);
}

}  // namespace
}  // namespace vmlane::multus
