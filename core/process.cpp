// SPDX-License-Identifier: Apache-2.0
#include "core/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <thread>

#include "core/files.h"

// glibc 2.36 declares it without C linkage.
extern "C" {
#include <sys/pidfd.h>
}

namespace vmlane {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string subject(const Command& command) {
  return command.noun + " " + command.program.string();
}

// What is collected from one of the child's streams.
struct Stream {
  Fd reader;
  std::string text;
  bool pass_on = false;  // to our own stderr, as it comes
};

// A child process that is killed with its process group, and reaped, unless it ended by itself.
class Child {
 public:
  Child(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (reaped_) return;
    ::kill(-pid_, SIGKILL);
    reap();
  }

  int pidfd() const { return pidfd_.get(); }
  // Status of waitpid(2), once the process has ended.
  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    reaped_ = true;
    return status;
  }

 private:
  pid_t pid_;
  Fd pidfd_;
  bool reaped_ = false;
};

// The input as a file without a name: the program may read it at its own pace, or not at all, and nobody
// blocks or gets SIGPIPE.
Result<Fd> input_file(std::string_view input) {
  Fd file(::memfd_create("input", MFD_CLOEXEC));
  if (!file) return fail(io_error("cannot make a file for a program's input", errno));
  std::string_view rest = input;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(file.get(), rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail(io_error("cannot write a program's input", errno));
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

struct Pipe {
  Fd reader;
  Fd writer;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

struct Descriptors {
  int input;
  int output;
  int error;
  InheritedFd inherited;
};

// Addresses of the texts, as posix_spawn(3) wants them.
std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// Spawns the program in a process group of its own, so that the time limit ends its children too, with
// default signal handling.
int spawn(const Command& command, const Descriptors& descriptors, pid_t& pid) {
  std::vector<std::string> entries;
  entries.reserve(command.env.size());
  for (const auto& [key, value] : command.env) entries.push_back(key + "=" + value);
  std::vector<std::string> words = {command.program.string()};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  const std::vector<char*> envp = pointers(entries);
  const std::vector<char*> argv = pointers(words);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, descriptors.input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, descriptors.output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, descriptors.error, STDERR_FILENO);
  // Onto itself: that keeps it open over the exec.
  if (descriptors.inherited >= 0)
    posix_spawn_file_actions_adddup2(&actions, descriptors.inherited, descriptors.inherited);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const int result =
      ::posix_spawn(&pid, words.front().c_str(), &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return result;
}

// As spawn. A binary that an installer is still writing is busy for a moment.
Result<pid_t> spawn_patiently(const Command& command, const Descriptors& descriptors) {
  constexpr int kAttempts = 6;
  constexpr auto kPause = std::chrono::milliseconds(500);
  pid_t pid = 0;
  int result = 0;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    if (attempt > 0) std::this_thread::sleep_for(kPause);
    result = spawn(command, descriptors, pid);
    if (result == 0) return pid;
    if (result != ETXTBSY) break;
  }
  return fail(io_error("cannot run " + subject(command), result));
}

// Takes what a stream has; closes its end at end of file. False when it grew past `max`.
bool drain(Stream& stream, std::size_t max) {
  std::array<char, 65536> buffer{};
  while (stream.reader) {
    const ssize_t got = ::read(stream.reader.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      stream.reader = Fd();
      return true;
    }
    const std::string_view text(buffer.data(), static_cast<std::size_t>(got));
    if (stream.pass_on && ::write(STDERR_FILENO, text.data(), text.size()) < 0) stream.pass_on = false;
    if (stream.text.size() + text.size() > max) return false;
    stream.text += text;
  }
  return true;
}

// Collects the streams until the child has ended; what a grandchild keeps open afterwards is not waited for.
Result<> collect(const Child& child, const std::string& subject, Stream& output, Stream& error,
                 const ExecLimits& limits) {
  const auto deadline = Clock::now() + limits.timeout;
  for (bool ended = false; !ended;) {
    // poll(2) skips a negative descriptor: a stream at its end.
    std::array<pollfd, 3> watched{
        {{child.pidfd(), POLLIN, 0}, {output.reader.get(), POLLIN, 0}, {error.reader.get(), POLLIN, 0}}};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count() + 1;
    if (left <= 0) {
      return fail(Code::kTryAgain, subject + " did not end within " + std::to_string(limits.timeout.count()) +
                                       " ms and was killed");
    }
    const auto wait = std::min<decltype(left)>(left, std::numeric_limits<int>::max());
    if (::poll(watched.data(), watched.size(), static_cast<int>(wait)) < 0 && errno != EINTR) {
      return fail(io_error("cannot wait for " + subject, errno));
    }
    ended = (watched[0].revents & POLLIN) != 0;
    if (!drain(output, limits.max_output) || !drain(error, limits.max_output)) {
      return fail(Code::kDelegate, subject + " wrote more than " + std::to_string(limits.max_output) +
                                       " bytes and was killed");
    }
  }
  return {};
}

}  // namespace

bool is_program(const fs::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

std::string excerpt(std::string_view text) {
  // Enough to tell the cause, without filling a runtime's event with it.
  constexpr std::size_t kMaxQuoted = 1000;
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  text = text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
  return text.size() <= kMaxQuoted ? std::string(text) : std::string(text.substr(0, kMaxQuoted)) + "...";
}

bool Process::Ended::ok() const {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string Process::Ended::text() const {
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  return "ended with status " + std::to_string(WEXITSTATUS(status));
}

struct Process::State {
  State(const Command& command, Fd output_reader, Fd error_reader, pid_t pid)
      : name(subject(command)),
        output{std::move(output_reader), {}, false},
        error{std::move(error_reader), {}, command.pass_errors_on},
        child(pid, Fd(::pidfd_open(pid, 0))) {}

  std::string name;
  Stream output;
  Stream error;
  Child child;
};

Process::Process(std::unique_ptr<State> state) : state_(std::move(state)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&&) noexcept = default;
Process::~Process() = default;

Result<Process> Process::start(const Command& command) {
  VMLANE_ASSIGN(const Fd input, input_file(command.input));
  VMLANE_ASSIGN(Pipe output, make_pipe());
  VMLANE_ASSIGN(Pipe error, make_pipe());
  for (const Pipe* pipe : {&output, &error}) ::fcntl(pipe->reader.get(), F_SETFL, O_NONBLOCK);
  VMLANE_ASSIGN(const pid_t pid, spawn_patiently(command, {input.get(), output.writer.get(),
                                                           error.writer.get(), command.inherited}));
  auto state = std::make_unique<State>(command, std::move(output.reader), std::move(error.reader), pid);
  if (state->child.pidfd() < 0) return fail(io_error("cannot watch " + state->name, errno));
  return Process(std::move(state));
}

int Process::fd() const {
  return state_->child.pidfd();
}

Result<Process::Ended> Process::finish(const ExecLimits& limits) {
  const std::unique_ptr<State> state = std::move(state_);
  VMLANE_TRY(collect(state->child, state->name, state->output, state->error, limits));
  const int status = state->child.reap();
  return Ended{status, std::move(state->output.text), std::move(state->error.text)};
}

Result<std::string> run_program(const Command& command, const ExecLimits& limits) {
  VMLANE_ASSIGN(Process process, Process::start(command));
  VMLANE_ASSIGN(Process::Ended ended, process.finish(limits));
  if (ended.ok()) return std::move(ended.output);
  std::string line = subject(command);
  for (const std::string& argument : command.arguments) line += " " + argument;
  const std::string said = excerpt(ended.error);
  return fail(Code::kDelegate, line + " " + ended.text(), said.empty() ? "it wrote nothing to stderr" : said);
}

}  // namespace vmlane
