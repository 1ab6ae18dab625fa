// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/files.h"
#include "core/record.h"

namespace vmlane::netlink {

// An open network namespace. Work inside it goes through a socket opened there (sockets stay where they were
// made) or through run(); no call changes the calling thread's namespace for good.
class Namespace {
 public:
  // The calling thread's namespace.
  static Result<Namespace> current();
  // The namespace at `path` (a bind mount or /proc/<pid>/ns/net). Code::kUnknownContainer when nothing is
  // there or what is there is no network namespace; the message names the path.
  static Result<Namespace> open(const std::string& path);

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  // Path as given, device and inode, and SO_NETNS_COOKIE where the kernel has it.
  Result<NamespaceIdentity> identity() const;
  // Whether both are the same namespace, by device and inode.
  Result<bool> same_as(const Namespace& other) const;

  // Runs `work` with the calling thread inside the namespace, for what has no netlink form (sysctl files,
  // /dev/net/tun). The thread is back in its own namespace before run() returns; a process that could not get
  // back is ended, since it would act on the wrong namespace.
  template <class T>
  Result<T> run(const std::function<Result<T>()>& work) const {
    std::optional<Result<T>> result;
    VMLANE_TRY(enter([&] { result.emplace(work()); }));
    return std::move(*result);
  }

 private:
  Namespace(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Result<> enter(const std::function<void()>& work) const;

  Fd fd_;
  std::string path_;
};

}  // namespace vmlane::netlink
