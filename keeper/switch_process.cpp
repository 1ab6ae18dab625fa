// SPDX-License-Identifier: Apache-2.0
#include "keeper/switch_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "core/switch_words.h"

namespace vmlane::keeper {
namespace {

// In the new process. Nothing here may take memory, so that it is right after any fork.
[[noreturn]] void become_switch(char* const* argv, pid_t keeper, int link, int report) {
  const auto failed = [&] {
    const int reason = errno;
    [[maybe_unused]] const auto told = ::write(report, &reason, sizeof reason);
    ::_exit(1);
  };
  sigset_t none;
  ::sigemptyset(&none);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != keeper) failed();
  // To the same number dup2() would leave the descriptor closed on exec.
  if (link == SwitchProcess::kLinkNumber) {
    if (::fcntl(link, F_SETFD, 0) != 0) failed();
  } else if (::dup2(link, SwitchProcess::kLinkNumber) < 0) {
    failed();
  }
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(argv[0], argv);
  failed();
  ::_exit(1);
}

// A descriptor that is not the number the link takes.
Result<Fd> out_of_the_way(Fd fd) {
  if (fd.get() != SwitchProcess::kLinkNumber) return fd;
  Fd other(::fcntl(fd.get(), F_DUPFD_CLOEXEC, SwitchProcess::kLinkNumber + 1));
  if (!other) return fail(io_error("cannot move a descriptor", errno));
  return other;
}

}  // namespace

Result<SwitchProcess> SwitchProcess::start(const std::vector<std::string>& command) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail(io_error("cannot make a socket for the switch", errno));
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  const Fd reader(ends[0]);
  VMLANE_ASSIGN(Fd writer, out_of_the_way(Fd(ends[1])));
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t keeper = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail(io_error("cannot start a process", errno));
  if (pid == 0) become_switch(argv.data(), keeper, theirs.get(), writer.get());
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  SwitchProcess process(pid, std::move(pidfd), std::move(ours));
  if (!process.pidfd_) return fail(io_error("cannot watch the switch", errno));
  writer = Fd();
  int reason = 0;
  if (::read(reader.get(), &reason, sizeof reason) == ssize_t{sizeof reason})
    return fail(Code::kNotAvailable, io_error("cannot run " + command.front(), reason).message,
                "name the program with --switch");
  return process;
}

SwitchProcess::SwitchProcess(SwitchProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), link_(std::move(other.link_)) {}

SwitchProcess& SwitchProcess::operator=(SwitchProcess&& other) noexcept {
  if (this == &other) return *this;
  end_it();
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::move(other.pidfd_);
  link_ = std::move(other.link_);
  return *this;
}

SwitchProcess::~SwitchProcess() {
  end_it();
}

void SwitchProcess::end_it() {
  if (pid_ < 0) return;
  kill();
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void SwitchProcess::kill() const {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void SwitchProcess::stop() {
  constexpr int kPatience = 2000;  // milliseconds
  if (pid_ <= 0 || ::kill(pid_, SIGTERM) != 0) return;
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  ::poll(&ended, 1, kPatience);
}

std::string SwitchProcess::reap() {
  int status = 0;
  if (pid_ < 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return {};
  pid_ = -1;
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return "status " + std::to_string(WEXITSTATUS(status));
}

void SwitchProcess::say(std::string_view word) const {
  [[maybe_unused]] const auto sent =
      ::send(link_.get(), word.data(), word.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

std::string SwitchProcess::hear() const {
  std::array<char, switch_words::kLongest> word;
  const ssize_t got = ::recv(link_.get(), word.data(), word.size(), MSG_DONTWAIT);
  return got > 0 ? std::string(word.data(), static_cast<std::size_t>(got)) : std::string();
}

}  // namespace vmlane::keeper
