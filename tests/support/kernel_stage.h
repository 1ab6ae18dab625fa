// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "core/node_config.h"
#include "ebpf/policy_programs.h"
#include "ebpf/policy_tables.h"
#include "policy/subject.h"
#include "tests/support/frames.h"

// The policy stage of a node, without a link: its programs are run on frames by hand (BPF_PROG_TEST_RUN).
// Filters put the class id where such a run must not, so there is one workload, the one with key 0.
namespace vmlane::test {

class KernelStage {
 public:
  // Throws when the programs cannot be loaded, or the tables not be made.
  KernelStage(const NodeConfig& node, std::size_t connections,
              std::size_t counters = ebpf::PolicySizes().counters);

  ebpf::PolicyTables& tables() { return *tables_; }
  void set_workload(const vmlane_policy_workload& workload);
  // Whether the workload may send (egress) or get the frame.
  bool passes(const Frame& frame, bool egress) const;

 private:
  ebpf::PolicyPrograms programs_;
  std::optional<ebpf::PolicyTables> tables_;
};

// Now, as the stage tells time (policy/connection.h).
std::uint32_t stage_ticks();

}  // namespace vmlane::test
