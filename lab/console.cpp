// SPDX-License-Identifier: Apache-2.0
#include "lab/console.h"

#include <poll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "core/lock.h"
#include "lab/guest_channel.h"
#include "lab/lab.h"
#include "lab/qemu_command.h"

namespace vmlane::lab {
namespace {

constexpr char kEscape = 0x1d;  // Ctrl-]

// Puts the terminal into raw mode for as long as it lives; does nothing when standard input is no terminal.
class RawTerminal {
 public:
  RawTerminal() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    active_ = true;
    termios raw = before_;
    ::cfmakeraw(&raw);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  bool active_ = false;
};

Result<> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno != EINTR) return fail(io_error("cannot write", errno));
    if (wrote > 0) bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

// Copies both ways until one side ends.
Result<> join(int socket) {
  std::array<pollfd, 2> sides{{{STDIN_FILENO, POLLIN, 0}, {socket, POLLIN, 0}}};
  std::array<char, 4096> buffer;
  while (true) {
    if (::poll(sides.data(), sides.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return fail(io_error("cannot wait for the console", errno));
    }
    for (std::size_t i = 0; i < sides.size(); i++) {
      if (sides[i].revents == 0) continue;
      const ssize_t got = ::read(sides[i].fd, buffer.data(), buffer.size());
      if (got <= 0) return {};
      std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
      const bool from_user = i == 0;
      const auto escape = from_user ? bytes.find(kEscape) : std::string_view::npos;
      VMLANE_TRY(write_all(from_user ? socket : STDOUT_FILENO, bytes.substr(0, escape)));
      if (escape != std::string_view::npos) return {};
    }
  }
}

}  // namespace

Result<> attach_console(const LabPaths& paths, std::string_view name) {
  VMLANE_ASSIGN(const LabState state, open_lab(paths));
  VMLANE_ASSIGN(const Workload* workload, find_workload(state, name));
  if (workload->kind != WorkloadKind::kVm)
    return fail(Code::kInvalidConfig, workload->id() + " is a pod and has no console",
                "its output is in " + workload->output_log(paths).string());
  VMLANE_ASSIGN(const NodeConfig config, lab_node_config(paths));
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(config.locks_dir(), "lab-console", workload->id(),
                                                     std::chrono::milliseconds(0)));
  VMLANE_ASSIGN(const Fd socket, connect_in(workload->vm_directory(paths), kConsoleSocket));
  if (::isatty(STDIN_FILENO) != 0) {
    constexpr std::string_view kHint = "Connected; Ctrl-] ends.\r\n";
    VMLANE_TRY(write_all(STDERR_FILENO, kHint));
  }
  const RawTerminal terminal;
  return join(socket.get());
}

}  // namespace vmlane::lab
