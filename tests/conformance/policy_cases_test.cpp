// SPDX-License-Identifier: Apache-2.0
// The cases of tests/conformance/policy (its README.md says how they are written), each asked of the tables
// and of the oracle.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "manifests/yaml.h"
#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"

namespace vmlane::policy {
namespace {

namespace fs = std::filesystem;

const fs::path& directory() {
  static const fs::path path = fs::path(VMLANE_SOURCE_DIR) / "tests/conformance/policy";
  return path;
}

std::vector<Json> documents(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  const auto parsed = parse_yaml(text.str(), file.filename().string());
  EXPECT_TRUE(parsed) << parsed.error().text();
  std::vector<Json> values;
  if (!parsed) return values;
  for (const YamlDocument& document : *parsed) values.push_back(document.value);
  return values;
}

std::string name_of(const Json& object) {
  return object["kind"].get<std::string>() + " " + object["metadata"].value("namespace", "") + "/" +
         object["metadata"].value("name", "");
}

// The objects of the world, and those of the case in their place or besides.
Objects objects_of(const Json& one) {
  std::map<std::string, Json> objects;
  static const std::vector<Json> world = documents(directory() / "world.yaml");
  for (const Json& object : world) objects[name_of(object)] = object;
  for (const Json& object : one.value("objects", Json::array())) objects[name_of(object)] = object;
  if (one.contains("spec")) {
    objects["policy"] = {{"apiVersion", "networking.k8s.io/v1"},
                         {"kind", "NetworkPolicy"},
                         {"metadata", {{"name", "p"}, {"namespace", "x"}}},
                         {"spec", one["spec"]}};
  }
  Objects read;
  for (const auto& [name, object] : objects) add_object(read, object, name);
  for (const Problem& problem : read.problems) ADD_FAILURE() << problem.text();
  return read;
}

class Case {
 public:
  explicit Case(const Json& json) : json_(json), objects_(objects_of(json)), compiled_(compile(objects_)) {}

  void check() {
    for (const Json& statement : json_["expect"]) {
      SCOPED_TRACE(statement.dump());
      if (statement.contains("is")) {
        ask(statement, statement["from"], statement["to"], "", statement["is"] == "allow");
        continue;
      }
      const bool to_one =
          statement["to"].is_string() && statement["to"].get<std::string>().find('/') != std::string::npos;
      const std::string one = statement[to_one ? "to" : "from"];
      const std::set<std::string> others = pods_of(statement[to_one ? "from" : "to"], one);
      for (const char* family : {"ipv4", "ipv6"}) {
        if (json_.value("family", family) != family) continue;
        for (const std::string& pod : all_but(one))
          ask(statement, to_one ? pod : one, to_one ? one : pod, family, others.contains(pod));
      }
    }
  }

 private:
  std::set<std::string> all_but(const std::string& one) const {
    std::set<std::string> pods;
    for (const auto& [id, pod] : objects_.pods) {
      if (id != one) pods.insert(id);
    }
    return pods;
  }

  std::set<std::string> pods_of(const Json& given, const std::string& but) const {
    if (given == "all") return all_but(but);
    if (given == "none") return {};
    std::set<std::string> pods;
    for (const std::string item : given) {
      for (const std::string& pod : all_but(but)) {
        const bool whole = item.ends_with("/*") && pod.starts_with(item.substr(0, item.size() - 1));
        if (whole || pod == item) pods.insert(pod);
      }
    }
    return pods;
  }

  void ask(const Json& statement, const std::string& from, const std::string& to, const std::string& family,
           bool allowed) {
    const std::string port = statement["port"];
    const auto slash = port.find('/');
    Json json = {{"from", from}, {"to", to}, {"family", family}, {"protocol", port.substr(0, slash)}};
    if (slash != std::string::npos) json["port"] = std::stoi(port.substr(slash + 1));
    if (statement.contains("network")) json["network"] = statement["network"];
    const auto probe = parse_probe(json, "probe");
    ASSERT_TRUE(probe) << probe.error().text();
    const auto by_tables = compiled_.ask(*probe);
    const auto by_oracle = ask_oracle(objects_, *probe);
    ASSERT_TRUE(by_tables && by_oracle);
    EXPECT_EQ(by_tables->allowed(), allowed) << "tables: " << json << to_json(*by_tables);
    EXPECT_EQ(by_oracle->allowed(), allowed) << "oracle: " << json << to_json(*by_oracle);
    EXPECT_EQ(*by_tables, *by_oracle) << json;
  }

  const Json& json_;
  Objects objects_;
  Store compiled_;
};

class PolicyCases : public ::testing::TestWithParam<std::string> {};

TEST_P(PolicyCases, TablesAndOracleSayWhatIsExpected) {
  const std::vector<Json> cases = documents(directory() / GetParam());
  ASSERT_FALSE(cases.empty());
  for (const Json& one : cases) {
    SCOPED_TRACE(one.value("case", "?"));
    Case(one).check();
  }
}

INSTANTIATE_TEST_SUITE_P(Files, PolicyCases,
                         ::testing::Values("ip_block.yaml", "multi_network.yaml", "network_policy.yaml",
                                           "peers.yaml", "policy_types.yaml", "ports.yaml", "tiers.yaml"));

}  // namespace
}  // namespace vmlane::policy
