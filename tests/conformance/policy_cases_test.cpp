// SPDX-License-Identifier: Apache-2.0
// The cases of tests/conformance/policy, each asked of the oracle, of tables that are made for it, and of
// tables that come about by changing from one step to the next.
#include "tests/support/policy_cases.h"

#include <gtest/gtest.h>

#include <map>

#include "policy/oracle.h"
#include "policy/store.h"

namespace vmlane::policy {
namespace {

using test::PolicyCase;
using test::PolicyExpectation;
using test::PolicyStep;

// From one moment's objects to the next one's.
void change(Store& store, const std::map<std::string, Json>& before, const std::map<std::string, Json>& now) {
  for (const auto& [name, object] : before) {
    if (now.contains(name)) continue;
    Change gone = Change::of(object, name);
    gone.object.reset();
    store.apply(gone);
  }
  for (const auto& [name, object] : now) {
    const auto known = before.find(name);
    if (known == before.end() || known->second != object) store.apply(Change::of(object, name));
  }
  store.publish();
}

void check(const Store& changed, const Store& fresh, const Objects& objects,
           const PolicyExpectation& expected) {
  const auto by_fresh = fresh.ask(expected.probe);
  const auto by_changed = changed.ask(expected.probe);
  const auto by_oracle = ask_oracle(objects, expected.probe);
  ASSERT_TRUE(by_fresh && by_changed && by_oracle) << expected.text;
  EXPECT_EQ(by_fresh->allowed(), expected.allowed) << "tables: " << expected.text << to_json(*by_fresh);
  EXPECT_EQ(by_oracle->allowed(), expected.allowed) << "oracle: " << expected.text << to_json(*by_oracle);
  EXPECT_EQ(*by_fresh, *by_oracle) << expected.text;
  EXPECT_EQ(*by_changed, *by_fresh) << expected.text;
}

class PolicyCases : public ::testing::TestWithParam<std::string> {};

TEST_P(PolicyCases, TablesAndOracleSayWhatIsExpected) {
  const std::vector<PolicyCase> cases = test::policy_cases(GetParam());
  ASSERT_FALSE(cases.empty());
  for (const PolicyCase& one : cases) {
    Store changed;
    std::map<std::string, Json> before;
    for (std::size_t step = 0; step < one.steps.size(); step++) {
      SCOPED_TRACE(one.name + ", step " + std::to_string(step + 1));
      const Objects objects = test::policy_objects(one.steps[step]);
      const Store fresh = compile(objects);
      change(changed, before, one.steps[step].objects);
      before = one.steps[step].objects;
      for (const PolicyExpectation& expected : one.steps[step].expectations)
        check(changed, fresh, objects, expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, PolicyCases, ::testing::ValuesIn(test::policy_case_files()));

}  // namespace
}  // namespace vmlane::policy
