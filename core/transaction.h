// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/log.h"

namespace vmlane {

// A place where a test makes an operation fail or die: VMLANE_FAULT=<kill-before|kill-after|fail>:<n>, n the
// number of a step of the operation counted from 1. "kill" is SIGKILL to the process itself, as a node that
// loses power. Unset in production.
class FaultPoint {
 public:
  FaultPoint() = default;
  // An unreadable value is an error (Code::kBadEnvironment), not an ignored wish.
  static Result<FaultPoint> parse(std::string_view text);

  // Called around step number `step`; does not return where the process was to die.
  Result<> before(int step) const;
  void after(int step) const;

 private:
  enum class Kind { kNone, kKillBefore, kKillAfter, kFail };
  Kind kind_ = Kind::kNone;
  int step_ = 0;
};

// A list of steps that all happen or none: each applied step leaves its undo; a transaction that is destroyed
// without commit() runs the undos in reverse. Errors of undos are logged and replace nothing. The same object
// without undos numbers the steps of DEL for the fault points. Each step must be one change that the kernel
// or file system makes whole, so that a kill leaves either side of it.
class Transaction {
 public:
  Transaction(const Log& log, FaultPoint fault) : log_(log), fault_(fault) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() { rollback(); }

  // Runs `apply`; when it succeeds, `undo` (may be empty) is remembered. `undo` must succeed when its object
  // is gone already.
  Result<> step(std::string_view name, const std::function<Result<>()>& apply,
                std::function<Result<>()> undo = {});
  void commit() { undos_.clear(); }
  void rollback();

 private:
  const Log& log_;
  FaultPoint fault_;
  int count_ = 0;
  std::vector<std::pair<std::string, std::function<Result<>()>>> undos_;
};

}  // namespace vmlane
