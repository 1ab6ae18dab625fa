// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string_view>

namespace vmlane::netlink {

// write(2) for sysctl files whose kernel side needs the rtnetlink lock (disable_ipv6, forwarding).
//
// The kernel does not wait for that lock there. It has the call begin again at once, without end and without
// returning to us, as long as another has the lock: a processor burnt, which on a small node is what the
// lock's owner, or the RCU grace period it waits for, needs to get on. Two such writers were seen to stop a
// node with two processors for minutes. Only a signal gets in between; so one is sent to ourselves every now
// and then, and its handler sleeps.
//
// Result and errno are those of write(2). One thread at a time.
ssize_t paced_write(int fd, std::string_view text);

}  // namespace vmlane::netlink
