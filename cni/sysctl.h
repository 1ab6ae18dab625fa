// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cni/lane.h"
#include "core/error.h"
#include "netlink/namespace.h"

namespace vmlane::cni {

struct LinkSysctl {
  std::string family;  // "ipv4" or "ipv6"
  std::string link;
  std::string key;
  std::string value;
};

// Writes net.<family>.conf.<link>.<key> in a namespace, one plugin of the node at a time.
//
// Switches such as disable_ipv6 need the kernel's rtnetlink lock, and the kernel does not wait for it there:
// it has write(2) begin again, at once and without end, as long as another has that lock. Two plugins doing
// so burn two CPUs, which may be all there are, and keep the lock's owner from getting on: ADDs started
// together stood still for half a minute on such a node. With a lock of our own, one at most does so.
Result<> set_link_sysctl(const Node& node, const netlink::Namespace& where, const LinkSysctl& sysctl);

}  // namespace vmlane::cni
