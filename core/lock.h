// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/files.h"

namespace vmlane {

// A lock on one named object of the node (a bridge, an attachment, the network table), held by flock on a
// file under <runDir>/locks. There is no global lock: what is locked is what is changed. The kernel frees the
// lock when its holder dies.
class ObjectLock {
 public:
  // Many holders of kShared at once, or one of kExclusive.
  enum class Mode { kExclusive, kShared };
  // Leaves a runtime that gives a sandbox four minutes time to undo.
  static constexpr std::chrono::seconds kDefaultTimeout{90};

  // Waits up to `timeout`; then Code::kTryAgain naming the object. `kind` is a word of ours ("bridge"),
  // `name` may be any text.
  static Result<ObjectLock> acquire(const std::filesystem::path& directory, std::string_view kind,
                                    std::string_view name,
                                    std::chrono::milliseconds timeout = kDefaultTimeout,
                                    Mode mode = Mode::kExclusive);

  // Removes the lock file with the object it stood for, so that files do not pile up over all attachments of
  // a boot. Only for the holder of an exclusive lock, as the last thing it does; who waits for it, or comes
  // later, makes a new file.
  void retire() const;
  // For a child process: the lock is held until all that have the descriptor have ended.
  int fd() const { return fd_.get(); }

 private:
  ObjectLock(Fd fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::filesystem::path path_;
};

}  // namespace vmlane
