// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace vmlane::lab {

// While one lives, SIGINT, SIGTERM and SIGHUP are remembered instead of ending the process, so that a command
// can clean up. Not nested.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static bool requested();
};

}  // namespace vmlane::lab
