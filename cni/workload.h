// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "cni/guest_answers.h"
#include "cni/lane.h"
#include "cni/policy.h"
#include "cni/source_guard.h"
#include "core/address.h"
#include "ebpf/workload.h"

// The programs on the link of a workload: what a lane's keys ask of them, and their place in ADD, CHECK and
// DEL. Every lane on a kernel link has them.
namespace vmlane::cni {

struct WorkloadConfig {
  SourceGuardConfig guard;
  GuestAnswersConfig answers;
  PolicyConfig policy;
};

// Lanes of virtual machines guard and answer by default; containers are asked for `spoofCheck` and have an
// IPAM of their own, so nothing is answered. Errors name the key.
Result<WorkloadConfig> parse_workload_config(ObjectReader& reader, bool for_guests, bool has_ipam);

// What only the lane knows of an attachment.
struct WorkloadFacts {
  ebpf::WorkloadLink link;
  bool tags = false;                      // the workload may send tagged frames
  bool any_destination = false;           // and gets frames that are for others
  bool in_pod = false;                    // the link is the pod's, a VM's alone cannot go round what is on it
  std::optional<MacAddress> gateway_mac;  // of the network's gateway, where the node is that
};

// As one step of ADD, with the link down: puts the programs on it, and into the record's handles what the
// functions below need. `result` has the addresses and routes. Nothing when no key asks for it.
Result<> attach_workload(Attachment& attachment, const WorkloadConfig& config, const WorkloadFacts& facts,
                         const CniResult& result);

// The same for a lane without such a link, whose datapath learns of attachments from their records: puts
// rules and answers into the record's handles, "source_guard" and "answers". `gateway_mac` as above.
Result<> record_workload(Attachment& attachment, const WorkloadConfig& config,
                         const std::optional<MacAddress>& gateway_mac, const CniResult& result);

// Code::kChanged when the programs are not as ADD left them; nothing when ADD left none.
Result<> check_workload(const Inspection& inspection, const ebpf::WorkloadLink& link);

// For reclaim, once the link is gone.
Result<> forget_workload(const Reclaim& reclaim);

}  // namespace vmlane::cni
