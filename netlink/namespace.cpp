// SPDX-License-Identifier: Apache-2.0
#include "netlink/namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace vmlane::netlink {
namespace {

constexpr const char* kOwnNamespace = "/proc/thread-self/ns/net";

// Whether an open() that failed so means that no namespace is there, in contrast to one that could not be
// looked at.
bool nothing_there(int err) {
  switch (err) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:  // a socket, or a device without driver
    case ENODEV:
    case ESRCH:  // /proc/<pid>/ns/net of a process that ends
      return true;
    default:
      return false;
  }
}

bool is_network_namespace(int fd) {
  struct statfs file_system {};
  return ::fstatfs(fd, &file_system) == 0 && file_system.f_type == NSFS_MAGIC &&
         ::ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

Result<struct stat> status_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail(io_error("cannot stat network namespace " + path, errno));
  return status;
}

// Of the calling thread's namespace; no value on kernels before 5.14.
Result<std::optional<std::uint64_t>> own_cookie() {
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(io_error("cannot open a socket", errno));
  std::uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) {
    if (errno == ENOPROTOOPT) return std::nullopt;
    return fail(io_error("cannot read the cookie of a network namespace", errno));
  }
  return cookie;
}

// Takes the thread back when it goes, also when an exception is on its way.
class ReturnTo {
 public:
  explicit ReturnTo(const Fd& home) : home_(home) {}
  ~ReturnTo() {
    if (::setns(home_.get(), CLONE_NEWNET) == 0) return;
    std::perror("vmlane: cannot return to the network namespace, ending");
    std::abort();
  }
  ReturnTo(const ReturnTo&) = delete;
  ReturnTo& operator=(const ReturnTo&) = delete;

 private:
  const Fd& home_;
};

}  // namespace

Result<Namespace> Namespace::current() {
  return open(kOwnNamespace);
}

Result<Namespace> Namespace::open(const std::string& path) {
  // O_NONBLOCK: a FIFO in the path's place must not hang us.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    Error error = io_error("cannot open network namespace " + path, errno);
    if (nothing_there(errno)) error.code = Code::kUnknownContainer;
    return fail(std::move(error));
  }
  if (!is_network_namespace(fd.get()))
    return fail(Code::kUnknownContainer, path + " is not a network namespace");
  return Namespace(std::move(fd), path);
}

Result<NamespaceIdentity> Namespace::identity() const {
  VMLANE_ASSIGN(const struct stat status, status_of(fd(), path_));
  VMLANE_ASSIGN(const std::optional<std::uint64_t> cookie, run<std::optional<std::uint64_t>>(own_cookie));
  return NamespaceIdentity{.path = path_, .device = status.st_dev, .inode = status.st_ino, .cookie = cookie};
}

Result<bool> Namespace::same_as(const Namespace& other) const {
  VMLANE_ASSIGN(const struct stat mine, status_of(fd(), path_));
  VMLANE_ASSIGN(const struct stat theirs, status_of(other.fd(), other.path_));
  return mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
}

Result<> Namespace::enter(const std::function<void()>& work) const {
  const Fd home(::open(kOwnNamespace, O_RDONLY | O_CLOEXEC));
  if (!home) return fail(io_error(std::string("cannot open ") + kOwnNamespace, errno));
  if (::setns(fd(), CLONE_NEWNET) != 0)
    return fail(kernel_error("cannot enter network namespace " + path_, errno));
  const ReturnTo guard(home);
  work();
  return {};
}

}  // namespace vmlane::netlink
