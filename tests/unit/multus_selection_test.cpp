// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "multus-adapter/json_text.h"
#include "multus-adapter/network_selection.h"

namespace vmlane::multus {
namespace {

std::vector<NetworkSelection> parse(const std::string& text) {
  auto selections = parse_networks_annotation(text, "blue", "pod blue/p");
  EXPECT_TRUE(selections) << selections.error().text();
  return selections ? *selections : std::vector<NetworkSelection>();
}

std::string selection_error(const std::string& text) {
  const auto selections = parse_networks_annotation(text, "blue", "pod blue/p");
  EXPECT_FALSE(selections) << text;
  return selections ? "" : selections.error().text();
}

TEST(MultusSelection, ShortForm) {
  const auto list = parse(" a, red/b ,c@eth7,red/d.e@x ");
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0].id(), "blue/a");
  EXPECT_EQ(list[0].ifname, "net1");
  EXPECT_EQ(list[1].id(), "red/b");
  EXPECT_EQ(list[1].ifname, "net2");
  EXPECT_EQ(list[2].ifname, "eth7");
  EXPECT_EQ(list[3].id(), "red/d.e");
  EXPECT_TRUE(parse("").empty());
  EXPECT_TRUE(parse("  ").empty());
}

TEST(MultusSelection, ShortFormErrorsNameTheElement) {
  EXPECT_NE(selection_error("a,,b").find("element 2 is empty"), std::string::npos);
  EXPECT_NE(selection_error("a,b,").find("element 3 is empty"), std::string::npos);
  EXPECT_NE(selection_error("a/b/c").find("element 1: network name"), std::string::npos);
  EXPECT_NE(selection_error("../x").find("element 1"), std::string::npos);
  EXPECT_NE(selection_error("a@").find("interface name is empty"), std::string::npos);
  EXPECT_NE(selection_error("a@1234567890123456").find("16 bytes"), std::string::npos);
  EXPECT_NE(selection_error("a@x/y").find("interface name"), std::string::npos);
}

TEST(MultusSelection, JsonForm) {
  const auto list = parse(R"([{"name": "a"},
    {"name": "b", "namespace": "red", "interface": "podx", "mac": "02-00-00-00-00-0A", "ips": ["192.0.2.5/24", "2001:db8::5"],
     "default-route": ["192.0.2.1", "2001:db8::1"], "cni-args": {"k": 1}, "portMappings": [{"hostPort": 80, "containerPort": 8080}],
     "bandwidth": {"ingressRate": 1000}, "infiniband-guid": "g", "deviceID": "0000:03:00.1", "com.example/x": true}])");
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].ifname, "net1");
  EXPECT_EQ(list[1].id(), "red/b");
  EXPECT_EQ(list[1].mac->to_string(), "02:00:00:00:00:0a");
  EXPECT_EQ(list[1].ips.size(), 2U);
  ASSERT_EQ(list[1].default_route.size(), 2U);
  EXPECT_EQ(list[1].cni_args, (Json{{"k", 1}}));
  EXPECT_EQ(list[1].device_id, "0000:03:00.1");
  EXPECT_EQ(parse(R"([{"name":"a","interfaceRequest":"old0"}])")[0].ifname, "old0");
}

TEST(MultusSelection, F102JsonErrorsSayWhatAndWhere) {
  struct Case {
    std::string text;
    std::vector<std::string> expected;
  };
  const std::vector<Case> cases = {
      {"[{\"name\": \"a\"},]", {"not valid JSON at line 1"}},
      {"[\n {'name': 'a'}\n]", {"not valid JSON at line 2, column 3"}},
      {"[{\"name\": \"a\", \"name\": \"b\"}]", {"\"name\" is given twice"}},
      {"{\"name\": \"a\"}", {"no JSON list"}},
      {"[\"a\"]", {"element 1", "expected an object"}},
      {"[\n  {\"name\": \"a\"},\n  {\"name\": \"b\",\n   \"intrface\": \"x\"}\n]",
       {"element 2", "\"intrface\"", "did you mean \"interface\"?", "line 4, column 4"}},
      {"[{\"name\": \"a\", \"foo\": 1}]", {"\"foo\"", "reverse-DNS"}},
      {"[{\"Name\": \"a\"}]", {"did you mean \"name\"?"}},
      {"[{\"namespace\": \"a\"}]", {"\"name\" is missing"}},
      {"[{\"name\": 5}]", {"\"name\" is 5", "line 1, column 3"}},
      {"[{\"name\": \"a\", \"mac\": \"02:00\"}]", {"mac", "02:00"}},
      {"[{\"name\": \"a\", \"mac\": \"ff:ff:ff:ff:ff:ff\"}]", {"mac"}},
      {"[{\"name\": \"a\", \"ips\": [\"192.0.2.300\"]}]", {"192.0.2.300"}},
      {"[{\"name\": \"a\", \"ips\": \"192.0.2.3\"}]", {"\"ips\"", "list of strings"}},
      {"[{\"name\": \"a\", \"default-route\": [\"192.0.2.1\", \"192.0.2.2\"]}]",
       {"more than one IPv4 gateway"}},
      {"[{\"name\": \"a\", \"default-route\": [\"x\"]}]", {"default-route", "\"x\""}},
      {"[{\"name\": \"a\", \"cni-args\": []}]", {"cni-args", "an object"}},
      {"[{\"name\": \"a\", \"portMappings\": [{\"hostPort\": 70000}]}]", {"hostPort", "70000"}},
      {"[{\"name\": \"a\", \"bandwidth\": {\"egressRate\": -1}}]", {"egressRate", "-1"}},
      {"[{\"name\": \"a\", \"deviceID\": \"../x\"}]", {"deviceID"}},
      {"[{\"name\": \"a\", \"ips\": [\"192.0.2.1\"], \"ipam-claim-reference\": \"c\"}]",
       {"exclude each other"}},
      {"[{\"name\": \"a\", \"interface\": \"x\", \"interfaceRequest\": \"y\"}]", {"interfaceRequest"}},
  };
  for (const Case& each : cases) {
    const std::string error = selection_error(each.text);
    for (const std::string& part : each.expected)
      EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
    EXPECT_NE(error.find("pod blue/p"), std::string::npos) << error;
  }
}

TEST(MultusSelection, F106NamesAreCheckedTogether) {
  EXPECT_NE(selection_error("a@net1,b@net1").find("elements 1 and 2 both get interface \"net1\""),
            std::string::npos);
  // The second element's automatic name meets the first's explicit one.
  EXPECT_NE(selection_error("a@net2,b").find("elements 1 and 2 both get interface \"net2\""),
            std::string::npos);
  EXPECT_NE(
      selection_error(
          R"([{"name":"a","default-route":["192.0.2.1"]},{"name":"b","default-route":["2001:db8::1"]}])")
          .find("only one network"),
      std::string::npos);
}

TEST(MultusSelection, AutomaticNamesGoOnAfterDefaultNetworks) {
  const auto list = parse_networks_annotation("a,b", "blue", "pod", 3);
  ASSERT_TRUE(list);
  EXPECT_EQ((*list)[0].ifname, "net3");
  EXPECT_EQ((*list)[1].ifname, "net4");
}

TEST(MultusSelection, DefaultNetworkIsOne) {
  const auto one = parse_default_network("first", "kube-system", "pod");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->id(), "kube-system/first");
  EXPECT_EQ(one->ifname, "");
  const auto json = parse_default_network(R"([{"name":"first","namespace":"n","mac":"02:00:00:00:00:01"}])",
                                          "kube-system", "pod");
  ASSERT_TRUE(json);
  EXPECT_EQ(json->id(), "n/first");
  EXPECT_FALSE(parse_default_network("a,b", "kube-system", "pod"));
  EXPECT_FALSE(parse_default_network("", "kube-system", "pod"));
}

TEST(MultusJsonText, FindsPlacesOfNestedValues) {
  const std::string text =
      "{\n  \"a\": {\"x\": \"}]\\\"\"},\n  \"plugins\": [\n    {\"type\": \"t\"},\n    {\"type\": \"u\", "
      "\"m\\u0074u\": 5}\n  ]\n}";
  EXPECT_EQ(position_of(text, {}), "line 1, column 1");
  EXPECT_EQ(position_of(text, {"plugins"}), "line 3, column 3");
  EXPECT_EQ(position_of(text, {"plugins", "1"}), "line 5, column 5");
  EXPECT_EQ(position_of(text, {"plugins", "1", "mtu"}), "line 5, column 19");
  EXPECT_EQ(position_of(text, {"plugins", "1", "gone"}), "line 5, column 5");
}

}  // namespace
}  // namespace vmlane::multus
