// SPDX-License-Identifier: Apache-2.0
// The tables against the oracle on random objects: neither knows the other.
#include <gtest/gtest.h>

#include <algorithm>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/mutants/mutants.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_reader.h"
#include "tests/support/policy_world.h"

namespace vmlane::policy {
namespace {

constexpr int kProbesOfAWorld = 1000;

std::string text_of(const std::vector<Json>& objects) {
  std::string text;
  for (const Json& object : objects) text += object.dump() + "\n";
  return text;
}

TEST(PolicyRandom, TablesSayWhatTheOracleSays) {
  int allowed = 0;
  int by_rule = 0;
  int audited = 0;
  const int worlds = test::rounds(1000, 100'000);
  for (int seed = 0; seed < worlds; seed++) {
    test::PolicyWorld world(static_cast<unsigned>(seed));
    const std::vector<Json> json = world.objects();
    Objects objects;
    for (const Json& object : json) add_object(objects, object, "random");
    const Store compiled = compile(objects);
    for (int i = 0; i < kProbesOfAWorld; i++) {
      const Probe probe = world.quick_probe();
      const auto expected = ask_oracle(objects, probe);
      const auto found = compiled.ask(probe);
      ASSERT_TRUE(expected && found);
      ASSERT_TRUE(*found == *expected)
          << "seed " << seed << ": " << probe.from.to_string() << " to " << probe.to.to_string() << " on "
          << probe.network << ", protocol " << int{probe.protocol} << ", port " << probe.port << "\n"
          << to_json(*found) << "\n"
          << to_json(*expected) << "\n"
          << text_of(json);
      allowed += expected->allowed() ? 1 : 0;
      audited += expected->ingress.audit || expected->egress.audit ? 1 : 0;
      by_rule +=
          expected->ingress.reason == Reason::kRule || expected->egress.reason == Reason::kRule ? 1 : 0;
    }
  }
  // The worlds are worth asking only if both answers are common.
  const int probes = worlds * kProbesOfAWorld;
  EXPECT_GT(allowed, probes / 10);
  EXPECT_LT(allowed, probes * 9 / 10);
  EXPECT_GT(by_rule, probes / 10);
  EXPECT_GT(audited, probes / 100);
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
    // In audit nothing is denied by a policy that is broken.
    for (Json& object : json) {
      if (object["metadata"].contains("annotations"))
        object["metadata"]["annotations"].erase(std::string(kModeAnnotation));
    }
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
    for (int i = 0; i < kProbesOfAWorld / 10; i++) {
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

// A world, and one with so many rules that rows have a summary of more than one word; both have been changed,
// so that slots have been passed on and facts have moved.
std::vector<std::vector<std::uint64_t>> blocks_of(unsigned seed) {
  std::vector<std::vector<std::uint64_t>> blocks;
  for (const bool many : {false, true}) {
    if (many && seed % 20 != 0) break;
    test::PolicyWorld world(seed);
    Store store;
    for (const Json& object : world.objects()) store.apply(Change::of(object, "random"));
    if (many) {
      Json rules = Json::array();
      for (int i = 0; i < 5000; i++) {
        const Json from = {{"ipBlock", {{"cidr", "192.0.2." + std::to_string(i % 24) + "/32"}}}};
        rules.push_back({{"from", {from}}, {"ports", {{{"port", 79 + i / 24 % 8}}}}});
      }
      store.apply(Change::of({{"apiVersion", "networking.k8s.io/v1"},
                              {"kind", "NetworkPolicy"},
                              {"metadata", {{"name", "many"}, {"namespace", "x"}}},
                              {"spec", {{"podSelector", Json::object()}, {"ingress", rules}}}},
                             "random"));
    }
    store.publish();
    for (int change = 0; change < 12; change++) {
      const std::string ns(1, static_cast<char>('x' + change % 3));
      const std::string name(1, static_cast<char>('a' + change / 3 % 3));
      store.apply(Change::of(world.random_pod(ns, name), "random"));
      store.publish();
    }
    const auto block = store.publish().block;
    blocks.emplace_back(block.begin(), block.end());
  }
  return blocks;
}

// What the tests before say of verdict.h they would not say of one with a fault.
TEST(PolicyRandom, EveryMutantOfTheVerdictIsCaught) {
  std::vector<bool> caught(vmlane_mutant_count);
  for (unsigned seed = 0; seed < 200; seed++) {
    std::mt19937 random(seed);
    for (const auto& block : blocks_of(seed)) {
      for (test::PolicyQuestion& question : test::policy_questions(random, 500)) {
        if (random() % 4 == 0 && question.port != 0) question.port += random() % 2 == 0 ? 128 : 256;
        const vmlane_mutant_question asked{
            question.endpoint,
            question.v6,
            {question.peer[0], question.peer[1], question.peer[2], question.peer[3]},
            question.port,
            question.protocol,
            question.direction};
        const test::PolicyAnswer right = test::policy_answer(block, question);
        for (std::uint32_t mutant = 0; mutant < vmlane_mutant_count; mutant++) {
          if (caught[mutant]) continue;
          const auto size = static_cast<std::uint32_t>(block.size() * sizeof(std::uint64_t));
          const auto said = vmlane_mutants[mutant].ask(block.data(), size, &asked);
          caught[mutant] = right != test::PolicyAnswer{said.allowed, said.reason, said.policy, said.rule};
        }
      }
    }
  }
  EXPECT_GE(vmlane_mutant_count, 20U);
  for (std::uint32_t mutant = 0; mutant < vmlane_mutant_count; mutant++)
    EXPECT_TRUE(caught[mutant]) << "mutant " << mutant + 1 << ": " << vmlane_mutants[mutant].place;
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
