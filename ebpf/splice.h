// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/error.h"
#include "ebpf/ingress.h"
#include "netlink/namespace.h"

namespace vmlane::ebpf {

// The pod side of the tap lane: every frame that arrives on one of two links leaves by the other, in both
// directions, untouched (GSO, checksum state, VLAN tag and multicast included). The program is attached to
// the devices without a pin and goes with them: there is nothing to clean up. Both links are in
// `pod_namespace`. No enforcement lives here; that is on the host side, where the pod cannot go round it.
//
// By clsact where it can be had, else by TCX. The kernel waits out an RCU grace period for each TCX program
// it attaches, and again when the device goes: 25 ms against 1 ms for the two links of an ADD, for 0.1 us a
// frame. What TCX is good for, an order among programs of several owners, nobody needs inside the pod.
Result<> attach_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index);
// The same by the given mechanism, for tests.
Result<> attach_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index,
                       Attach attach);

// Whether the splice's program is on the ingress of both links and leads to the other; Code::kChanged naming
// the link where it is not.
Result<> check_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index);

}  // namespace vmlane::ebpf
