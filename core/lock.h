// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/files.h"

namespace vmlane {

// An exclusive lock on one named object of the node (a bridge, an attachment, the network table), held by
// flock on a file under <runDir>/locks. There is no global lock: what is locked is what is changed. Lock
// files are never removed, because a removal races with a waiter. The kernel frees the lock when its holder
// dies.
class ObjectLock {
 public:
  // Waits up to `timeout`, which by default leaves a runtime that gives a sandbox four minutes time to undo;
  // then Code::kTryAgain naming the object. `kind` is a word of ours ("bridge"), `name` may be any text.
  static Result<ObjectLock> acquire(const std::filesystem::path& directory, std::string_view kind,
                                    std::string_view name,
                                    std::chrono::milliseconds timeout = std::chrono::seconds(90));

 private:
  explicit ObjectLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace vmlane
