// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/lane.h"
#include "core/error.h"
#include "netlink/netlink.h"

// The capability `bandwidth`, for every lane on a kernel link: what a link sends is held back by a token
// bucket in its queue, what it receives by one in the queue of an ifb that all of it goes through first. A
// lane names the link that the workload cannot go round: the host's end of a veth pair, whose sent frames are
// those to the workload, or a macvtap, whose received ones are.
//
// The ifb lies in the namespace of its link, under a name of the attachment's, so that it is found without a
// record.
namespace vmlane::cni {

// Steps of ADD. `place` is the namespace of `link`, which may be up or down. A rate of 0 is no limit.
Result<> limit_sent(Attachment& attachment, netlink::Netlink& place, const netlink::Link& link,
                    const netlink::RateLimit& limit);
// After programs that judge what the link receives are attached, before the workload can send.
// Code::kConflict when the ifb's name is taken.
Result<> limit_received(Attachment& attachment, netlink::Netlink& place, const netlink::Link& link,
                        const netlink::RateLimit& limit);

// Step of DEL, after the link is removed: its ifb, if there is one.
Result<> remove_limits(const Reclaim& reclaim, const netlink::Namespace& where);

// Code::kChanged when what limit_received() made is gone, by a record that says it was made.
Result<> check_limits(const Inspection& inspection, netlink::Netlink& place);

}  // namespace vmlane::cni
