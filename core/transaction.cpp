// SPDX-License-Identifier: Apache-2.0
#include "core/transaction.h"

#include <sys/types.h>
#include <unistd.h>

#include <charconv>
#include <csignal>

namespace vmlane {

Result<FaultPoint> FaultPoint::parse(std::string_view text) {
  FaultPoint fault;
  if (text.empty()) return fault;
  const auto colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  if (kind == "kill-before") fault.kind_ = Kind::kKillBefore;
  if (kind == "kill-after") fault.kind_ = Kind::kKillAfter;
  if (kind == "fail") fault.kind_ = Kind::kFail;
  const std::string_view number =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), fault.step_);
  if (fault.kind_ == Kind::kNone || error != std::errc() || end != number.data() + number.size() ||
      fault.step_ < 1) {
    return fail(Code::kBadEnvironment, "VMLANE_FAULT is \"" + std::string(text.substr(0, 60)) +
                                           "\", expected kill-before:N, kill-after:N or fail:N");
  }
  return fault;
}

Result<> FaultPoint::before(int step) const {
  if (step != step_) return {};
  if (kind_ == Kind::kKillBefore) ::kill(::getpid(), SIGKILL);
  if (kind_ == Kind::kFail)
    return fail(Code::kInternal, "step " + std::to_string(step) + " was made to fail by VMLANE_FAULT");
  return {};
}

void FaultPoint::after(int step) const {
  if (step == step_ && kind_ == Kind::kKillAfter) ::kill(::getpid(), SIGKILL);
}

Result<> Transaction::step(std::string_view name, const std::function<Result<>()>& apply,
                           std::function<Result<>()> undo) {
  count_++;
  VMLANE_TRY(fault_.before(count_));
  VMLANE_TRY(apply());
  if (undo) undos_.emplace_back(std::string(name), std::move(undo));
  log_.debug("step done", {{"step", std::to_string(count_)}, {"name", std::string(name)}});
  fault_.after(count_);
  return {};
}

void Transaction::rollback() {
  while (!undos_.empty()) {
    const auto [name, undo] = std::move(undos_.back());
    undos_.pop_back();
    const auto undone = undo();
    if (!undone) log_.error("undo failed", {{"step", name}, {"error", undone.error().text()}});
  }
}

}  // namespace vmlane
