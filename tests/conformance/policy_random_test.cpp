// SPDX-License-Identifier: Apache-2.0
// The tables against the oracle on random objects: neither knows the other.
#include <gtest/gtest.h>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_world.h"

namespace vmlane::policy {
namespace {

constexpr int kProbesOfAWorld = 500;

std::string text_of(const std::vector<Json>& objects) {
  std::string text;
  for (const Json& object : objects) text += object.dump() + "\n";
  return text;
}

TEST(PolicyRandom, TablesSayWhatTheOracleSays) {
  int allowed = 0;
  int by_rule = 0;
  const int worlds = test::rounds(300, 10'000);
  for (int seed = 0; seed < worlds; seed++) {
    test::PolicyWorld world(static_cast<unsigned>(seed));
    const std::vector<Json> json = world.objects();
    Objects objects;
    for (const Json& object : json) add_object(objects, object, "random");
    const Store compiled = compile(objects);
    for (int i = 0; i < kProbesOfAWorld; i++) {
      const Json asked = world.probe();
      const auto probe = parse_probe(asked, "probe");
      ASSERT_TRUE(probe) << probe.error().text() << asked;
      const auto expected = ask_oracle(objects, *probe);
      const auto found = compiled.ask(*probe);
      ASSERT_TRUE(expected && found);
      ASSERT_EQ(to_json(*found), to_json(*expected)) << "seed " << seed << "\n"
                                                     << asked << "\n"
                                                     << text_of(json);
      allowed += expected->allowed() ? 1 : 0;
      by_rule +=
          expected->ingress.reason == Reason::kRule || expected->egress.reason == Reason::kRule ? 1 : 0;
    }
  }
  // The worlds are worth asking only if both answers are common.
  const int probes = worlds * kProbesOfAWorld;
  EXPECT_GT(allowed, probes / 10);
  EXPECT_LT(allowed, probes * 9 / 10);
  EXPECT_GT(by_rule, probes / 10);
}

// Places of all values below `json`.
void places(const Json& json, const Json::json_pointer& at, std::vector<Json::json_pointer>& into) {
  into.push_back(at);
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) places(value, at / key, into);
  } else if (json.is_array()) {
    for (std::size_t i = 0; i < json.size(); i++) places(json[i], at / i, into);
  }
}

Objects read(const std::vector<Json>& json) {
  Objects objects;
  for (const Json& object : json) add_object(objects, object, "random");
  return objects;
}

// A number stands nowhere in a policy but for a port or a priority, and this one is neither.
TEST(PolicyRandom, BreakingAPolicyAllowsNothingMore) {
  int broken_ones = 0;
  for (int seed = 0; seed < test::rounds(300, 20'000); seed++) {
    test::PolicyWorld world(static_cast<unsigned>(seed));
    std::vector<Json> json = world.objects();
    json.push_back(world.random_policy());
    const Objects whole = read(json);
    std::vector<Json::json_pointer> all;
    places(json.back()["spec"], Json::json_pointer("/spec"), all);
    const auto& place = all[static_cast<std::size_t>(seed) * 7919 % all.size()];
    // A cluster's policy whose subject is not told is about nobody.
    const bool subject = place.to_string() == "/spec/subject" || place.to_string() == "/spec/subject/pods";
    if (subject || (place.to_string() == "/spec" && !json.back()["metadata"].contains("namespace"))) continue;
    json.back()[place] = -7;
    const Objects broken = read(json);
    const auto is_new = [&](const Problem& problem) {
      return std::ranges::find(whole.problems, problem) == whole.problems.end();
    };
    EXPECT_TRUE(std::ranges::any_of(broken.problems, is_new)) << place << " of " << json.back();
    broken_ones++;
    const Store compiled = compile(broken);
    for (int i = 0; i < kProbesOfAWorld / 5; i++) {
      const auto probe = parse_probe(world.probe(), "probe");
      ASSERT_TRUE(probe);
      const auto before = ask_oracle(whole, *probe);
      const auto by_oracle = ask_oracle(broken, *probe);
      const auto by_tables = compiled.ask(*probe);
      ASSERT_TRUE(before && by_oracle && by_tables);
      ASSERT_EQ(to_json(*by_tables), to_json(*by_oracle)) << "seed " << seed;
      ASSERT_TRUE(before->allowed() || !by_tables->allowed())
          << "seed " << seed << ", " << place << " of " << json.back();
    }
  }
  EXPECT_GT(broken_ones, 200);
}

TEST(PolicyRandom, OrderOfObjectsDoesNotMatter) {
  for (int seed = 0; seed < test::rounds(30, 1'000); seed++) {
    test::PolicyWorld world(static_cast<unsigned>(seed));
    std::vector<Json> json = world.objects();
    Objects first;
    for (const Json& object : json) add_object(first, object, "random");
    std::ranges::reverse(json);
    Objects second;
    for (const Json& object : json) add_object(second, object, "random");
    Store one = compile(first);
    Store other = compile(second);
    EXPECT_TRUE(std::ranges::equal(one.publish().block, other.publish().block)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace vmlane::policy
