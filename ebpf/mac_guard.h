// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/address.h"
#include "core/error.h"
#include "ebpf/ingress.h"
#include "netlink/namespace.h"

namespace vmlane::ebpf {

// The key `macspoofchk`: on the ingress of the host's end of a veth pair, frames whose source MAC is not the
// workload's are dropped, and ARP and RARP that name another sender, under up to three VLAN tags. It sits
// where a pod cannot go round it, and goes with its device: there is nothing to clean up. To be attached
// while the link is down. By clsact where it can be had, else by TCX, for the splice's reason.
Result<> attach_mac_guard(const netlink::Namespace& host_namespace, int index, const MacAddress& workload);
// The same by the given mechanism, for tests.
Result<> attach_mac_guard(const netlink::Namespace& host_namespace, int index, const MacAddress& workload,
                          Attach attach);

// Whether the link has the guard for that MAC; Code::kChanged naming the link when not.
Result<> check_mac_guard(const netlink::Namespace& host_namespace, int index, const MacAddress& workload);

}  // namespace vmlane::ebpf
