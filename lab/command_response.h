// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace vmlane::lab {

// Reads the answer to one command out of the byte stream of a guest's command port (the protocol stands in
// guest/command-channel): finds the beginning behind whatever came before, tells standard output from
// standard error, and sees the end. Bytes are passed on as soon as they cannot be part of a mark.
class CommandResponse {
 public:
  using Sink = std::function<void(std::string_view)>;

  CommandResponse(const std::string& nonce, Sink output, Sink error);

  // True once the end has been seen; later bytes are ignored.
  bool feed(std::string_view bytes);
  bool begun() const { return stage_ != Stage::kBefore; }
  // Exit status, or "limit"; valid once feed() has returned true.
  const std::string& status() const { return status_; }

 private:
  enum class Stage { kBefore, kOutput, kError, kStatus, kDone };

  // Passes on what stands before `mark` and drops the mark. False when the mark has not come yet: then only
  // bytes that cannot belong to it are passed on.
  bool pass_until(const std::string& mark, const Sink& sink);

  std::string begin_mark_;
  std::string error_mark_;
  std::string exit_mark_;
  Sink output_;
  Sink error_;
  Stage stage_ = Stage::kBefore;
  std::string pending_;
  std::string status_;
};

}  // namespace vmlane::lab
