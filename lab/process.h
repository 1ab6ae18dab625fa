// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::lab {

// A process that cannot be mistaken for a later one with the same number.
struct ProcessRef {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // field 22 of /proc/<pid>/stat, clock ticks since boot

  bool operator==(const ProcessRef&) const = default;
};

// The running process `pid`; Code::kNotFound when there is none (a zombie counts as none).
Result<ProcessRef> find_process(pid_t pid);
bool is_alive(const ProcessRef& process);

// Ends the processes: SIGTERM, and SIGKILL for those that are left after `grace`. Gone already is success.
// Children of the caller are reaped.
Result<> stop_processes(const std::vector<ProcessRef>& processes, std::chrono::milliseconds grace);

// A descriptor that a program is to find under a number, which is below kHandedOverLimit.
struct HandedOver {
  int descriptor = -1;
  int number = -1;
};
inline constexpr int kHandedOverLimit = 512;

// A program to run in the background, in a session of its own with /dev/null as standard input.
struct Daemon {
  std::vector<std::string> command;  // searched in PATH
  int output = -1;                   // descriptor for standard output and error
  // Runs in the new process before the program: namespaces, privileges. What it opens it may close again:
  // nothing is under a number of `descriptors` yet.
  std::function<Result<>()> prepare;
  std::vector<HandedOver> descriptors;  // put in place after `prepare`, open over exec
};

// Starts it. `record` is called with the process before it does anything: if the caller dies before record
// returns, the process ends by itself, so that none is left that nobody knows of. Returns when the program
// runs; an error of `prepare` or of exec is returned as it is.
Result<ProcessRef> start_daemon(const Daemon& daemon,
                                const std::function<Result<>(const ProcessRef&)>& record);

}  // namespace vmlane::lab
