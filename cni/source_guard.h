// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "cni/result.h"
#include "core/address.h"
#include "core/error.h"
#include "core/json.h"
#include "ebpf/source_guard.h"

// The keys `spoofCheck`, `trusted`, `allowedAddresses`, `learnAddresses` and `macspoofchk`: what of a
// workload's frames gets past its own link, on every lane. The rules are those of ebpf/source_guard.bpf.h.
namespace vmlane::cni {

struct SourceGuardConfig {
  bool spoof_check = false;
  bool macs_only = false;  // `macspoofchk` without `spoofCheck`
  bool trusted = false;
  std::vector<MacAddress> allowed_macs;
  std::vector<IpPrefix> allowed_addresses;
  std::optional<ebpf::Learning> learning;  // unset: from leases where no address is known
};

// `on_by_default` for the lanes of virtual machines. Errors name the key.
Result<SourceGuardConfig> parse_source_guard(ObjectReader& reader, bool on_by_default, bool has_ipam);

// The rules for a NIC with that MAC and those addresses; none when no key asks for any. `network` is left to
// the caller.
std::optional<ebpf::SourceGuard> source_guard(const SourceGuardConfig& config, const MacAddress& mac,
                                              const std::vector<ResultIp>& ips);

}  // namespace vmlane::cni
