// SPDX-License-Identifier: Apache-2.0
// Every field of every kind with a value that it must not have (tests/conformance/policy/invalid): what is
// reported, which pods are closed, and that all others get what they got before.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/policy_cases.h"

namespace vmlane::policy {
namespace {

// Others are under a policy of their own, which stays in force.
const Json& bystander() {
  static const Json policy = Json::parse(R"({
    "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
    "metadata": {"name": "bystander", "namespace": "z"},
    "spec": {"podSelector": {"matchLabels": {"pod": "a"}},
             "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}},
                                    "podSelector": {"matchLabels": {"pod": "b"}}}]}]}})");
  return policy;
}

Json with_fault(const Json& object, const Json& field) {
  Json faulty = object;
  const Json::json_pointer at(field["at"].get<std::string>());
  if (field.contains("value")) {
    faulty[at] = field["value"];
  } else {
    faulty[at.parent_pointer()].erase(at.back());
  }
  return faulty;
}

class Table {
 public:
  explicit Table(const Json& given)
      : given_(given),
        network_(given.value("network", std::string(kDefaultNetwork))),
        world_(test::policy_world(given.value("world", "world.yaml"))) {}

  void check(const std::string& action) const {
    const Json object = replaced(given_["object"], action);
    ASSERT_TRUE(read(object).problems.empty()) << "without a fault: " << read(object).problems[0].text();
    for (const Json& field : given_["fields"]) {
      if (field.value("only", action) != action) continue;
      SCOPED_TRACE(action + " " + field.dump());
      const Objects faulty = read(with_fault(object, replaced(field, action)));
      check_report(object, field, faulty.problems);
      const bool nobody = field.value("nobody", false);
      const Objects whole = nobody ? read({}) : read(replaced(given_["object"], field.value("like", action)));
      check_effect(field.value("closed", given_["closed"]), faulty, whole);
    }
  }

 private:
  static Json replaced(const Json& json, const std::string& action) {
    if (action.empty()) return json;
    std::string text = json.dump();
    const std::string word = "\"ACTION\"";
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word))
      text.replace(at, word.size(), '"' + action + '"');
    return Json::parse(text);
  }

  Objects read(const Json& object) const {
    Objects objects;
    std::map<std::string, Json> all = world_;
    all.erase(test::policy_object_name(given_["object"]));
    all["bystander"] = bystander();
    for (const auto& [name, other] : all) add_object(objects, other, name);
    if (!object.is_null()) add_object(objects, object, "faulty.yaml");
    return objects;
  }

  static void check_report(const Json& object, const Json& field, const std::vector<Problem>& problems) {
    const std::string key = field["key"];
    const auto found = std::ranges::find(problems, key, &Problem::key);
    ASSERT_NE(found, problems.end()) << (problems.empty() ? "nothing is reported" : problems[0].text());
    EXPECT_EQ(found->kind, object["kind"]);
    EXPECT_NE(found->reason.find(field["reason"].get<std::string>()), std::string::npos) << found->reason;
    EXPECT_FALSE(found->effect.empty());
    EXPECT_EQ(found->source, "faulty.yaml");
    const std::string name = object["metadata"].value("name", "");
    const bool named = !field["at"].get<std::string>().starts_with("/metadata/name");
    if (named) {
      EXPECT_TRUE(found->id == name || found->id.ends_with("/" + name)) << found->id;
    }
    for (const Problem& problem : problems) EXPECT_EQ(problem.source, "faulty.yaml") << problem.text();
  }

  // Closed pods get or send nothing; everybody else gets what `whole` says, without the fault.
  void check_effect(const Json& closed, const Objects& faulty, const Objects& whole) const {
    const auto is_closed = [&](const char* direction, const std::string& pod) {
      const Json pods = closed.value(direction, Json::array());
      return std::ranges::find(pods, Json(pod)) != pods.end();
    };
    const Store tables = compile(faulty);
    const Store before = compile(whole);
    for (const auto& [from, source] : faulty.pods) {
      for (const auto& [to, destination] : faulty.pods) {
        if (from == to) continue;
        const Probe probe{.from = {.pod = from, .address = {}},
                          .to = {.pod = to, .address = {}},
                          .network = network_,
                          .v6 = false,
                          .protocol = kTcp,
                          .port = kOpenPort};
        const auto by_tables = tables.ask(probe);
        const auto by_oracle = ask_oracle(faulty, probe);
        const auto was = before.ask(probe);
        ASSERT_TRUE(by_tables && by_oracle && was) << from << " to " << to;
        const bool expected = !is_closed("egress", from) && !is_closed("ingress", to) && was->allowed();
        EXPECT_EQ(*by_tables, *by_oracle) << from << " to " << to;
        EXPECT_EQ(by_tables->allowed(), expected) << from << " to " << to << ": " << to_json(*by_tables);
      }
    }
  }

  static constexpr std::uint16_t kOpenPort = 80;
  const Json& given_;
  std::string network_;
  std::map<std::string, Json> world_;
};

class PolicyInvalid : public ::testing::TestWithParam<std::string> {};

TEST_P(PolicyInvalid, FieldIsReportedAndClosesItsOwnPodsAlone) {
  const std::vector<Json> tables = test::policy_documents("invalid/" + GetParam());
  ASSERT_FALSE(tables.empty());
  for (const Json& given : tables) {
    SCOPED_TRACE(given["case"].get<std::string>());
    for (const std::string action : given.value("actions", Json::array({""}))) Table(given).check(action);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, PolicyInvalid, ::testing::ValuesIn(test::policy_case_files("invalid")));

}  // namespace
}  // namespace vmlane::policy
