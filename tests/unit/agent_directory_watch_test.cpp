// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <atomic>
#include <thread>

#include "agent/directory_watch.h"
#include "tests/support/host.h"

namespace vmlane::agent {
namespace {

TEST(DirectoryWatchTest, TellsOfEveryFileWhileItIsAskedAllTheTime) {
  const test::TemporaryDirectory root;
  auto watch = DirectoryWatch::open(root.path());
  ASSERT_TRUE(watch) << watch.error().text();
  watch->drain();
  constexpr int kFiles = 30'000;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    // A symbolic link comes with a single event.
    for (int i = 0; i < kFiles; i++) EXPECT_EQ(::symlink("x", (root.path() / std::to_string(i)).c_str()), 0);
    done = true;
  });
  std::set<std::string> told;
  bool ended = false;
  do {
    ended = done;
    DirectoryEvents events = watch->drain();
    EXPECT_FALSE(events.everything) << "events were lost, and the kernel says so";
    told.merge(events.names);
  } while (!ended);
  writer.join();
  EXPECT_EQ(told.size(), kFiles);
}

}  // namespace
}  // namespace vmlane::agent
