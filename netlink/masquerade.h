// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "netlink/namespace.h"

// Source NAT of what leaves a subnet, in a table of our own:
//
//   table inet vmlane
//     map source4, source6          address -> goto the owner's chain
//     chain postrouting (srcnat)    ip saddr vmap @source4, ip6 saddr vmap @source6
//     chain att-<owner>             return for its own subnets and for multicast, else masquerade
//
// A packet costs one look-up, however many owners there are, and owners are found by name alone. A change is
// one transaction that needs no look at the rules before it, so any number of processes may make theirs at
// once, beside any other writer of nf_tables. Other tables, and programs that reload them, are not touched
// and do not touch this one, but for `nft flush ruleset`. The table goes with its last owner.
namespace vmlane::netlink {

struct Masquerade {
  std::string owner;  // an attachment id
  // Addresses of the workload with their subnets' lengths; one at least.
  std::vector<IpPrefix> addresses;
};

// Puts the owner's part in place, whatever of it or of the table is there already. An address that another
// owner has becomes this one's.
Result<> set_masquerade(const Namespace& network_namespace, const Masquerade& masquerade);

// Whether all of it is in place. An address that another owner took over counts.
Result<bool> has_masquerade(const Namespace& network_namespace, const Masquerade& masquerade);

// Removes what the owner has; nothing there, or no nf_tables in the kernel, is success.
Result<> remove_masquerade(const Namespace& network_namespace, const std::string& owner);

}  // namespace vmlane::netlink
