// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/files.h"

// Child processes of tests. Nothing here goes through a shell.
namespace vmlane::test {

struct RunOptions {
  std::string input;         // standard input
  bool close_stdin = false;  // start the child without descriptor 0
  bool hold_stdin = false;   // standard input never ends: the child must not wait for it
  std::string netns;         // path of the network namespace to start in, empty for the caller's
  std::optional<std::map<std::string, std::string>> env;         // the whole environment; unset: the caller's
  std::optional<uid_t> uid;                                      // uid and gid to start as
  std::string directory;                                         // working directory, empty for the caller's
  std::chrono::milliseconds timeout = std::chrono::seconds(60);  // then SIGKILL
  std::string stdout_path;  // standard output goes to this file instead of into `out`
};

struct RunResult {
  int status = -1;  // exit status; -1 when a signal ended the process
  int signal = 0;
  bool timed_out = false;
  std::string out;
  std::string err;
  std::chrono::milliseconds duration{0};

  bool ok() const { return status == 0; }
};

// What is left until then, for poll(); 0 when that is over.
int milliseconds_until(std::chrono::steady_clock::time_point deadline);

// Runs argv[0] (looked up in PATH) to its end.
RunResult run(const std::vector<std::string>& argv, const RunOptions& options = {});

// A child that runs until it is stopped or this object goes; then SIGTERM, and SIGKILL after two seconds. Its
// output goes to a file.
class BackgroundProcess {
 public:
  explicit BackgroundProcess(const std::vector<std::string>& argv, const RunOptions& options = {});
  BackgroundProcess(BackgroundProcess&& other) noexcept;
  BackgroundProcess& operator=(BackgroundProcess&&) = delete;
  BackgroundProcess(const BackgroundProcess&) = delete;
  ~BackgroundProcess();

  pid_t pid() const { return pid_; }
  bool running() const;
  // Waits for its end by itself; no value after `timeout`.
  std::optional<int> wait(std::chrono::milliseconds timeout);
  void stop();

 private:
  pid_t pid_ = -1;
};

// Calls `condition` every 20 ms until it is true; false after `timeout`.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds timeout = std::chrono::seconds(5));

// While it lives, the calling thread is in the network namespace at `path`: sockets made meanwhile stay
// there.
class NetnsScope {
 public:
  explicit NetnsScope(const std::string& path);
  ~NetnsScope();
  NetnsScope(const NetnsScope&) = delete;
  NetnsScope& operator=(const NetnsScope&) = delete;

 private:
  Fd before_;
};

void sleep_ms(int milliseconds);

template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    sleep_ms(20);
  }
  return true;
}

}  // namespace vmlane::test
