// SPDX-License-Identifier: Apache-2.0
// The store as its users meet it, and a reader at work while publications are written.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>

#include "policy/store.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_reader.h"
#include "tests/support/policy_world.h"

namespace vmlane::policy {
namespace {

using Block = std::vector<std::uint64_t>;
using Answers = std::vector<test::PolicyAnswer>;

// What a writer and a reader share: the block, and how far each is.
class Exchange {
 public:
  explicit Exchange(std::vector<test::PolicyQuestion> questions) : questions_(std::move(questions)) {}

  // Writer: the answers before and after, then the writing, phase by phase.
  void publish(const Publication& publication) {
    const auto after = std::make_shared<const Answers>(test::policy_answers(publication.block, questions_));
    set_expected(latest_ == nullptr ? after : latest_, after);
    if (publication.whole) {
      auto next = std::make_unique<Block>(publication.block.begin(), publication.block.end());
      block_.store(next.get(), std::memory_order_release);
      wait_for_reader();
      owned_ = std::move(next);
    }
    for (const Phase& phase : publication.phases) {
      write_phase(*owned_, phase);
      wait_for_reader();
    }
    latest_ = after;
    set_expected(after, after);
    wait_for_reader();
  }

  // Reader, until the writer has finished: every answer is one of before or of after.
  void read() {
    std::mt19937 random(1);
    while (!done_.load(std::memory_order_acquire)) {
      turn_.fetch_add(1, std::memory_order_acq_rel);  // odd: at work
      const Block* block = block_.load(std::memory_order_acquire);
      const std::size_t number = random() % questions_.size();
      if (block != nullptr) {
        const auto expected = std::atomic_load(&expected_);
        const auto answer = test::policy_answer(*block, questions_[number]);
        if (answer != (*expected->first)[number] && answer != (*expected->second)[number]) wrong_++;
        judged_++;
      }
      turn_.fetch_add(1, std::memory_order_acq_rel);
    }
  }

  void finish() { done_.store(true, std::memory_order_release); }
  int wrong() const { return wrong_; }
  int judged() const { return judged_; }

 private:
  using Expected = std::pair<std::shared_ptr<const Answers>, std::shared_ptr<const Answers>>;

  void set_expected(std::shared_ptr<const Answers> before, std::shared_ptr<const Answers> after) {
    std::atomic_store(&expected_, std::make_shared<const Expected>(std::move(before), std::move(after)));
    wait_for_reader();
  }

  void wait_for_reader() const {
    const std::uint64_t turn = turn_.load(std::memory_order_acquire);
    while (turn % 2 == 1 && turn_.load(std::memory_order_acquire) == turn) std::this_thread::yield();
  }

  std::vector<test::PolicyQuestion> questions_;
  std::atomic<const Block*> block_ = nullptr;
  std::unique_ptr<Block> owned_;
  std::shared_ptr<const Answers> latest_;
  std::shared_ptr<const Expected> expected_;
  std::atomic<std::uint64_t> turn_ = 0;
  std::atomic<bool> done_ = false;
  std::atomic<int> wrong_ = 0;
  std::atomic<int> judged_ = 0;
};

TEST(PolicyStore, ReaderSeesOldOrNewVerdictsWhileTheBlockIsWritten) {
  test::PolicyWorld world(7);
  Store store;
  for (const Json& object : world.objects()) store.apply(Change::of(object, "test"));
  std::mt19937 random(7);
  // Pods that change ask nothing, so that no question is about a pod and itself.
  std::vector<test::PolicyQuestion> questions = test::policy_questions(random, 1000);
  const auto of_changing = [&](const test::PolicyQuestion& question) {
    for (const char* pod : {"x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/c"}) {
      for (const char* network : {"default", "x/blue", "y/red"}) {
        if (store.endpoint(pod, network) == question.endpoint) return false;
      }
    }
    return true;
  };
  std::erase_if(questions, of_changing);
  Exchange exchange(questions);
  std::jthread reader([&] { exchange.read(); });
  exchange.publish(store.publish());
  int in_place = 0;
  for (int round = 0; round < test::rounds(300, 20'000); round++) {
    Json object = round % 3 == 0
                      ? world.random_policy()
                      : world.random_pod("z", std::string(1, static_cast<char>('a' + random() % 2)));
    if (round % 3 == 0) object["metadata"]["name"] = "changing";
    Change change = Change::of(object, "test");
    if (round % 7 == 0) change.object.reset();
    store.apply(change);
    const Publication publication = store.publish();
    in_place += publication.whole ? 0 : 1;
    exchange.publish(publication);
  }
  exchange.finish();
  reader.join();
  EXPECT_EQ(exchange.wrong(), 0);
  EXPECT_GT(exchange.judged(), 1000);
  EXPECT_GT(in_place, 50);
}

Json pod(const std::string& name, const Json& labels, const std::string& address) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"name", name}, {"namespace", "x"}, {"labels", labels}}},
          {"status", {{"phase", "Running"}, {"podIP", address}}}};
}

Json policy(const Json& spec) {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"name", "guard"}, {"namespace", "x"}}},
          {"spec", spec}};
}

class PolicyStoreOfTwo : public ::testing::Test {
 protected:
  void SetUp() override {
    give(pod("web", {{"app", "web"}}, "192.0.2.1"));
    give(pod("client", {{"app", "client"}}, "192.0.2.2"));
    store_.publish();
  }
  void give(const Json& object) { store_.apply(Change::of(object, "api")); }
  void take(const Json& object) {
    Change change = Change::of(object, "api");
    change.object.reset();
    store_.apply(change);
  }
  bool allowed() const {
    const auto probe = parse_probe({{"from", "x/client"}, {"to", "x/web"}, {"port", 80}}, "probe");
    return store_.ask(*probe)->allowed();
  }

  const Json guard_ =
      policy({{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
              {"ingress", {{{"from", {{{"podSelector", {{"matchLabels", {{"app", "friend"}}}}}}}}}}}});
  Store store_;
};

TEST_F(PolicyStoreOfTwo, ChangesTakeEffectWhenTheyArePublished) {
  EXPECT_TRUE(allowed());
  give(guard_);
  EXPECT_TRUE(allowed());
  EXPECT_FALSE(store_.publish().whole);
  EXPECT_FALSE(allowed());
  give(pod("client", {{"app", "friend"}}, "192.0.2.2"));
  store_.publish();
  EXPECT_TRUE(allowed());
  take(guard_);
  store_.publish();
  EXPECT_TRUE(allowed());
}

TEST_F(PolicyStoreOfTwo, AnObjectThatIsAsItWasChangesNothing) {
  give(guard_);
  const std::uint64_t generation = store_.publish().generation;
  give(guard_);
  give(pod("web", {{"app", "web"}}, "192.0.2.1"));
  const Publication publication = store_.publish();
  EXPECT_EQ(publication.generation, generation);
  EXPECT_TRUE(publication.phases.empty());
}

TEST_F(PolicyStoreOfTwo, WhatCannotBeReadIsReportedAndMended) {
  Json broken = guard_;
  broken["spec"]["ingress"][0]["from"] = 7;
  give(broken);
  store_.publish();
  EXPECT_FALSE(allowed());
  ASSERT_EQ(store_.problems().size(), 1U);
  EXPECT_EQ(store_.problems()[0].id, "x/guard");
  EXPECT_EQ(store_.problems()[0].key, "spec.ingress[0].from");
  EXPECT_EQ(store_.problems()[0].source, "api");
  take(broken);
  store_.publish();
  EXPECT_TRUE(allowed());
  EXPECT_TRUE(store_.problems().empty());
}

TEST_F(PolicyStoreOfTwo, TheEndpointOfAPodThatWentGetsNothingThrough) {
  const std::uint32_t endpoint = store_.endpoint("x/web", "default").value();
  take(pod("web", {}, "192.0.2.1"));
  const auto block = store_.publish().block;
  EXPECT_FALSE(store_.endpoint("x/web", "default"));
  const auto answer = test::policy_answer(block, {.endpoint = endpoint, .port = 80, .protocol = kTcp});
  EXPECT_EQ(answer.allowed, 0U);
  EXPECT_EQ(answer.reason, static_cast<std::uint32_t>(VMLANE_POLICY_BROKEN));
}

TEST_F(PolicyStoreOfTwo, EndpointsKeepTheirNumbersInABlockMadeAnew) {
  const std::uint32_t endpoint = store_.endpoint("x/client", "default").value();
  bool whole = false;
  for (int i = 0; i < 200 && !whole; i++) {
    give(pod("p" + std::to_string(i), {}, "198.51.100." + std::to_string(i)));
    whole = store_.publish().whole;
  }
  EXPECT_TRUE(whole);
  EXPECT_EQ(store_.endpoint("x/client", "default"), endpoint);
  give(guard_);
  store_.publish();
  EXPECT_FALSE(allowed());
}

}  // namespace
}  // namespace vmlane::policy
