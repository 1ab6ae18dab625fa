// SPDX-License-Identifier: Apache-2.0
#include "lab/exec.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "core/lock.h"
#include "lab/guest_channel.h"
#include "lab/lab.h"
#include "lab/namespaces.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kCommandNotFound = 127;

[[noreturn]] void run_in_namespace(const fs::path& netns, std::vector<std::string> command) {
  const auto entered = enter_namespace(netns);
  if (!entered) {
    std::cerr << "vmlanectl: " << entered.error().text() << std::endl;
    ::_exit(kExecFailed);
  }
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  std::cerr << "vmlanectl: " << io_error("cannot run " + command[0], errno).text() << std::endl;
  ::_exit(errno == ENOENT ? kCommandNotFound : kCommandNotFound - 1);
}

int exit_status(int status) {
  constexpr int kSignalBase = 128;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalBase + WTERMSIG(status);
}

Result<int> exec_in_namespace(const fs::path& netns, const ExecRequest& request) {
  const pid_t pid = ::fork();
  if (pid < 0) return fail(io_error("cannot start " + request.command[0], errno));
  if (pid == 0) run_in_namespace(netns, request.command);
  // Ctrl-C goes to the command as well, which decides what it means.
  ::signal(SIGINT, SIG_IGN);
  const Fd ended(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const auto deadline = Clock::now() + std::chrono::seconds(request.limit);
  bool limited = false;
  pollfd end{ended.get(), POLLIN, 0};
  constexpr int kPollMs = 200;
  while (::poll(&end, 1, kPollMs) <= 0) {
    if (request.interrupted()) ::kill(pid, SIGTERM);
    if (request.limit != 0 && Clock::now() >= deadline) {
      limited = true;
      ::kill(pid, SIGKILL);
    }
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return limited ? kLimitStatus : exit_status(status);
}

Result<int> exec_in_guest(const LabPaths& paths, const Workload& workload, const ExecRequest& request) {
  if (workload.processes.empty() || !is_alive(workload.processes[0]))
    return fail(Code::kNotFound, "VM " + workload.id() + " does not run",
                "its log is " + workload.output_log(paths).string());
  VMLANE_ASSIGN(const NodeConfig config, lab_node_config(paths));
  // The guest runs one command at a time; a later one waits for its turn.
  constexpr auto kTurn = std::chrono::hours(1);
  VMLANE_ASSIGN(const auto lock,
                ObjectLock::acquire(config.locks_dir(), "lab-command", workload.id(), kTurn));
  VMLANE_ASSIGN(auto channel, GuestChannel::connect(workload.vm_directory(paths), workload.processes[0]));
  auto status = channel.run(shell_quote(request.command), request.limit, request.output, request.error,
                            request.interrupted);
  if (!status) return fail(status.error().wrap("VM " + workload.id()));
  return status;
}

}  // namespace

Result<int> exec_in_workload(const LabPaths& paths, std::string_view name, const ExecRequest& request) {
  VMLANE_ASSIGN(const LabState state, open_lab(paths));
  VMLANE_ASSIGN(const Workload* workload, find_workload(state, name));
  if (workload->kind == WorkloadKind::kVm) return exec_in_guest(paths, *workload, request);
  return exec_in_namespace(workload->network_namespace(paths), request);
}

Result<int> exec_on_node(const LabPaths& paths, const ExecRequest& request) {
  VMLANE_TRY(open_lab(paths));
  return exec_in_namespace(paths.host_namespace(), request);
}

}  // namespace vmlane::lab
