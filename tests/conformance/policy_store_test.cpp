// SPDX-License-Identifier: Apache-2.0
// A store that objects are added to, changed in and removed from, against a fresh one and the oracle; and
// what a reader sees while a publication is written.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_reader.h"
#include "tests/support/policy_world.h"

namespace vmlane::policy {
namespace {

struct Own {
  std::set<std::uint32_t> endpoints;
  std::set<IpAddress> addresses;
};

// Whether it is about a pod and itself, which no datapath asks.
bool about_itself(const test::PolicyQuestion& question, const std::map<std::string, Own>& pods) {
  return std::ranges::any_of(pods, [&](const auto& pod) {
    const auto is_peer = [&](const IpAddress& address) {
      return address.v6 == (question.v6 != 0) && test::question_words(address) == question.peer;
    };
    return pod.second.endpoints.contains(question.endpoint) &&
           std::ranges::any_of(pod.second.addresses, is_peer);
  });
}

// A world whose objects change, and how often each way of publishing came about.
class ChangingWorld {
 public:
  explicit ChangingWorld(unsigned seed) : world_(seed), random_(seed) {
    for (const Json& object : world_.objects()) give(object);
  }

  Store& store() { return store_; }
  Json probe() { return world_.probe(); }

  // One object more, less or other than before.
  void change() {
    const int what = below(10);
    if (what < 4) {
      give(below(8) == 0 ? broken(any_pod()) : any_pod());
    } else if (what < 5) {
      give(world_.random_namespace(any_namespace()));
    } else if (what < 6) {
      give(world_.random_node(below(2) == 0 ? "n1" : "n2"));
    } else if (what < 8) {
      give(below(8) == 0 ? broken(world_.random_policy()) : world_.random_policy());
    } else {
      take_one();
    }
  }

  Objects objects() const {
    Objects objects;
    for (const auto& [key, object] : objects_) add_object(objects, object, "random");
    return objects;
  }
  // What is a pod's own, added to what has been its own before.
  void collect_own(std::map<std::string, Own>& own) const {
    for (const auto& [id, pod] : objects().pods) {
      for (const PodInterface& interface : pod.interfaces) {
        if (const auto endpoint = store_.endpoint(id, interface.network)) own[id].endpoints.insert(*endpoint);
        for (const IpAddress& address : interface.addresses) own[id].addresses.insert(address);
      }
    }
  }
  const std::string& last_change() const { return last_change_; }
  std::string text() const {
    std::string text;
    for (const auto& [key, object] : objects_) text += object.dump() + "\n";
    return text;
  }

 private:
  int below(int count) { return std::uniform_int_distribution<int>(0, count - 1)(random_); }
  std::string any_namespace() { return std::string(1, static_cast<char>('x' + below(3))); }
  Json any_pod() {
    return world_.random_pod(any_namespace(), std::string(1, static_cast<char>('a' + below(3))));
  }

  Json broken(Json object) {
    if (object["kind"] == "Pod") {
      object["metadata"]["labels"] = 7;
    } else {
      object["spec"][below(2) == 0 ? "ingress" : "podSelector"] = 7;
    }
    return object;
  }

  void give(const Json& object) {
    const Change change = Change::of(object, "random");
    const Json& before = objects_[change.kind + " " + change.ns + "/" + change.name];
    last_change_ = before.dump() + "\n" + object.dump();
    objects_[change.kind + " " + change.ns + "/" + change.name] = object;
    store_.apply(change);
  }

  void take_one() {
    if (objects_.empty()) return;
    const auto found = std::next(objects_.begin(), below(static_cast<int>(objects_.size())));
    Change change = Change::of(found->second, "random");
    last_change_ = found->second.dump() + "\nnull";
    change.object.reset();
    store_.apply(change);
    objects_.erase(found);
  }

  test::PolicyWorld world_;
  std::mt19937 random_;
  std::map<std::string, Json> objects_;
  Store store_;
  std::string last_change_;  // the object before and after it
};

TEST(PolicyStore, SaysAfterAnyChangesWhatAFreshOneAndTheOracleSay) {
  int whole = 0;
  int in_place = 0;
  for (int seed = 0; seed < test::rounds(40, 2'000); seed++) {
    ChangingWorld world(static_cast<unsigned>(seed));
    std::vector<std::uint64_t> copy;
    std::mt19937 random(static_cast<unsigned>(seed));
    for (int step = 0; step < 30; step++) {
      for (int i = static_cast<int>(random() % 3); i >= 0; i--) world.change();
      const Publication publication = world.store().publish();
      if (publication.whole) copy.assign(publication.block.begin(), publication.block.end());
      for (const Phase& phase : publication.phases) write_phase(copy, phase);
      (publication.whole ? whole : in_place)++;
      ASSERT_TRUE(std::ranges::equal(copy, publication.block)) << "seed " << seed << " step " << step;
      const Objects objects = world.objects();
      const Store fresh = compile(objects);
      ASSERT_EQ(world.store().problems(), fresh.problems()) << "seed " << seed << " step " << step;
      for (int i = 0; i < 40; i++) {
        const Json asked = world.probe();
        const auto probe = parse_probe(asked, "probe");
        ASSERT_TRUE(probe);
        const auto by_oracle = ask_oracle(objects, *probe);
        const auto by_fresh = fresh.ask(*probe);
        const auto found = world.store().ask(*probe);
        ASSERT_EQ(by_oracle.has_value(), found.has_value());
        if (!found) continue;
        ASSERT_EQ(to_json(*by_fresh), to_json(*by_oracle)) << "seed " << seed << " step " << step;
        ASSERT_EQ(to_json(*found), to_json(*by_oracle))
            << "seed " << seed << " step " << step << asked << "\n"
            << world.text();
      }
    }
  }
  // In so small a world most changes are about most of it.
  EXPECT_GT(in_place, whole);
}

// Each word of a phase is seen old or new, in any order; every verdict must be that of before or of after.
TEST(PolicyStore, NoVerdictInBetweenTwoPublications) {
  int changed = 0;
  for (int seed = 0; seed < test::rounds(30, 1'000); seed++) {
    ChangingWorld world(static_cast<unsigned>(1000 + seed));
    std::mt19937 random(static_cast<unsigned>(seed));
    const std::vector<test::PolicyQuestion> questions = test::policy_questions(random, 300);
    std::vector<std::uint64_t> copy;
    for (int step = 0; step < 40; step++) {
      std::map<std::string, Own> own;
      world.collect_own(own);
      world.change();
      world.collect_own(own);
      const Publication publication = world.store().publish();
      if (publication.whole) {
        copy.assign(publication.block.begin(), publication.block.end());
        continue;
      }
      const auto before = test::policy_answers(copy, questions);
      const auto after = test::policy_answers(publication.block, questions);
      for (const Phase& phase : publication.phases) {
        Phase part;
        for (Line line : phase) {
          for (std::size_t i = 0; i < line.words.size(); i++) {
            if (random() % 2 == 0) line.words[i] = copy[line.offset / sizeof(std::uint64_t) + i];
          }
          part.push_back(line);
        }
        for (const Phase* written : {&std::as_const(part), &phase}) {
          write_phase(copy, *written);
          const auto meanwhile = test::policy_answers(copy, questions);
          for (std::size_t i = 0; i < questions.size(); i++) {
            if (about_itself(questions[i], own)) continue;
            ASSERT_TRUE(meanwhile[i] == before[i] || meanwhile[i] == after[i])
                << "seed " << seed << " step " << step << ": endpoint " << questions[i].endpoint << ", peer "
                << std::hex << questions[i].peer[0] << ":" << questions[i].peer[3] << std::dec << ", port "
                << questions[i].port << ", direction " << int{questions[i].direction} << "\n"
                << test::text_of(before[i]) << "\n"
                << test::text_of(meanwhile[i]) << "\n"
                << test::text_of(after[i]) << "\n"
                << world.last_change();
          }
        }
      }
      for (std::size_t i = 0; i < questions.size(); i++) changed += before[i] == after[i] ? 0 : 1;
    }
  }
  EXPECT_GT(changed, 1000);
}

}  // namespace
}  // namespace vmlane::policy
