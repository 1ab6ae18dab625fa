// SPDX-License-Identifier: Apache-2.0
#include "core/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "core/hash.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// False when the time is over.
Result<bool> wait_for(const Fd& fd, const fs::path& path, ObjectLock::Mode mode, Clock::time_point deadline) {
  constexpr auto kPoll = std::chrono::milliseconds(2);
  const int operation = (mode == ObjectLock::Mode::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  while (::flock(fd.get(), operation) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(io_error("cannot lock " + path.string(), errno));
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

// Whether the locked file still has its name. Its last holder may have retired it while we waited, and
// another may hold a new one by now.
bool is_current(const Fd& fd, const fs::path& path) {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd.get(), &held) == 0 && ::lstat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

}  // namespace

Result<ObjectLock> ObjectLock::acquire(const fs::path& directory, std::string_view kind,
                                       std::string_view name, std::chrono::milliseconds timeout, Mode mode) {
  VMLANE_TRY(make_directory(directory, {.mode = 0700}));
  // The name comes from outside; a hash keeps it inside the directory.
  const auto path = directory / (std::string(kind) + "-" + sha256_hex(name).substr(0, 32) + ".lock");
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!fd) return fail(io_error("cannot open lock file " + path.string(), errno));
    VMLANE_ASSIGN(const bool locked, wait_for(fd, path, mode, deadline));
    if (!locked) {
      return fail(
          Code::kTryAgain,
          std::string(kind) + " \"" + std::string(name) + "\" is locked by another operation",
          "it was still held after " + std::to_string(timeout.count()) + " ms; lock file " + path.string());
    }
    if (is_current(fd, path)) return ObjectLock(std::move(fd), path);
  }
}

void ObjectLock::retire() const {
  ::unlink(path_.c_str());
}

}  // namespace vmlane
