// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "cni/lane.h"
#include "cni/result.h"
#include "core/error.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

// Whether IPv6 addresses are looked for on the network before they are used. Without it they are usable at
// once: IPAM knows their owner.
struct DuplicateDetection {
  bool on = false;
  std::function<void()> await_path;  // returns when what the link sends reaches the network
};

// Gives a link in the pod the addresses and routes of a result and brings it up. All five route attributes of
// CNI 1.1 are honoured. With duplicate detection it returns when all addresses are usable; one that another
// node has is Code::kConflict. Also kConflict: an IPv6 address for a pod whose IPv6 is switched off.
Result<> configure_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                            const CniResult& result, const DuplicateDetection& detection);

// Whether the link has the addresses and routes of the record's result; Code::kChanged naming what is
// missing. More than that is fine: it is a later plugin's.
Result<> check_pod_addresses(netlink::Netlink& pod, const netlink::Link& link,
                             const AttachmentRecord& record);

// Makes a link that carries a guest's frames invisible to the pod's own stack: no IPv6, no ARP, no address
// generation, so that it sends nothing by itself. To be called while it is down. Puts it into `group` on the
// way.
Result<> silence_pod_link(Attachment& attachment, netlink::Netlink& pod, const netlink::Link& link,
                          std::optional<std::uint32_t> group = {});

}  // namespace vmlane::cni
