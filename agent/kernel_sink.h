// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "agent/policy_sink.h"
#include "core/node_config.h"
#include "ebpf/policy_tables.h"

namespace vmlane::agent {

// The policy stages of the node's links (ebpf/policy_tables.h). What is published stays in force when the
// agent is gone; the next one goes on with it, one of another release too.
class KernelSink final : public PolicySink {
 public:
  explicit KernelSink(NodeConfig node) : node_(std::move(node)) {}

  std::string name() const override { return "kernel"; }
  Result<> publish(const Generation& generation) override;
  bool holds(const Generation& generation) override;
  std::uint64_t published() override;
  std::vector<Error> problems() const override;

  // Counters go with tables that are replaced as a whole. `take` gets what they counted until then, and the
  // generation that is about to come; `done` is told whether it came.
  using TakeCounts = std::function<void(const std::vector<ebpf::PolicyCount>&, std::uint64_t generation)>;
  using CountsTaken = std::function<void(bool came)>;
  void when_counters_begin_anew(TakeCounts take, CountsTaken done) {
    take_counts_ = std::move(take);
    counts_taken_ = std::move(done);
  }

  // Nullptr while the stage could not be loaded.
  ebpf::PolicyTables* tables() { return tables_ ? &*tables_ : nullptr; }

 private:
  Result<> open();
  Result<> publish_tables(const Generation& generation);
  Result<> publish_changes(const Generation& generation);

  NodeConfig node_;
  std::optional<ebpf::PolicyTables> tables_;
  // Loading costs a second of the processor: what failed is not tried again at once.
  std::optional<Error> failure_;
  std::chrono::steady_clock::time_point retry_;
  bool whole_ = true;  // what is in force is not what the next difference is about
  TakeCounts take_counts_;
  CountsTaken counts_taken_;
};

}  // namespace vmlane::agent
