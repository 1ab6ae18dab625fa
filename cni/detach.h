// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/lane.h"
#include "cni/request.h"
#include "cni/session.h"
#include "core/error.h"
#include "core/record.h"

namespace vmlane::cni {

// Removes what a record describes: links, addresses, then the record itself; in any order of earlier
// accidents. Used by DEL, GC, sweep, and by ADD for leftovers. `lock` is the attachment's. On an
// error the record stays, so that the next DEL goes on. `cni_path` is searched for the IPAM plugin before the
// record's own.
Result<> reclaim_record(const Session& session, const Lane& lane, AttachmentRecord record,
                        const std::string& cni_path, const ObjectLock& lock);

// The same without a usable record: links by the owner they carry, addresses by the call's container id and
// config.
Result<> reclaim_by_names(const Session& session, const Lane& lane, const Request& request,
                          const ObjectLock& lock);

// DEL: success for what is gone, half made or never was.
Result<> detach(const Session& session, Lane& lane, const Request& request);

// GC: removes this network's attachments of this plugin that the runtime does not list, goes on after single
// failures and returns them together.
Result<> collect_garbage(const Session& session, Lane& lane, const Request& request);

}  // namespace vmlane::cni
