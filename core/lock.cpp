// SPDX-License-Identifier: Apache-2.0
#include "core/lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <thread>

#include "core/hash.h"

namespace vmlane {

Result<ObjectLock> ObjectLock::acquire(const std::filesystem::path& directory, std::string_view kind,
                                       std::string_view name, std::chrono::milliseconds timeout) {
  VMLANE_TRY(make_directory(directory, {.mode = 0700}));
  // The name comes from outside; a hash keeps it inside the directory.
  const auto path = directory / (std::string(kind) + "-" + sha256_hex(name).substr(0, 32) + ".lock");
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd) return fail(io_error("cannot open lock file " + path.string(), errno));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  constexpr auto kPoll = std::chrono::milliseconds(2);
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(io_error("cannot lock " + path.string(), errno));
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(
          Code::kTryAgain,
          std::string(kind) + " \"" + std::string(name) + "\" is locked by another operation",
          "it was still held after " + std::to_string(timeout.count()) + " ms; lock file " + path.string());
    }
    std::this_thread::sleep_for(kPoll);
  }
  return ObjectLock(std::move(fd));
}

}  // namespace vmlane
