// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <ostream>
#include <string>

namespace vmlane::lab {

// Asked now and then by what takes long; true means that the user wants it to end.
using Interrupted = std::function<bool()>;

// One line per thing that happens, with the seconds since the start.
class Progress {
 public:
  explicit Progress(std::ostream& out) : out_(out) {}
  void line(const std::string& subject, const std::string& what) const;

 private:
  std::ostream& out_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace vmlane::lab
