// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/lane.h"
#include "cni/result.h"
#include "core/error.h"
#include "core/json.h"

// The key `ipMasq`: what leaves the attachment's subnets goes out under the node's address. By nf_tables in a
// table of our own (netlink/masquerade.h), never by iptables.
namespace vmlane::cni {

// Keys `ipMasq` and `ipMasqBackend`; whether to masquerade. Needs addresses, so without IPAM it is
// Code::kInvalidConfig; the backend "iptables" is Code::kUnsupportedField.
Result<bool> parse_ip_masq(ObjectReader& reader, bool has_ipam);

// For lane.plan(): notes in the record that there may be something for remove_masquerade().
void plan_masquerade(AttachmentRecord& record);

// Step of ADD: masquerades the addresses of `result`. Forwarding is the administrator's switch: one that is
// off gets a warning in the log.
Result<> add_masquerade(Attachment& attachment, const CniResult& result);

// What somebody removed, by `nft flush ruleset` say, is put back with a warning in the log.
Result<> check_masquerade(const Inspection& inspection);

// Step of DEL, when the record says so or there is none.
Result<> remove_masquerade(const Reclaim& reclaim);

}  // namespace vmlane::cni
