// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/error.h"
#include "core/json.h"
#include "core/record.h"

namespace vmlane::cli {

// What `attachment ls` shows of a record: {id, lane, network, pod, container_id, ifname, mac, ips, mtu,
// state, created}.
Json attachment_summary(const AttachmentRecord& record);

// The record that `id` means: an attachment id or the beginning of one, or with `ifname` a container id.
// Code::kNotFound, and Code::kConflict when more than one fits.
Result<AttachmentRecord> find_attachment(const RecordStore::Listing& listing, const std::string& id,
                                         const std::string& ifname);

// What the programs on the attachment's link dropped and answered by now, for an attachment of this node and
// boot; null when it has none.
Json attachment_counters(const AttachmentRecord& record);

}  // namespace vmlane::cli
