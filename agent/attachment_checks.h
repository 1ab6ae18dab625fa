// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/exec.h"
#include "core/record.h"

namespace vmlane::agent {

// Sees that the node's attachments stay as ADD has made them. A container runtime may send CHECK, and most
// never do; so the agent has each attachment's own plugin do it, one after the other, all of them once in an
// interval. The plugin puts back what it can, such as rules that somebody's `nft flush ruleset` took, and
// says so in the log; what it cannot is one of the agent's problems until it is as it was. Nothing waits for
// a CHECK, and an attachment that comes or goes meanwhile is nobody's fault: only what fails twice in a row
// is told.
class AttachmentChecks {
 public:
  using Clock = std::chrono::steady_clock;
  using Records = std::map<std::string, AttachmentRecord>;  // by attachment id

  // `env` is the agent's own environment, for the plugins. No CHECK with an interval of zero.
  AttachmentChecks(std::string boot_id, Environment env, std::chrono::milliseconds interval);

  // Takes the outcome of a CHECK that has ended, and starts the next when it is due.
  void update(Clock::time_point now, const Records& records);
  // Of the CHECK that is under way; -1 for none.
  int fd() const { return running_ ? running_->plugin.fd() : -1; }
  Clock::time_point next() const;

  std::vector<Error> problems() const;
  // {interval, done, wrong}: in seconds; how many CHECKs there have been; attachments that fail now.
  Json status() const;

 private:
  struct Running {
    std::string id;
    std::string created;  // of the record
    RunningPlugin plugin;
    Clock::time_point deadline;
  };
  struct Failure {
    std::string created;
    Error error;
    bool told = false;  // failed again
    Clock::time_point again;
  };

  void start(Clock::time_point now, const AttachmentRecord& record);
  void take_outcome(Clock::time_point now);
  void note_failure(Clock::time_point now, const std::string& id, const std::string& created, Error error);
  const AttachmentRecord* choose(Clock::time_point now, const Records& records);
  bool is_meant(const AttachmentRecord& record) const;

  std::string boot_id_;
  Environment env_;
  std::chrono::milliseconds interval_;
  std::optional<Running> running_;
  std::string last_;  // id of the attachment whose turn it was
  Clock::time_point due_{};
  std::map<std::string, Failure> failures_;  // by attachment id
  std::uint64_t done_ = 0;
};

}  // namespace vmlane::agent
