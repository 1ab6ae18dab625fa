// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

// A child program that is given text and gives text: its standard streams are ours alone, it runs in a
// process group of its own, and it does not outlive its time. core/exec.h runs CNI plugins with it; other
// programs are run by run_program().
namespace vmlane {

using Environment = std::map<std::string, std::string, std::less<>>;

struct ExecLimits {
  // Well under the 4 minutes after which a kubelet gives up, so that a hanging delegate still leaves time to
  // undo the others.
  std::chrono::milliseconds timeout = std::chrono::seconds(120);
  // Of stdout and of stderr, in bytes. A result is a few KiB.
  std::size_t max_output = std::size_t{4} << 20;
};

// A descriptor of ours that the program inherits, -1 for none: with the descriptor of a lock, what the lock
// guards stays guarded until the program has ended, even if we are killed before.
using InheritedFd = int;

struct Command {
  std::string noun;  // what errors call it: "plugin" gives "plugin /opt/cni/bin/x did not end within ..."
  std::filesystem::path program;
  std::vector<std::string> arguments;  // without the program's name
  Environment env;                     // complete: nothing of ours is added
  std::string_view input;              // on its standard input; need not be read. Copied by start()
  InheritedFd inherited = -1;
  bool pass_errors_on = false;  // what it writes to stderr is written to ours too, as it comes
};

// Whether the path is a regular file that may be executed.
bool is_program(const std::filesystem::path& path);

// Text for an error: without blanks around it, cut after 1,000 bytes.
std::string excerpt(std::string_view text);

class Process {
 public:
  struct Ended {
    int status = 0;  // of waitpid(2)
    std::string output;
    std::string error;

    bool ok() const;           // ended by itself with status 0
    std::string text() const;  // "ended with status 3", "was ended by signal 9"
  };

  // In the calling thread's network namespace.
  static Result<Process> start(const Command& command);
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  // Kills what has not ended, with its process group.
  ~Process();

  // Readable once it has ended. What it writes is taken by finish() alone: who waits here gives it no more
  // than a pipe's 64 KiB to say.
  int fd() const;
  // Waits for its end; the time of `limits` counts from the call. Code::kTryAgain when it ran into the time
  // limit (it and its process group are killed), Code::kDelegate when it wrote more than the limit.
  Result<Ended> finish(const ExecLimits& limits = {});

 private:
  struct State;
  explicit Process(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Runs a program of the node to its end and gives its standard output. Errors: those of finish(); another
// status than 0 is Code::kDelegate that names the program, its arguments and what it wrote to stderr.
Result<std::string> run_program(const Command& command, const ExecLimits& limits = {});

}  // namespace vmlane
