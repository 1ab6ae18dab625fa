// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "core/lock.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class LockTest : public ::testing::Test {
 protected:
  fs::path locks() const { return directory_.path() / "locks"; }
  fs::path counter() const { return directory_.path() / "counter"; }
  // Processes that add to a number in a file under a lock lose none.
  void expect_exclusion(int processes, int rounds, bool retire) {
    test::spit(counter(), "0");
    std::vector<pid_t> children;
    for (int i = 0; i < processes; i++) {
      const pid_t pid = ::fork();
      if (pid == 0) {
        for (int round = 0; round < rounds; round++) count(retire);
        ::_exit(0);
      }
      children.push_back(pid);
    }
    for (const pid_t pid : children) {
      int status = -1;
      ::waitpid(pid, &status, 0);
      EXPECT_EQ(status, 0);
    }
    EXPECT_EQ(test::slurp(counter()), std::to_string(processes * rounds));
  }

 private:
  void count(bool retire) const {
    const auto lock = ObjectLock::acquire(locks(), "counter", "x");
    if (!lock) ::_exit(1);
    const int value = std::stoi(test::slurp(counter()));
    std::this_thread::yield();
    test::spit(counter(), std::to_string(value + 1));
    if (retire) lock->retire();
  }
  test::TemporaryDirectory directory_;
};

TEST_F(LockTest, IsFreeAgainAfterItsHolder) {
  {
    const auto lock = ObjectLock::acquire(locks(), "bridge", "br1");
    ASSERT_TRUE(lock) << lock.error().text();
  }
  EXPECT_TRUE(ObjectLock::acquire(locks(), "bridge", "br1", milliseconds(0)));
}

TEST_F(LockTest, TimeoutIsTryAgainLaterAndNamesTheObject) {
  const auto held = ObjectLock::acquire(locks(), "bridge", "br1");
  ASSERT_TRUE(held);
  const auto start = std::chrono::steady_clock::now();
  const auto second = ObjectLock::acquire(locks(), "bridge", "br1", milliseconds(50));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(50));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kTryAgain);
  EXPECT_EQ(static_cast<int>(second.error().code), 11);
  EXPECT_NE(second.error().message.find("br1"), std::string::npos);
}

TEST_F(LockTest, DifferentObjectsDoNotWaitForEachOther) {
  const auto first = ObjectLock::acquire(locks(), "bridge", "br1");
  EXPECT_TRUE(ObjectLock::acquire(locks(), "bridge", "br2", milliseconds(0)));
  EXPECT_TRUE(ObjectLock::acquire(locks(), "attachment", "br1", milliseconds(0)));
}

TEST_F(LockTest, ProcessesExcludeEachOther) {
  expect_exclusion(8, 50, false);
}

TEST_F(LockTest, DeathOfTheHolderFreesTheLock) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto lock = ObjectLock::acquire(locks(), "bridge", "br1");
    test::spit(counter(), lock ? "held" : "refused");
    for (;;) ::pause();
  }
  ASSERT_TRUE(test::eventually([&] { return test::slurp(counter()) == "held"; }));
  EXPECT_FALSE(ObjectLock::acquire(locks(), "bridge", "br1", milliseconds(10)));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  EXPECT_TRUE(ObjectLock::acquire(locks(), "bridge", "br1", milliseconds(1000)));
}

TEST_F(LockTest, F021_NamesFromOutsideStayInsideTheDirectory) {
  for (const char* name : {"../../x", "/etc/passwd", "..", "", "a\nb"}) {
    ASSERT_TRUE(ObjectLock::acquire(locks(), "network", name)) << name;
  }
  EXPECT_TRUE(ObjectLock::acquire(locks(), "network", std::string(10'000, 'a')));
  for (const auto& entry : fs::recursive_directory_iterator(locks().parent_path())) {
    const fs::path inside = fs::relative(entry.path(), locks().parent_path());
    EXPECT_EQ(inside.begin()->string(), "locks") << entry.path();
  }
}

TEST_F(LockTest, SharedHoldersExcludeOnlyTheExclusiveOne) {
  using Mode = ObjectLock::Mode;
  {
    const auto first = ObjectLock::acquire(locks(), "network", "blue", milliseconds(0), Mode::kShared);
    const auto second = ObjectLock::acquire(locks(), "network", "blue", milliseconds(0), Mode::kShared);
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(ObjectLock::acquire(locks(), "network", "blue", milliseconds(10)));
  }
  const auto exclusive = ObjectLock::acquire(locks(), "network", "blue", milliseconds(0));
  ASSERT_TRUE(exclusive);
  EXPECT_FALSE(ObjectLock::acquire(locks(), "network", "blue", milliseconds(10), Mode::kShared));
}

TEST_F(LockTest, RetiredLockLeavesNoFileAndAWaiterGetsANewOne) {
  std::optional<ObjectLock> held;
  {
    auto lock = ObjectLock::acquire(locks(), "attachment", "a");
    ASSERT_TRUE(lock);
    held.emplace(std::move(*lock));
  }
  std::atomic<bool> got = false;
  std::thread waiter([&] {
    const auto lock = ObjectLock::acquire(locks(), "attachment", "a", milliseconds(5000));
    got = lock.has_value();
    // Held by a file that everybody else sees, not by the one that was removed.
    EXPECT_FALSE(ObjectLock::acquire(locks(), "attachment", "a", milliseconds(10)));
    lock->retire();
  });
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(got);
  held->retire();
  held.reset();
  waiter.join();
  EXPECT_TRUE(got);
  EXPECT_TRUE(fs::is_empty(locks()));
}

TEST_F(LockTest, ProcessesThatRetireTheirLockExcludeEachOther) {
  expect_exclusion(6, 100, true);
}

TEST_F(LockTest, SomethingElseInThePlaceOfTheDirectoryIsAnError) {
  test::spit(locks(), "a file");
  const auto lock = ObjectLock::acquire(locks(), "bridge", "br1");
  ASSERT_FALSE(lock);
  EXPECT_NE(lock.error().message.find(locks().string()), std::string::npos);
}

}  // namespace
}  // namespace vmlane
