// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "multus-adapter/networks.h"
#include "tests/support/host.h"

namespace vmlane::multus {
namespace {

class NetworksTest : public ::testing::Test {
 protected:
  Result<NetworkConfig> resolve(const std::string& config, const std::string& name = "n") const {
    return resolve_network({.ns = "blue", .name = name, .config = config}, conf_dir_.path());
  }
  NetworkConfig resolved(const std::string& config) const {
    auto network = resolve(config);
    EXPECT_TRUE(network) << network.error().text();
    return network ? *network : NetworkConfig{};
  }
  std::string error_of(const std::string& config) const {
    const auto network = resolve(config);
    EXPECT_FALSE(network) << config;
    return network ? "" : network.error().text();
  }
  std::vector<LintProblem> problems(const std::string& config) const {
    return lint_structure({.ns = "blue", .name = "n", .config = config}, conf_dir_.path());
  }

  test::TemporaryDirectory conf_dir_;
};

TEST_F(NetworksTest, F101NameDefaultsToTheObjects) {
  EXPECT_EQ(resolved(R"({"type":"vmlane-tap"})").name, "n");
  EXPECT_EQ(resolved(R"({"type":"vmlane-tap","name":""})").name, "n");
  EXPECT_EQ(resolved(R"({"type":"vmlane-tap","name":"other"})").name, "other");
  EXPECT_EQ(resolved(R"({"plugins":[{"type":"vmlane-tap"}]})").name, "n");
  const auto dotted = resolve(R"({"type":"vmlane-tap"})", "a.b.c");
  ASSERT_TRUE(dotted);
  EXPECT_EQ(dotted->name, "a.b.c");
}

TEST_F(NetworksTest, F101EmptyConfigIsLookedUpByNameKeyNotByFileName) {
  test::spit(conf_dir_.path() / "10-n.conf", R"({"name":"other","type":"a"})");
  test::spit(conf_dir_.path() / "20-broken.conf", "{");
  test::spit(conf_dir_.path() / "30-x.conflist",
             R"({"cniVersion":"0.4.0","name":"n","plugins":[{"type":"b"},{"type":"c"}]})");
  for (const char* config : {"", "   ", "\n"}) {
    const NetworkConfig network = resolved(config);
    EXPECT_EQ(network.cni_version, "0.4.0");
    ASSERT_EQ(network.plugins.size(), 2U);
    EXPECT_EQ(network.plugins[1]["type"], "c");
  }
  const auto missing = resolve("", "absent");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  for (const std::string& part :
       std::vector<std::string>{"blue/absent", conf_dir_.path().string(), "\"absent\""}) {
    EXPECT_NE(missing.error().text().find(part), std::string::npos) << missing.error().text();
  }
}

TEST_F(NetworksTest, F102ErrorsNameObjectAndPlace) {
  struct Case {
    std::string config;
    std::vector<std::string> expected;
  };
  const std::vector<Case> cases = {
      {"{\"type\": \"t\",\n}", {"not valid JSON at line 2, column 1"}},
      {"{'type': 't'}", {"not valid JSON at line 1, column 2"}},
      {"{\"type\": \"t\"} // x", {"not valid JSON at line 1"}},
      {"{\"type\": \"t\", \"type\": \"u\"}", {"\"type\" is given twice"}},
      {"{\"type:\": \"t\"}", {"neither \"type\" nor \"plugins\"", "did you mean \"type\"?"}},
      {"{\"tpye\": \"t\"}", {"did you mean \"type\"?"}},
      {"{\"plugin\": []}", {"did you mean \"plugins\"?"}},
      {"{}", {"neither \"type\" nor \"plugins\"", "line 1, column 1"}},
      {"null", {"is null, expected an object"}},
      {"[]", {"expected an object"}},
      {"{\"plugins\": []}", {"\"plugins\" is an empty list", "line 1, column 2"}},
      {"{\"plugins\": {}}", {"\"plugins\" is {}, expected a list"}},
      {"{\"plugins\": null}", {"\"plugins\" is null"}},
      {"{\"plugins\": [{\"type\": \"t\"},\n 5]}", {"plugins[1]", "line 2, column 2"}},
      {"{\"plugins\": [\r\n\t{\"tpe\": \"t\"}]}", {"no \"type\"", "line 2, column 2"}},
      {"{\"type\": 5}", {"\"type\" is 5, expected a string"}},
      {"{\"type\": \"t\", \"ipam\": []}", {"\"ipam\" is []"}},
      {"{\"type\": \"t\", \"ipam\": {\"subnet\": \"x\"}}", {"\"ipam\" has no \"type\""}},
      {"{\"type\": \"t\", \"ipam\": {\"type\": \"../x\"}}", {"ipam.type"}},
      {"{\"type\": \"t\", \"capabilities\": {\"mac\": \"yes\"}}", {"capabilities"}},
      {"{\"type\": \"t\", \"disableCheck\": \"maybe\"}", {"disableCheck"}},
      {"{\"type\": \"t\", \"name\": \"a/b\"}", {"network name \"a/b\""}},
      {"{\"type\": \"t\", \"cniVersion\": 1}", {"cniVersion"}},
  };
  for (const Case& each : cases) {
    const std::string error = error_of(each.config);
    EXPECT_NE(error.find("NetworkAttachmentDefinition blue/n, spec.config"), std::string::npos) << error;
    for (const std::string& part : each.expected)
      EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
  }
  // These are no faults.
  EXPECT_EQ(resolved("\xef\xbb\xbf{\"type\":\"t\",\"ipam\":{},\r\n\t\"dns\":null}").plugins.size(), 1U);
  EXPECT_EQ(resolved("{\"type\":\"t\",\"ipam\":null}").plugins.size(), 1U);
}

TEST_F(NetworksTest, F021TypeIsAPlainName) {
  for (const char* type : {"../../bin/sh", "..", "/bin/sh", "", "-rf", "a b"}) {
    EXPECT_NE(error_of(Json{{"type", type}}.dump()).find("\"type\""), std::string::npos) << type;
  }
}

TEST_F(NetworksTest, F106MetaPluginIsNotItsOwnDelegate) {
  EXPECT_NE(error_of(R"({"type":"vmlane-multus"})").find("cannot be its own delegate"), std::string::npos);
  EXPECT_NE(
      error_of(R"({"plugins":[{"type":"a"},{"type":"vmlane-multus"}]})").find("cannot be its own delegate"),
      std::string::npos);
}

TEST_F(NetworksTest, NewestAllowedVersionIsChosen) {
  EXPECT_EQ(resolved(R"({"type":"t","cniVersion":"0.3.1"})").cni_version, "0.3.1");
  EXPECT_EQ(resolved(R"({"type":"t"})").cni_version, "1.0.0");
  EXPECT_EQ(
      resolved(R"({"type":"t","cniVersion":"0.4.0","cniVersions":["1.1.0","9.0.0","1.0.0"]})").cni_version,
      "1.1.0");
  const std::string error = error_of(R"({"type":"t","cniVersion":"0.2.0","cniVersions":["2.0.0"]})");
  for (const char* part : {"\"0.2.0\"", "\"2.0.0\"", "1.1.0"})
    EXPECT_NE(error.find(part), std::string::npos) << error;
}

TEST_F(NetworksTest, PluginInputIsAsTheSpecificationSays) {
  const NetworkConfig network = resolved(R"({"cniVersion":"1.0.0","cniVersions":["1.1.0"],"plugins":[
    {"type":"a","capabilities":{"mac":true,"ips":false,"CNIDeviceInfoFile":true},"mtu":1400,"args":{"cni":{"old":1,"k":2},"x":3}},
    {"type":"b","capabilities":{"ips":true,"portMappings":true}}]})");
  NetworkSelection selection{
      .ns = "blue", .name = "n", .ips = {"192.0.2.7/24"}, .cni_args = {{"k", "v"}, {"nad", "false/one"}}};
  selection.mac = *MacAddress::parse("02:00:00:00:00:07");
  selection.device_id = "0000:03:00.1";
  const RuntimeData data{.selection = selection, .device_info_file = "/run/x.json"};
  const Json first = plugin_input(network, 0, data);
  EXPECT_EQ(first["name"], "n");
  EXPECT_EQ(first["cniVersion"], "1.1.0");
  EXPECT_FALSE(first.contains("cniVersions"));
  EXPECT_FALSE(first.contains("prevResult"));
  EXPECT_EQ(first["mtu"], 1400);
  EXPECT_EQ(first["deviceID"], "0000:03:00.1");
  EXPECT_EQ(first["pciBusID"], "0000:03:00.1");
  EXPECT_EQ(first["runtimeConfig"],
            (Json{{"mac", "02:00:00:00:00:07"}, {"CNIDeviceInfoFile", "/run/x.json"}}));
  EXPECT_EQ(first["args"], (Json{{"cni", {{"old", 1}, {"k", "v"}, {"nad", "blue/n"}}}, {"x", 3}}));
  const Json second = plugin_input(network, 1, data);
  EXPECT_EQ(second["runtimeConfig"], (Json{{"ips", {"192.0.2.7/24"}}}));
  EXPECT_EQ(second["args"]["cni"]["k"], "v");
}

TEST_F(NetworksTest, CapabilitiesThatNobodyHasAreRefused) {
  const NetworkConfig network = resolved(R"({"type":"a","capabilities":{"bandwidth":true}})");
  NetworkSelection selection{
      .ns = "blue", .name = "n", .bandwidth = {{"ingressRate", 1}}, .origin = "element 1"};
  EXPECT_TRUE(check_capabilities(network, selection));
  selection.port_mappings = Json::array();
  const auto refused = check_capabilities(network, selection);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("\"portMappings\""), std::string::npos);
  EXPECT_NE(refused.error().message.find("blue/n"), std::string::npos);
}

TEST_F(NetworksTest, F105DifferingKeysIgnoreOrderAndVersion) {
  const auto network = [&](const std::string& config) { return resolved(config); };
  const auto a = network(
      R"({"cniVersion":"1.0.0","type":"t","bridge":"br1","ipam":{"type":"host-local","subnet":"192.0.2.0/24"}})");
  const auto same =
      network(R"({"ipam":{"subnet":"192.0.2.0/24","type":"host-local"},"bridge":"br1","type":"t"})");
  EXPECT_TRUE(differing_keys(a, same).empty());
  const auto other = network(
      R"({"type":"t","bridge":"br2","mtu":1400,"ipam":{"type":"host-local","subnet":"198.51.100.0/24"}})");
  EXPECT_EQ(differing_keys(a, other), (std::vector<std::string>{"bridge", "ipam.subnet", "mtu"}));
  const auto chain = network(R"({"plugins":[{"type":"t"},{"type":"u","x":1}]})");
  const auto longer = network(R"({"plugins":[{"type":"t"},{"type":"u","x":2}]})");
  EXPECT_EQ(differing_keys(chain, longer), (std::vector<std::string>{"plugins[1].x"}));
}

TEST_F(NetworksTest, LintOfGoodAndForeignConfigs) {
  EXPECT_TRUE(
      problems(R"({"type":"vmlane-veth","bridge":"br1","isGateway":true,"ipam":{"type":"host-local"}})")
          .empty());
  EXPECT_TRUE(problems(R"({"type":"other","anything":5,"master":"eth1"})").empty());
  ASSERT_EQ(problems(R"({"type":"other","capabilites":{}})").size(), 1U);
  const auto ignored = problems(R"({"type":"other","plugins":[{"type":"vmlane-tap","bridge":"b"}]})");
  ASSERT_EQ(ignored.size(), 1U);
  EXPECT_EQ(ignored[0].severity, LintProblem::Severity::kWarning);
  EXPECT_EQ(problems("{").size(), 1U);
  EXPECT_EQ(problems("").size(), 1U);
  EXPECT_EQ(problems(R"({"type":"t","cniVersion":"7.0.0"})").size(), 1U);
  EXPECT_EQ(problems(R"({"type":"t","cniVersion":"7.0.0","capabilites":{}})").size(), 2U);
}

}  // namespace
}  // namespace vmlane::multus
