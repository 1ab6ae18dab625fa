// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "lab/command_response.h"
#include "lab/process.h"

namespace vmlane::lab {

// Exit status of a command that its time limit ended, as timeout(1) has it.
inline constexpr int kLimitStatus = 124;

// Shell text that runs exactly these arguments.
std::string shell_quote(const std::vector<std::string>& arguments);

// Connects to a unix socket whose full path may be longer than a socket address holds.
Result<Fd> connect_in(const std::filesystem::path& directory, std::string_view socket);

// The command port of a guest: the client of guest/command-channel. One command at a time; a second client of
// the same guest is served by QEMU when the first has gone, so callers hold a lock over it.
class GuestChannel {
 public:
  // `directory` is that of the guest's QEMU, `qemu` the process whose end means that no answer will come.
  static Result<GuestChannel> connect(const std::filesystem::path& directory, const ProcessRef& qemu);

  // Waits until the guest has set itself up. Code::kTryAgain after `limit`, kIo when QEMU ends first.
  // `interrupted` is asked a few times a second; true gives up.
  Result<> wait_ready(std::chrono::milliseconds limit, const std::function<bool()>& interrupted);

  // Runs shell text in the guest and gives its exit status; kLimitStatus when `limit` (seconds, 0: none)
  // ended it. Output is passed on as it comes, standard error after the end of standard output. When
  // `interrupted` the command is killed in the guest and the error is Code::kTryAgain. Code::kInvalidConfig
  // for a text over 32 KiB.
  Result<int> run(const std::string& text, unsigned limit, const CommandResponse::Sink& output,
                  const CommandResponse::Sink& error, const std::function<bool()>& interrupted);

 private:
  GuestChannel(Fd socket, const ProcessRef& qemu) : socket_(std::move(socket)), qemu_(qemu) {}
  Result<> send(std::string_view text) const;
  // What has come within a poll interval, empty for nothing.
  Result<std::string> receive() const;

  Fd socket_;
  ProcessRef qemu_;
};

}  // namespace vmlane::lab
