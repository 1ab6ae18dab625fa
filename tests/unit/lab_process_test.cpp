// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/process.h"
#include "tests/support/host.h"

namespace vmlane::lab {
namespace {

using namespace std::chrono_literals;

class LabProcess : public ::testing::Test {
 protected:
  Daemon daemon(std::vector<std::string> command) const {
    return {.command = std::move(command), .output = output_.get()};
  }
  static Result<> record_nothing(const ProcessRef&) { return {}; }

  test::TemporaryDirectory directory_;
  std::filesystem::path log_ = directory_.path() / "log";
  Fd output_{::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
};

TEST_F(LabProcess, RunsInASessionOfItsOwnAndStops) {
  const auto started = start_daemon(daemon({"sh", "-c", "echo up; exec sleep 100"}), record_nothing);
  ASSERT_TRUE(started) << started.error().text();
  EXPECT_TRUE(is_alive(*started));
  EXPECT_EQ(::getsid(started->pid), started->pid);
  EXPECT_TRUE(test::eventually([&] { return test::slurp(log_) == "up\n"; }));
  EXPECT_TRUE(stop_processes({*started}, 5s));
  EXPECT_FALSE(is_alive(*started));
  EXPECT_TRUE(stop_processes({*started}, 5s));
}

TEST_F(LabProcess, ProcessThatIgnoresTermIsKilled) {
  const auto started = start_daemon(
      daemon({"sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"}), record_nothing);
  ASSERT_TRUE(started) << started.error().text();
  ASSERT_TRUE(test::eventually([&] { return test::slurp(log_) == "up\n"; }));
  EXPECT_TRUE(stop_processes({*started}, 100ms));
  EXPECT_FALSE(is_alive(*started));
}

TEST_F(LabProcess, ALaterProcessOfTheSameNumberIsLeftAlone) {
  const auto started = start_daemon(daemon({"sleep", "100"}), record_nothing);
  ASSERT_TRUE(started);
  const ProcessRef earlier{started->pid, started->start_time - 1};
  EXPECT_FALSE(is_alive(earlier));
  EXPECT_TRUE(stop_processes({earlier}, 5s));
  EXPECT_TRUE(is_alive(*started));
  EXPECT_TRUE(stop_processes({*started}, 5s));
}

TEST_F(LabProcess, MissingProgramIsNamed) {
  const auto started = start_daemon(daemon({"no-such-program"}), record_nothing);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().text().find("no-such-program"), std::string::npos) << started.error().text();
}

TEST_F(LabProcess, ErrorOfThePreparationComesBack) {
  Daemon broken = daemon({"true"});
  broken.prepare = [] { return fail(Code::kKernel, "tap0 is busy"); };
  const auto started = start_daemon(broken, record_nothing);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "tap0 is busy");
}

TEST_F(LabProcess, WhatCannotBeRecordedDoesNotRun) {
  ProcessRef seen;
  const auto started =
      start_daemon(daemon({"sh", "-c", "echo ran"}), [&](const ProcessRef& process) -> Result<> {
        seen = process;
        return fail(Code::kIo, "disk full");
      });
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "disk full");
  EXPECT_TRUE(test::eventually([&] { return !is_alive(seen); }));
  EXPECT_EQ(test::slurp(log_), "");
  ::waitpid(seen.pid, nullptr, 0);
}

}  // namespace
}  // namespace vmlane::lab
