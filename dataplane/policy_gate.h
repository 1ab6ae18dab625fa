// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dataplane/drop_reason.h"
#include "policy/native_stage.h"
#include "policy/tables_file.h"

namespace vmlane::dataplane {

// How the record of an attachment wants policy held.
struct PolicyRule {
  bool deny = true;  // until tables know the attachment
};

// NetworkPolicy for the guests of one worker: the stage that is on the other lanes' links (policy/stage.h),
// with tables from the agent's file and connections of its own. Tables are of one generation from one frame
// to the next: a file is not written to while somebody reads it (policy/tables_file_writer.h).
//
// One thread: the worker's.
class PolicyGate {
 public:
  using Tables = std::shared_ptr<const policy::TablesFile>;

  // A guest that policy is about.
  struct Subject {
    std::array<char, 32> attachment{};
    vmlane_policy_workload workload{};
  };

  // From now on these count; frames of connections that the last ones had let pass are judged again. The old
  // ones are given back, so that another thread gives up their memory.
  Tables use(Tables tables, std::uint64_t now);
  std::uint64_t generation() const { return tables_ ? tables_->generation() : 0; }

  // `attachment` is the attachment's id. The subject lives until forget().
  Subject& add(const std::string& attachment, const PolicyRule& rule, std::uint64_t now);
  void forget(const Subject& subject);

  // Whether a frame that the guest sends (VMLANE_POLICY_EGRESS) or gets may pass; else why not. `head` is the
  // frame from its Ethernet header on, with all headers. `now` is clock_ns().
  std::optional<DropReason> refuses(std::span<const std::uint8_t> head, Subject& subject,
                                    std::uint8_t direction, std::uint64_t now);

 private:
  void find_in_tables(Subject& subject) const;
  // For some seconds TCP from the middle of a connection is judged either way round (contracts.md 3.9).
  static void open_window(Subject& subject, std::uint64_t now);

  Tables tables_;
  std::unique_ptr<policy::NativeStage> stage_;  // when the first subject comes: it has 4 MiB of connections
  std::map<std::uint32_t, std::unique_ptr<Subject>> subjects_;  // by incarnation
  std::uint32_t last_incarnation_ = 0;
};

}  // namespace vmlane::dataplane
