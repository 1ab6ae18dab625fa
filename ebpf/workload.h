// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"
#include "ebpf/guest_answers.h"
#include "ebpf/source_guard.h"
#include "netlink/bpf_filter.h"
#include "netlink/namespace.h"

// The kernel programs on a workload's link, where the workload cannot go round them: the source guard
// (specs/policy-ebpf.md 5.2), then the guest answers.
//
// They are loaded once for a node and build and shared by all its links. Each link's clsact filter carries a
// 16-bit class id, the key under which the programs' maps have what is particular to that workload: an ADD
// verifies and compiles nothing. The filters hold programs and maps, whoever may tidy up bpffs; when the last
// link is gone a pin holds them for the next ADD (keep_alive.h), and only that. A later ADD finds them by the
// ids in `<runDir>/programs/`; when that file is lost it loads another copy.
namespace vmlane::ebpf {

// A link, and the direction in which its device sees what the workload sends.
struct WorkloadLink {
  const netlink::Namespace& where;
  int index = 0;
  netlink::Direction from_workload = netlink::Direction::kIngress;
};

// What errors call a workload's link.
Result<std::string> link_name(const WorkloadLink& link);

// What a link's programs are to do for its workload.
struct WorkloadSpec {
  std::string attachment_id;
  std::optional<SourceGuard> guard;         // without one every frame passes
  const vmlane_answers* answers = nullptr;  // null: nothing is answered
};

// By what a link's programs and their entries are found again. Ids of the kernel, valid for this boot.
struct WorkloadHandle {
  std::uint16_t key = 0;
  std::uint32_t guards_map = 0;
  std::uint32_t answers_map = 0;
  std::uint32_t plains_map = 0;
  std::uint32_t claims_map = 0;
  std::uint32_t from_program = 0;
  std::uint32_t to_program = 0;

  Json to_json() const;
  // No value when it is none of ours.
  static std::optional<WorkloadHandle> from_json(const Json& json);
};

// Puts the programs on a link. To be called while the link is down, after its last move. Either all is there
// or nothing. Code::kConflict when the node has no room for another workload.
Result<WorkloadHandle> attach_workload(const NodeConfig& node, const WorkloadLink& link,
                                       const WorkloadSpec& spec);

// Code::kChanged naming the link when its programs or what they know of the workload are not what
// attach_workload left. `answers_digest` is digest_of() the answers, empty without any.
Result<> check_workload(const WorkloadLink& link, const WorkloadHandle& handle,
                        const std::string& attachment_id, const std::optional<SourceGuard>& guard,
                        const std::string& answers_digest);

// SHA-256 of answers without what the program itself writes.
std::string digest_of(const vmlane_answers& answers);

// Takes the workload's entries out of the maps, by the handle, or wherever they are when there is none. The
// link must be gone, or may no longer carry frames: without an entry every frame is dropped. Gone already is
// success.
Result<> forget_workload(const std::filesystem::path& run_dir, const std::string& attachment_id,
                         const std::optional<WorkloadHandle>& handle);

// Attachment ids of the workloads that the programs of this node know, sorted.
Result<std::vector<std::string>> known_workloads(const std::filesystem::path& run_dir);

// An address that a workload has by a lease or by use.
struct LearnedAddress {
  IpAddress address;
  std::optional<std::chrono::seconds> left;  // unset: without end
};

// What the programs counted and learned.
struct WorkloadStatus {
  std::vector<std::pair<std::string, std::uint64_t>> dropped;  // by reason, each reason once
  std::vector<IpAddress> link_locals;                          // that the workload chose
  std::vector<LearnedAddress> learned;
  std::vector<std::string> learning;  // families whose addresses are not known yet, "ipv4" and "ipv6"
  std::vector<std::pair<std::string, std::uint64_t>> answered;  // by kind; empty when nothing is answered
};
// No value when the entry is gone.
std::optional<WorkloadStatus> workload_status(const WorkloadHandle& handle, const std::string& attachment_id);

}  // namespace vmlane::ebpf
