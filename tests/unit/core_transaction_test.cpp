// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <csignal>

#include "core/transaction.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

class TransactionTest : public ::testing::Test {
 protected:
  // Runs three steps "a", "b", "c" and notes what happens; commits when all succeed and `commit`.
  Result<> run(const std::string& fault, bool commit = true) {
    VMLANE_ASSIGN(const FaultPoint point, FaultPoint::parse(fault));
    Transaction transaction(log_, point);
    for (const char* name : {"a", "b", "c"}) {
      VMLANE_TRY(transaction.step(
          name, [this, name]() -> Result<> { return note(std::string("+") + name); },
          [this, name]() -> Result<> { return note(std::string("-") + name); }));
    }
    if (commit) transaction.commit();
    return {};
  }
  Result<> note(const std::string& what) {
    events_ += what;
    return {};
  }
  Log log_;
  std::string events_;
};

TEST_F(TransactionTest, CommittedStepsStay) {
  EXPECT_TRUE(run(""));
  EXPECT_EQ(events_, "+a+b+c");
}

TEST_F(TransactionTest, WithoutCommitUndosRunInReverse) {
  EXPECT_TRUE(run("", false));
  EXPECT_EQ(events_, "+a+b+c-c-b-a");
}

TEST_F(TransactionTest, FailedStepUndoesThoseBeforeItOnly) {
  const auto failed = run("fail:3");
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("VMLANE_FAULT"), std::string::npos);
  EXPECT_EQ(events_, "+a+b-b-a");
}

TEST_F(TransactionTest, FaultBeyondTheLastStepChangesNothing) {
  EXPECT_TRUE(run("fail:4"));
  EXPECT_TRUE(run("kill-before:4"));
  EXPECT_TRUE(run("kill-after:4"));
}

TEST_F(TransactionTest, ErrorOfAStepIsReturnedAndUndone) {
  Transaction transaction(log_, FaultPoint());
  ASSERT_TRUE(transaction.step(
      "a", [this] { return note("+a"); }, [this] { return note("-a"); }));
  const auto failed = transaction.step(
      "b", []() -> Result<> { return fail(Code::kKernel, "refused"); }, [this] { return note("-b"); });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "refused");
  transaction.rollback();
  transaction.rollback();
  EXPECT_EQ(events_, "+a-a") << "the failed step has no undo, and no undo runs twice";
}

TEST_F(TransactionTest, UndoThatFailsStopsNoOtherAndIsLogged) {
  test::TemporaryDirectory directory;
  NodeConfig config;
  config.log_file = directory.path() / "log";
  const Log log(config, "p");
  {
    Transaction transaction(log, FaultPoint());
    ASSERT_TRUE(transaction.step(
        "a", [this] { return note("+a"); }, [this] { return note("-a"); }));
    ASSERT_TRUE(transaction.step(
        "b", [this] { return note("+b"); }, []() -> Result<> { return fail(Code::kKernel, "busy"); }));
  }
  EXPECT_EQ(events_, "+a+b-a");
  EXPECT_NE(test::slurp(config.log_file).find("busy"), std::string::npos);
}

TEST_F(TransactionTest, StepsWithoutUndoAreFine) {
  Transaction transaction(log_, FaultPoint());
  ASSERT_TRUE(transaction.step("a", [this] { return note("+a"); }));
  transaction.rollback();
  EXPECT_EQ(events_, "+a");
}

using FaultDeathTest = TransactionTest;

// A step of the death tests says on standard error that it ran, since the process that runs it is gone
// afterwards.
Result<> say(const char* what) {
  std::fputs(what, stderr);
  return {};
}

void die_at(const std::string& fault) {
  const Log log;
  Transaction transaction(log, *FaultPoint::parse(fault));
  static_cast<void>(transaction.step(
      "a", [] { return say("+a"); }, [] { return say("-a"); }));
  static_cast<void>(transaction.step(
      "b", [] { return say("+b"); }, [] { return say("-b"); }));
}

TEST_F(FaultDeathTest, KillBeforeDiesWithoutTheStepAndWithoutUndos) {
  EXPECT_EXIT(die_at("kill-before:2"), ::testing::KilledBySignal(SIGKILL), "^\\+a$");
}

TEST_F(FaultDeathTest, KillAfterDiesWithTheStepDone) {
  EXPECT_EXIT(die_at("kill-after:2"), ::testing::KilledBySignal(SIGKILL), "^\\+a\\+b$");
}

TEST_F(TransactionTest, UnreadableFaultsAreErrors) {
  for (const char* text : {"kill", "kill-before", "kill-before:", "kill-before:0", "kill-before:-1",
                           "kill-before:x", "fail:1x", "die:1", ":1", "fail:99999999999999"}) {
    const auto fault = FaultPoint::parse(text);
    ASSERT_FALSE(fault) << text;
    EXPECT_EQ(fault.error().code, Code::kBadEnvironment);
    EXPECT_NE(fault.error().message.find(text), std::string::npos);
  }
}

TEST(ErrorTest, TextShowsMessageDetailsAndCauses) {
  const Error inner{Code::kKernel, "no such link", "br1", nullptr};
  const Error outer = inner.wrap("cannot attach");
  EXPECT_EQ(outer.code, Code::kKernel);
  EXPECT_EQ(outer.text(), "cannot attach: no such link (br1)");
  EXPECT_EQ(kernel_error("cannot make br1", EEXIST).code, Code::kKernel);
  EXPECT_EQ(io_error("cannot open x", ENOENT).message, "cannot open x: No such file or directory");
}

}  // namespace
}  // namespace vmlane
