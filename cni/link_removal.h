// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "cni/kernel.h"
#include "core/error.h"
#include "netlink/namespace.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

using LinkRemoval = std::function<Result<>(netlink::Netlink&)>;

// Runs `removal`, which removes the link with `index` from `where` and may take others along in the same
// request. Returns when the link is gone for everybody, or with the error of the removal.
//
// Within a millisecond of the request a link has left its bridge, its namespace and everybody's sight, but
// the kernel answers only when all readers of its tables have moved on and every callback that was queued
// till then has run (rcu_barrier, 10 to 20 ms): all that is left to do is to free its memory. So a process of
// its own asks for the removal and waits for that answer; it holds nothing but its socket, and outlives a DEL
// by those milliseconds. Where there can be no process, or it does not come to an answer, the removal is done
// here.
Result<> remove_link(Kernel& kernel, const netlink::Namespace& where, int index, const LinkRemoval& removal);

}  // namespace vmlane::cni
