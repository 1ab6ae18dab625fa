// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

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

// Opens descriptors until the next one gets `number` or, when that is taken, a later one.
std::vector<Fd> occupy_below(int number) {
  std::vector<Fd> taken;
  for (int last = -1; last < number - 1;) {
    taken.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    last = taken.back().get();
  }
  return taken;
}

// Whatever number the preparation's own descriptors happen to get, closing them must not take away what the
// program is to have.
TEST_F(LabProcess, ProgramHasItsDescriptorsWhateverIsOpenWhereTheyGo) {
  constexpr int kFirst = 7;  // sh reads numbers of one digit
  constexpr int kCount = 3;
  std::string expected;
  for (int start = 3; start <= kFirst + 2 * kCount; start++) {
    SCOPED_TRACE("first free descriptor " + std::to_string(start));
    const auto taken = occupy_below(start);
    std::vector<Fd> files;
    Daemon reader = daemon({"sh", "-c", "cat <&7; cat <&8; cat <&9"});
    for (int i = 0; i < kCount; i++) {
      const auto file = directory_.path() / std::to_string(i);
      test::spit(file, "file " + std::to_string(i) + "\n");
      files.emplace_back(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
      // The last file first, so that their own numbers and those they go to cross.
      reader.descriptors.push_back({files.back().get(), kFirst + kCount - 1 - i});
    }
    reader.prepare = []() -> Result<> {
      const Fd passing(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
      return {};
    };
    const auto started = start_daemon(reader, record_nothing);
    ASSERT_TRUE(started) << started.error().text();
    expected += "file 2\nfile 1\nfile 0\n";
    EXPECT_TRUE(test::eventually([&] { return !is_alive(*started); }));
    ASSERT_EQ(test::slurp(log_), expected);
    ::waitpid(started->pid, nullptr, 0);
  }
}

// As a service starts it, without standard streams of its own.
TEST_F(LabProcess, StandardStreamsAreSetWhenTheCallerHasNone) {
  const pid_t caller = ::fork();
  ASSERT_GE(caller, 0);
  if (caller == 0) {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(stream);
    const auto started = start_daemon(daemon({"sh", "-c", "echo out; echo err >&2; cat"}), record_nothing);
    ::_exit(started ? 0 : 1);
  }
  int status = -1;
  ::waitpid(caller, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(test::eventually([&] { return test::slurp(log_) == "out\nerr\n"; })) << test::slurp(log_);
}

}  // namespace
}  // namespace vmlane::lab
