// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "cli/output.h"
#include "manifests/yaml.h"

namespace vmlane::cli {
namespace {

const std::vector<Column> kColumns = {{"NAME", "/name"}, {"IP", "/ips"}, {"BRIDGE", "/handles/bridge"}};

Json rows() {
  return {{{"name", "default/vm-a"},
           {"ips", {"192.0.2.10/24", "2001:db8::10/64"}},
           {"handles", {{"bridge", "br1"}}}},
          {{"name", "b"}, {"ips", Json::array()}}};
}

TEST(CliOutput, TableIsAsWideAsItsValuesAndMarksWhatIsAbsent) {
  EXPECT_EQ(render_rows(OutputFormat::kTable, kColumns, rows()),
            "NAME          IP                             BRIDGE\n"
            "default/vm-a  192.0.2.10/24,2001:db8::10/64  br1\n"
            "b             -                              -\n");
}

TEST(CliOutput, EmptyTableHasItsHeader) {
  EXPECT_EQ(render_rows(OutputFormat::kTable, {{"NAME", "/name"}}, Json::array()), "NAME\n");
}

TEST(CliOutput, JsonGivesTheObjectsWhole) {
  EXPECT_EQ(Json::parse(render_rows(OutputFormat::kJson, kColumns, rows())), rows());
}

TEST(CliOutput, ObjectAsTableIsALineForEachLeaf) {
  const Json object = {{"ipam", {{"ranges", {{{"subnet", "192.0.2.0/24"}}}}, {"type", "host-local"}}},
                       {"dns", Json::object()},
                       {"queues", 2},
                       {"search", {"a", "b"}}};
  EXPECT_EQ(render_object(OutputFormat::kTable, object),
            "dns: {}\nipam.ranges[0].subnet: 192.0.2.0/24\nipam.type: host-local\nqueues: 2\nsearch: a,b\n");
}

TEST(CliOutput, YamlKeepsTypesOfWhatLooksLikeSomethingElse) {
  const Json object = {{"mac", "02:00:00:00:00:01"},
                       {"no", "no"},
                       {"number", "1e3"},
                       {"text", "a: \"b\"\n#c"},
                       {"mtu", 1450},
                       {"up", true},
                       {"none", nullptr},
                       {"list", {1, "1"}},
                       {"empty", Json::array()},
                       {"object", {{"x", Json::object()}}}};
  const YAML::Node node = YAML::Load(to_yaml(object));
  EXPECT_EQ(node["mac"].Tag(), "!");  // quoted: a string whatever it looks like
  EXPECT_EQ(node["no"].as<std::string>(), "no");
  EXPECT_EQ(node["no"].Tag(), "!");
  EXPECT_EQ(node["text"].as<std::string>(), "a: \"b\"\n#c");
  EXPECT_EQ(node["mtu"].as<int>(), 1450);
  EXPECT_EQ(node["mtu"].Tag(), "?");
  EXPECT_TRUE(node["up"].as<bool>());
  EXPECT_TRUE(node["none"].IsNull());
  EXPECT_EQ(node["list"].size(), 2U);
  EXPECT_TRUE(node["empty"].IsSequence());
  EXPECT_TRUE(node["object"]["x"].IsMap());
}

TEST(CliOutput, BytesThatAreNoUtf8DoNotStopIt) {
  const Json object = {{"name", "a\xff"}};
  EXPECT_NE(render_object(OutputFormat::kJson, object), "");
  EXPECT_EQ(render_object(OutputFormat::kTable, object), "name: a\xff\n");
}

}  // namespace
}  // namespace vmlane::cli
