// SPDX-License-Identifier: Apache-2.0
#include "tests/support/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

extern "C" char** environ;

namespace vmlane::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kExecFailed = 127;

[[noreturn]] void die_in_child(const char* what) {
  const std::string text = std::string(what) + ": " + std::strerror(errno) + "\n";
  [[maybe_unused]] const ssize_t wrote = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(kExecFailed);
}

void enter_netns_in_child(const std::string& path) {
  const Fd netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns || ::setns(netns.get(), CLONE_NEWNET) != 0) die_in_child(path.c_str());
}

void become_user_in_child(uid_t uid) {
  if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0) {
    die_in_child("cannot become the other user");
  }
}

[[noreturn]] void exec_child(const std::vector<std::string>& argv, const RunOptions& options) {
  if (!options.netns.empty()) enter_netns_in_child(options.netns);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0)
    die_in_child(options.directory.c_str());
  if (options.uid) become_user_in_child(*options.uid);
  std::vector<std::string> variables;
  std::vector<char*> environment;
  if (options.env) {
    for (const auto& [name, value] : *options.env) variables.push_back(name + "=" + value);
    for (std::string& variable : variables) environment.push_back(variable.data());
  }
  environment.push_back(nullptr);
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execvpe(arguments[0], arguments.data(), options.env ? environment.data() : environ);
  die_in_child(arguments[0]);
}

struct Pipe {
  Fd read_end;
  Fd write_end;
};

Pipe make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  return {Fd(fds[0]), Fd(fds[1])};
}

// Writes what fits of `input`, closes the pipe at its end or when nobody reads.
void feed(Fd& to, std::string_view& input) {
  const ssize_t wrote = ::write(to.get(), input.data(), input.size());
  if (wrote > 0) input.remove_prefix(static_cast<std::size_t>(wrote));
  if (input.empty() || (wrote < 0 && errno != EAGAIN && errno != EINTR)) to = Fd();
}

void drain(Fd& from, std::string& into) {
  std::array<char, 65536> buffer{};
  const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
  if (got > 0) into.append(buffer.data(), static_cast<std::size_t>(got));
  if (got == 0) from = Fd();
}

// Moves data between the child and `result` until both outputs are closed or the deadline passes.
void converse(Pipe& in, Pipe& out, Pipe& err, std::string_view input, bool hold_input,
              Clock::time_point deadline, RunResult& result) {
  ::fcntl(in.write_end.get(), F_SETFL, O_NONBLOCK);
  if (input.empty() && !hold_input) in.write_end = Fd();
  while (out.read_end || err.read_end) {
    std::array<pollfd, 3> polled = {pollfd{out.read_end.get(), POLLIN, 0},
                                    pollfd{err.read_end.get(), POLLIN, 0},
                                    pollfd{input.empty() ? -1 : in.write_end.get(), POLLOUT, 0}};
    const int ready = ::poll(polled.data(), polled.size(), milliseconds_until(deadline));
    if (ready == 0) {
      result.timed_out = true;
      return;
    }
    if (polled[0].revents != 0) drain(out.read_end, result.out);
    if (polled[1].revents != 0) drain(err.read_end, result.err);
    if (polled[2].revents != 0) feed(in.write_end, input);
  }
}

}  // namespace

int milliseconds_until(std::chrono::steady_clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return left.count() < 0 ? 0 : static_cast<int>(left.count());
}

RunResult run(const std::vector<std::string>& argv, const RunOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);  // a child may end without reading its input
  const auto start = Clock::now();
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(err.write_end.get(), STDERR_FILENO);
    ::dup2(in.read_end.get(), STDIN_FILENO);
    if (options.close_stdin) ::close(STDIN_FILENO);
    if (options.stdout_path.empty()) {
      ::dup2(out.write_end.get(), STDOUT_FILENO);
    } else {
      const int file = ::open(options.stdout_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      if (file < 0) die_in_child(options.stdout_path.c_str());
      ::dup2(file, STDOUT_FILENO);
    }
    exec_child(argv, options);
  }
  in.read_end = Fd();
  out.write_end = Fd();
  err.write_end = Fd();
  RunResult result;
  converse(in, out, err, options.input, options.hold_stdin, start + options.timeout, result);
  if (result.timed_out) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.duration = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  return result;
}

BackgroundProcess::BackgroundProcess(const std::vector<std::string>& argv, const RunOptions& options) {
  const std::string output = options.stdout_path.empty() ? "/dev/null" : options.stdout_path;
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  const int in = ::open("/dev/null", O_RDONLY);
  const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (in < 0 || out < 0) die_in_child(output.c_str());
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  exec_child(argv, options);
}

BackgroundProcess::BackgroundProcess(BackgroundProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)) {}

BackgroundProcess::~BackgroundProcess() {
  stop();
}

bool BackgroundProcess::running() const {
  siginfo_t info{};
  return pid_ > 0 && ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

std::optional<int> BackgroundProcess::wait(std::chrono::milliseconds timeout) {
  if (!eventually([this] { return !running(); }, timeout) || pid_ <= 0) return std::nullopt;
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void BackgroundProcess::stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  if (wait(std::chrono::seconds(2))) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(std::exchange(pid_, -1), nullptr, 0);
}

NetnsScope::NetnsScope(const std::string& path)
    : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
  const Fd target(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!before_ || !target || ::setns(target.get(), CLONE_NEWNET) != 0) {
    throw std::runtime_error("cannot enter network namespace " + path + ": " + std::strerror(errno));
  }
}

NetnsScope::~NetnsScope() {
  // A test that goes on in the wrong namespace would change the wrong links.
  if (::setns(before_.get(), CLONE_NEWNET) != 0) std::abort();
}

void sleep_ms(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

}  // namespace vmlane::test
