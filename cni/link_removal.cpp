// SPDX-License-Identifier: Apache-2.0
#include "cni/link_removal.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <utility>
#include <vector>

#include "core/files.h"

namespace vmlane::cni {
namespace {

constexpr timespec kRemovalPoll{.tv_sec = 0, .tv_nsec = 100'000};

bool is_netlink_socket(int fd) {
  int domain = 0;
  socklen_t size = sizeof domain;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_NETLINK;
}

// Whoever waits for the end of our output, for a lock or for a namespace must not wait for this process.
void close_all_but_netlink_and(int kept) {
  std::vector<int> open;
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) ::_exit(EXIT_FAILURE);
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != ::dirfd(directory)) open.push_back(fd);
  }
  ::closedir(directory);
  for (const int fd : open) {
    if (fd != kept && !is_netlink_socket(fd)) ::close(fd);
  }
}

// What the process says when the removal has succeeded; otherwise its end of the pipe just closes.
constexpr char kDone = 'd';

[[noreturn]] void remove_and_end(netlink::Netlink& links, const LinkRemoval& removal, int answer) {
  close_all_but_netlink_and(answer);
  if (!removal(links) || ::write(answer, &kDone, 1) != 1) ::_exit(EXIT_FAILURE);
  ::_exit(EXIT_SUCCESS);
}

// The end of a pipe at which the answer of a process comes that is nobody's child: init takes it when it
// ends, whatever becomes of us. Invalid where there can be none.
Fd remove_in_a_process(netlink::Netlink& links, const LinkRemoval& removal) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  Fd answer(ends[0]);
  const Fd told(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return {};
  if (child == 0) {
    const pid_t grandchild = ::fork();
    if (grandchild == 0) remove_and_end(links, removal, told.get());
    ::_exit(grandchild < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return status == 0 ? std::move(answer) : Fd();
}

// True when the removal has succeeded, false when it has not; no value while it is under way.
std::optional<bool> answer_at(const Fd& answer) {
  pollfd ready{.fd = answer.get(), .events = POLLIN, .revents = 0};
  if (::ppoll(&ready, 1, &kRemovalPoll, nullptr) <= 0) return std::nullopt;
  char word = 0;
  return ::read(answer.get(), &word, 1) == 1 && word == kDone;
}

}  // namespace

Result<> remove_link(Kernel& kernel, const netlink::Namespace& where, int index, const LinkRemoval& removal) {
  VMLANE_ASSIGN(const auto links, kernel.netlink(where));
  VMLANE_ASSIGN(const auto watcher, kernel.netlink(where));
  if (const Fd answer = remove_in_a_process(*links, removal)) {
    for (;;) {
      const auto done = answer_at(answer);
      if (done == true) return {};
      if (done == false) break;
      VMLANE_ASSIGN(const auto link, watcher->find_link(index));
      if (!link) return {};
    }
  }
  return removal(*watcher);
}

}  // namespace vmlane::cni
