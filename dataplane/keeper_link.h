// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/files.h"
#include "core/switch_words.h"

namespace vmlane::dataplane {

// The socket to the keeper that started this switch (core/switch_words.h).
class KeeperLink {
 public:
  // Takes over a descriptor that the process was started with.
  explicit KeeperLink(int descriptor) : link_(descriptor) {}

  int descriptor() const { return link_.get(); }
  void say(std::string_view word) const;
  // The next word; waits for it. Empty when the keeper is gone.
  std::string hear() const;
  // Says that all is ready and waits to be told to take over; false when `stop` is readable before, or the
  // keeper is gone.
  bool wait_for_turn(int stop) const;

 private:
  Fd link_;
};

}  // namespace vmlane::dataplane
