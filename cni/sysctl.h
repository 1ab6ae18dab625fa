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
// The kernel has such writes begin again for as long as another has its rtnetlink lock
// (netlink/paced_write.h); one plugin at a time doing so is enough.
Result<> set_link_sysctl(const Node& node, const netlink::Namespace& where, const LinkSysctl& sysctl);

}  // namespace vmlane::cni
