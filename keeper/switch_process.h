// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::keeper {

// A vmlane-switch that the keeper started. It ends with the keeper, however that ends: two of them would
// write to one guest's rings.
class SwitchProcess {
 public:
  // The descriptor under which the switch finds its end of the socket.
  static constexpr int kLinkNumber = 3;

  // `command` is program and arguments; what it prints goes where the keeper's output goes.
  static Result<SwitchProcess> start(const std::vector<std::string>& command);
  SwitchProcess(SwitchProcess&& other) noexcept;
  SwitchProcess& operator=(SwitchProcess&& other) noexcept;
  // Kills it.
  ~SwitchProcess();

  pid_t pid() const { return pid_; }
  int link() const { return link_.get(); }
  // Readable when it has ended.
  int end() const { return pidfd_.get(); }
  // What ended it: "signal 9", "status 1"; empty while it runs.
  std::string reap();
  void kill() const;
  // Asks it to end and gives it a while for that.
  void stop();

  void say(std::string_view word) const;
  // The next word; empty when there is none now.
  std::string hear() const;

 private:
  SwitchProcess(pid_t pid, Fd pidfd, Fd link) : pid_(pid), pidfd_(std::move(pidfd)), link_(std::move(link)) {}
  void end_it();

  pid_t pid_ = -1;  // -1: reaped, or moved from
  Fd pidfd_;
  Fd link_;
};

}  // namespace vmlane::keeper
