// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/lane.h"
#include "cni/result.h"
#include "core/error.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

// Gives a link in the pod the addresses and routes of a result and brings it up. IPv6 addresses are usable at
// once (their owner is known, so no duplicate detection). All five route attributes of CNI 1.1 are honoured.
Result<> configure_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                            const CniResult& result);

// Whether the link has the addresses and routes of the record's result; Code::kChanged naming what is
// missing. More than that is fine: it is a later plugin's.
Result<> check_pod_addresses(netlink::Netlink& pod, const netlink::Link& link,
                             const AttachmentRecord& record);

// Makes a link that carries a guest's frames invisible to the pod's own stack: no IPv6, no ARP, no address
// generation, so that it sends nothing by itself. To be called while it is down.
Result<> silence_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link);

}  // namespace vmlane::cni
