// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/error.h"
#include "ebpf/source_guard_layout.bpf.h"
#include "ebpf/workload.h"
#include "ebpf/workload_programs.h"

// Whose an address of a network is, as the programs' map of claims has it: entries of workloads with known
// addresses are written here, those of others by the programs (learned_addresses.bpf.h).
namespace vmlane::ebpf {

// The NIC's own addresses become nobody else's, whoever had them. Code::kConflict when the map is full.
Result<> claim_addresses(const WorkloadPrograms& programs, std::uint16_t key, const SourceGuard& guard);

// All that a workload has claimed or learned is free again. Gone already, or another's by now, is success.
Result<> release_addresses(std::uint32_t claims_map, std::uint16_t key, const vmlane_guard& guard);

// What the workload has learned and nobody else was given since, and what not yet.
void read_learned(const WorkloadHandle& handle, const vmlane_guard& guard, WorkloadStatus& status);

}  // namespace vmlane::ebpf
