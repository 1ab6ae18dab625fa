// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/json.h"
#include "ebpf/source_guard_layout.bpf.h"

// The rules of the source guard (specs/policy-ebpf.md 5.2) for one workload: in plain words, in a record, and
// in the layout that the kernel program and the switch read.
namespace vmlane::ebpf {

// Where addresses come from that nobody named.
enum class Learning {
  kNone,
  kLeases,  // from what DHCP and DHCPv6 servers grant; until then all but others' addresses pass
  kFirst,   // and who of the network is first to use one has it
};

// What a workload may say it is, and what it may get.
struct SourceGuard {
  // The NIC's own first; at least one, at most 8.
  std::vector<MacAddress> macs;
  // Senders of Ethernet and ARP are checked and nothing else: the reference bridge plugin's `macspoofchk`.
  bool macs_only = false;
  // The NIC's own first; at most 16 of each family. Without a value they are not known, and not checked.
  std::optional<std::vector<IpPrefix>> addresses;
  // Those of them that are this NIC's alone: nobody of `network` may learn them, or keep them if it did.
  std::vector<IpAddress> claimed;
  Learning learning = Learning::kNone;
  std::uint32_t network = 0;  // id of the network segment
  // May serve DHCP, be a router and take part in link control, and gets frames to other stations.
  bool trusted = false;
  // Gets frames to other stations without that.
  bool any_destination = false;
  // May send tagged frames; the bridge judges the VLANs.
  bool tags = false;
  // The link-local address of the network's gateway, which no workload may take.
  std::optional<IpAddress> gateway_link_local;

  static constexpr std::size_t kMaxMacs = 8;
  static constexpr std::size_t kMaxAddresses = 16;  // of each family
  static constexpr std::size_t kMaxLearned = 8;
};

// The words of key "learnAddresses"; Code::kDecode for another.
std::string to_string(Learning learning);
Result<Learning> learning_from(const std::string& text);

// As they stand in a record.
Json source_guard_to_json(const SourceGuard& guard);
Result<SourceGuard> source_guard_from_json(const Json& json);

// Adds the rules to an entry that was all zeros but for its owner.
void write_source_guard(const SourceGuard& guard, vmlane_guard& entry);

}  // namespace vmlane::ebpf
