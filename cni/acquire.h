// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/ipam.h"
#include "cni/lane.h"
#include "cni/request.h"
#include "cni/result.h"
#include "cni/session.h"
#include "core/error.h"
#include "core/record.h"
#include "core/transaction.h"

namespace vmlane::cni {

// What an attachment takes from stocks that all of a node share, before any link is made: a MAC on its
// segment and addresses of its network. Writes the intent first; sets record.mac; gives the IPAM result,
// empty without IPAM. A MAC that a living NIC on the segment has is Code::kConflict naming its owner, or
// Code::kTryAgain when that is an earlier sandbox of the same pod or VM. What such a sandbox had is released,
// and taken over, only once it is gone.
Result<CniResult> acquire(const Session& session, const Lane& lane, const NicRequest& nic, const Ipam& ipam,
                          AttachmentRecord& record, Transaction& transaction, const ObjectLock& lock);

}  // namespace vmlane::cni
