// SPDX-License-Identifier: Apache-2.0
#include "lab/command_response.h"

#include <algorithm>
#include <utility>

namespace vmlane::lab {
namespace {

// Length of the longest end of `text` that `mark` begins with.
std::size_t partial_mark(std::string_view text, std::string_view mark) {
  for (std::size_t length = std::min(text.size(), mark.size() - 1); length > 0; length--) {
    if (mark.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

}  // namespace

CommandResponse::CommandResponse(const std::string& nonce, Sink output, Sink error)
    : begin_mark_(nonce + ":begin\n"),
      error_mark_(nonce + ":error\n"),
      exit_mark_(nonce + ":exit "),
      output_(std::move(output)),
      error_(std::move(error)) {}

bool CommandResponse::pass_until(const std::string& mark, const Sink& sink) {
  const auto at = pending_.find(mark);
  const bool found = at != std::string::npos;
  const std::size_t ready = found ? at : pending_.size() - partial_mark(pending_, mark);
  if (sink && ready > 0) sink(std::string_view(pending_).substr(0, ready));
  pending_.erase(0, found ? ready + mark.size() : ready);
  return found;
}

bool CommandResponse::feed(std::string_view bytes) {
  if (stage_ == Stage::kDone) return true;
  pending_ += bytes;
  if (stage_ == Stage::kBefore && pass_until(begin_mark_, {})) stage_ = Stage::kOutput;
  if (stage_ == Stage::kOutput && pass_until(error_mark_, output_)) stage_ = Stage::kError;
  if (stage_ == Stage::kError && pass_until(exit_mark_, error_)) stage_ = Stage::kStatus;
  if (stage_ == Stage::kStatus) {
    const auto newline = pending_.find('\n');
    if (newline != std::string::npos) {
      status_ = pending_.substr(0, newline);
      pending_.clear();
      stage_ = Stage::kDone;
    }
  }
  return stage_ == Stage::kDone;
}

}  // namespace vmlane::lab
