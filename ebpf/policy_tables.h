// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/node_config.h"

// What the policy stages of a node's links judge by, and what they found: the side of the agent and of
// vmlanectl.
//
// The tables are blocks as policy/verdict.h describes them. They, the connections, the counters and the ring
// of events are made here, by the process that publishes, so that their memory is its own and not a plugin's.
// They stay in force when that process ends, for as long as a link has the stage; the next one goes on with
// them.
namespace vmlane::ebpf {

// Number of each workload's endpoint in the tables, by attachment id. A workload that is not in it has its
// default verdict.
using PolicyEndpoints = std::map<std::string, std::uint32_t>;

// Path of the network namespace of each workload's pod, by attachment id.
using PolicyNamespaces = std::map<std::string, std::string>;

struct PolicySizes {
  std::size_t connections = std::size_t{1} << 17;  // a power of two; 64 bytes each
  std::size_t event_bytes = std::size_t{1} << 18;  // a power of two
  std::size_t counters = std::size_t{1} << 16;     // rules that were hit
};

// How often connections were judged by a rule, or by being isolated.
struct PolicyCount {
  std::uint32_t policy = 0;           // number in the tables
  std::optional<std::uint32_t> rule;  // index in the policy's list; none: no rule let it pass
  bool ingress = false;
  bool audit = false;  // they passed, but would have been denied were the policy not in audit
  std::uint64_t hits = 0;
  std::chrono::nanoseconds last{};  // since boot, CLOCK_MONOTONIC
};

struct PolicyTuple {
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint8_t protocol = 0;
};

// A packet that was dropped, or passed though policies in audit would deny its connection.
struct PolicyDrop {
  std::chrono::nanoseconds time{};  // since boot
  std::string attachment_id;        // empty when the workload has gone since
  PolicyTuple packet;
  bool ingress = false;
  // Of the tables: "rule", "isolated", "broken", "too-large", "bad-tables"; without them: "not-judged-yet",
  // "malformed", "fragment", "no-connection", "ct-full", "not-ip".
  std::string reason;
  std::optional<std::uint32_t> policy;  // number in the tables, where one decided
  std::optional<std::uint32_t> rule;
  bool audit = false;  // it passed
  std::uint32_t generation = 0;
};

struct PolicyConnection {
  std::string attachment_id;
  PolicyTuple opened;  // as its first packet went
  bool ingress = false;
  std::string state;  // "new", "open", "half-closed", "closed", "answered", "blocked", "fragments"
  std::chrono::seconds idle{};
  std::optional<std::uint32_t> policy;
  std::optional<std::uint32_t> rule;
};

// Drops of a workload, by reason; each reason once.
struct PolicyStatus {
  std::vector<std::pair<std::string, std::uint64_t>> dropped;
  std::uint64_t untold = 0;  // of them, and of what audit let pass, without an event: ten a second have one
  std::uint64_t loose = 0;   // packets that passed as either end's, see policy/stage.h
};

class PolicyTables {
 public:
  // Finds the stage of this build on the node, or loads it so that it is there for the next ADD, and makes
  // what is missing but for the tables. For the one process that publishes.
  static Result<PolicyTables> open(const NodeConfig& node, const PolicySizes& sizes = {});
  // Only to look, or to flush; Code::kNotFound when no link has the stage and nobody publishes.
  static Result<PolicyTables> look(const std::filesystem::path& run_dir);

  PolicyTables(PolicyTables&&) noexcept;
  PolicyTables& operator=(PolicyTables&&) noexcept;
  ~PolicyTables();

  // Of the tables in force, also of another build's when open() met one; 0 when there are none.
  std::uint64_t generation() const;

  // Puts a whole block in force, for all workloads between two packets of each. Counters begin anew: the
  // numbers of policies may be others. `generation` must be above that in force, below 2^63.
  Result<> publish(std::uint64_t generation, std::span<const std::uint64_t> block,
                   const PolicyEndpoints& endpoints);

  // Changes the block in force, phase by phase: `write` is called with the number of the phase and the words
  // that programs are reading; after each call every program is waited for. Known connections are judged
  // again then.
  Result<> change(std::uint64_t generation, std::size_t phases,
                  const std::function<void(std::size_t phase, std::span<std::uint64_t> block)>& write);

  // Tells workloads' numbers in the tables in force, after a change and when one was added.
  Result<> assign(const PolicyEndpoints& endpoints);

  // Whether what is in force is what was published: the generation, every word, and the workloads' numbers.
  // Nobody else should write there, but any program with the right capability can.
  bool holds(std::uint64_t generation, std::span<const std::uint64_t> block,
             const PolicyEndpoints& endpoints) const;

  // Takes over from the stage of another build, newer or older, whose links keep what it published last:
  // known connections go on, and nothing is let through that neither says. `adopt` comes before what
  // publishes or assigns the workloads' numbers, `move_links` after it, for workloads that have one; it goes
  // on after an error and returns the first. Both cost next to nothing where there is no other build. Until
  // it is moved a workload keeps the other build's last state.
  Result<> adopt(const PolicyEndpoints& endpoints);
  Result<> move_links(const PolicyNamespaces& namespaces);

  // Attachment ids of the workloads that have the stage, sorted.
  std::vector<std::string> workloads() const;
  std::optional<PolicyStatus> status(const std::string& attachment_id) const;

  std::vector<PolicyCount> counters() const;
  // Verdicts that counters() lacks, because there was no room for one more rule. Begins anew with counters.
  std::uint32_t uncounted() const;
  // Living ones, of one workload or of all.
  std::vector<PolicyConnection> connections(const std::optional<std::string>& attachment_id = {}) const;
  // Forgets them; how many there were.
  std::size_t flush(const std::optional<std::string>& attachment_id = {});

  // Drops since the last call, at most after `timeout`. Each is given to one caller on the node.
  Result<> drops(std::chrono::milliseconds timeout, const std::function<void(const PolicyDrop&)>& take);

 private:
  class Contents;
  explicit PolicyTables(std::unique_ptr<Contents> contents);
  std::unique_ptr<Contents> contents_;
};

}  // namespace vmlane::ebpf
