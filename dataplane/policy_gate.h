// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/drop_reason.h"
#include "policy/native_stage.h"
#include "policy/tables_file.h"

namespace vmlane::dataplane {

// How the record of an attachment wants policy held.
struct PolicyRule {
  bool deny = true;         // until tables know the attachment
  bool allow_node = false;  // what the node itself sends by the uplink is told from what others send by it
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
    // Events that it may still cause, of kEventsASecond.
    std::uint64_t event_second = 0;
    unsigned events = 0;
  };
  static constexpr unsigned kEventsASecond = 10;  // as on the other lanes
  static constexpr std::size_t kMaxDrops = 1024;

  // A frame that was refused, or the first of a connection that only policies in audit deny.
  struct Drop {
    std::uint64_t time = 0;  // clock_ns()
    std::array<char, 32> attachment{};
    std::uint8_t direction = 0;
    bool audit = false;        // it passed, and the rest tells why it would not have
    std::uint32_t reason = 0;  // VMLANE_STAGE_*
    vmlane_policy_answer answer{};
    vmlane_packet packet{};
  };
  // What happened under the tables that are in use, since it was taken last.
  struct Findings {
    std::vector<Drop> drops;
    std::vector<policy::NativeStage::Count> counts;
  };
  Findings take_findings();

  struct Flow {
    std::array<char, 32> attachment{};
    vmlane_connection entry{};
    std::uint32_t idle = 0;  // ticks
  };
  // Living connections, of one subject or (null) of all.
  std::vector<Flow> flows(const Subject* subject, std::uint64_t now) const;
  // Forgets the connections of one subject or (null) of all: their next packets are judged as new ones.
  void flush(const Subject* subject);

  // From now on these count; frames of connections that the last ones had let pass are judged again. The old
  // ones are given back, so that another thread gives up their memory.
  Tables use(Tables tables, std::uint64_t now);
  std::uint64_t generation() const { return tables_ ? tables_->generation() : 0; }

  // `attachment` is the attachment's id. The subject lives until forget().
  Subject& add(const std::string& attachment, const PolicyRule& rule, std::uint64_t now);
  void forget(const Subject& subject);

  // Whether a frame that the guest sends (VMLANE_POLICY_EGRESS) or gets may pass; else why not. `head` is the
  // frame from its Ethernet header on, with all headers. `from_node`: the node itself made it. `now` is
  // clock_ns(). `outcome`, if not null, is given all that was found.
  std::optional<DropReason> refuses(std::span<const std::uint8_t> head, Subject& subject,
                                    std::uint8_t direction, bool from_node, std::uint64_t now,
                                    policy::NativeStage::Outcome* outcome = nullptr);

  // As long as one lives, verdicts are for show: what they would have changed is as before afterwards. Copies
  // all connections, which takes a few milliseconds.
  class Rehearsal {
   public:
    explicit Rehearsal(PolicyGate& gate);
    ~Rehearsal();
    Rehearsal(const Rehearsal&) = delete;
    Rehearsal& operator=(const Rehearsal&) = delete;

   private:
    PolicyGate& gate_;
    std::unique_ptr<policy::NativeStage> stage_;
    std::map<std::uint32_t, Subject> subjects_;
    std::size_t drops_ = 0;
  };

 private:
  void find_in_tables(Subject& subject) const;
  void tell(std::span<const std::uint8_t> head, Subject& subject, std::uint8_t direction,
            const policy::NativeStage::Outcome& outcome, std::uint64_t now);
  // For some seconds TCP from the middle of a connection is judged either way round (contracts.md 3.9).
  static void open_window(Subject& subject, std::uint64_t now);

  Tables tables_;
  std::unique_ptr<policy::NativeStage> stage_;  // when the first subject comes: it has 4 MiB of connections
  std::map<std::uint32_t, std::unique_ptr<Subject>> subjects_;  // by incarnation
  std::uint32_t last_incarnation_ = 0;
  std::vector<Drop> drops_;
};

}  // namespace vmlane::dataplane
