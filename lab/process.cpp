// SPDX-License-Identifier: Apache-2.0
#include "lab/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <thread>

namespace vmlane::lab {
namespace {

constexpr auto kEndPoll = std::chrono::milliseconds(10);
constexpr std::size_t kMaxErrorText = 64 << 10;

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

// Moves what is to be handed over out of the way of the numbers it goes to.
Result<> lift(std::vector<HandedOver>& handed) {
  for (HandedOver& one : handed) {
    if (one.descriptor >= kHandedOverLimit) continue;
    one.descriptor = ::fcntl(one.descriptor, F_DUPFD_CLOEXEC, kHandedOverLimit);
    if (one.descriptor < 0) return fail(io_error("cannot copy a descriptor for the new process", errno));
  }
  return {};
}

// Whatever else has one of the numbers is closed, so nothing that owns a descriptor below kHandedOverLimit
// may end after this: it would close the wrong one.
Result<> put_in_place(const std::vector<HandedOver>& lifted) {
  for (const HandedOver& one : lifted) {
    if (::dup2(one.descriptor, one.number) < 0)
      return fail(io_error("cannot give the new process descriptor " + std::to_string(one.number), errno));
  }
  return {};
}

Result<> set_standard_streams(int output) {
  std::vector<HandedOver> streams = {{-1, STDIN_FILENO}, {output, STDOUT_FILENO}, {output, STDERR_FILENO}};
  {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null) return fail(io_error("cannot open /dev/null", errno));
    streams[0].descriptor = null.get();
    VMLANE_TRY(lift(streams));
  }
  return put_in_place(streams);
}

// Only async-signal-safe when the parent is single-threaded, which vmlanectl is when it starts a daemon.
[[noreturn]] void run_child(const Daemon& daemon, Pipe& go, Pipe& failure) {
  go.write = Fd();
  failure.read = Fd();
  // Out of the way of descriptors that the program expects under given numbers.
  failure.write = Fd(::fcntl(failure.write.get(), F_DUPFD_CLOEXEC, kHandedOverLimit));
  char byte = 0;
  if (::read(go.read.get(), &byte, 1) != 1) ::_exit(1);  // the parent died, or could not record us
  const auto prepare = [&]() -> Result<> {
    ::setsid();
    std::vector<HandedOver> handed = daemon.descriptors;
    VMLANE_TRY(lift(handed));
    VMLANE_TRY(set_standard_streams(daemon.output));
    if (daemon.prepare) VMLANE_TRY(daemon.prepare());
    std::vector<char*> arguments;
    for (const std::string& argument : daemon.command)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    VMLANE_TRY(put_in_place(handed));
    ::execvp(arguments[0], arguments.data());
    return fail(io_error("cannot run " + daemon.command[0], errno));
  };
  const auto result = prepare();
  const std::string text = result ? std::string() : result.error().text();
  [[maybe_unused]] const ssize_t wrote = ::write(failure.write.get(), text.data(), text.size());
  ::_exit(127);
}

void signal_process(const ProcessRef& process, int signal) {
  // Between the look and the signal the number could only be reused if the process was reaped and 2^22 others
  // started.
  if (is_alive(process)) ::kill(process.pid, signal);
}

void reap(const ProcessRef& process) {
  ::waitpid(process.pid, nullptr, WNOHANG);
}

bool wait_for_end(const std::vector<ProcessRef>& processes, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::ranges::any_of(processes, is_alive)) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kEndPoll);
  }
  return true;
}

}  // namespace

Result<ProcessRef> find_process(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat;
  std::getline(file, stat);
  // The command name in parentheses may hold anything, so fields count from the last ")": state is the first.
  const auto end = stat.rfind(')');
  if (end == std::string::npos) return fail(Code::kNotFound, "there is no process " + std::to_string(pid));
  std::istringstream fields(stat.substr(end + 1));
  constexpr int kStartTime = 22 - 2;
  std::string field;
  char state = 0;
  for (int i = 1; i <= kStartTime && fields >> field; i++) {
    if (i == 1) state = field[0];
  }
  if (!fields || state == 'Z' || state == 'X')
    return fail(Code::kNotFound, "process " + std::to_string(pid) + " has ended");
  return ProcessRef{pid, std::stoull(field)};
}

bool is_alive(const ProcessRef& process) {
  const auto found = find_process(process.pid);
  return found && *found == process;
}

Result<> stop_processes(const std::vector<ProcessRef>& processes, std::chrono::milliseconds grace) {
  for (const ProcessRef& process : processes) signal_process(process, SIGTERM);
  bool ended = wait_for_end(processes, grace);
  if (!ended) {
    for (const ProcessRef& process : processes) signal_process(process, SIGKILL);
    constexpr auto kKillLimit = std::chrono::seconds(10);
    ended = wait_for_end(processes, kKillLimit);
  }
  for (const ProcessRef& process : processes) reap(process);
  if (ended) return {};
  const auto left = std::ranges::find_if(processes, is_alive);
  return fail(Code::kIo, "process " + std::to_string(left->pid) + " did not end after SIGKILL",
              "it is stuck in the kernel; look at /proc/" + std::to_string(left->pid) + "/stack");
}

Result<ProcessRef> start_daemon(const Daemon& daemon,
                                const std::function<Result<>(const ProcessRef&)>& record) {
  VMLANE_ASSIGN(Pipe go, make_pipe());
  VMLANE_ASSIGN(Pipe failure, make_pipe());
  const pid_t pid = ::fork();
  if (pid < 0) return fail(io_error("cannot start " + daemon.command[0], errno));
  if (pid == 0) run_child(daemon, go, failure);
  go.read = Fd();
  failure.write = Fd();
  VMLANE_ASSIGN(const ProcessRef process, find_process(pid));
  VMLANE_TRY(record(process));
  if (::write(go.write.get(), "g", 1) != 1) return fail(io_error("cannot start " + daemon.command[0], errno));
  VMLANE_ASSIGN(const std::string problem, read_all(failure.read.get(), "the new process", kMaxErrorText));
  if (problem.empty()) return process;
  ::waitpid(pid, nullptr, 0);
  return fail(Code::kIo, problem);
}

}  // namespace vmlane::lab
