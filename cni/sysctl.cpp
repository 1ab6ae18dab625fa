// SPDX-License-Identifier: Apache-2.0
#include "cni/sysctl.h"

#include "core/lock.h"

namespace vmlane::cni {

Result<> set_link_sysctl(const Node& node, const netlink::Namespace& where, const LinkSysctl& sysctl) {
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(node.config.locks_dir(), "kernel", "sysctl"));
  return node.kernel.write_link_sysctl(where, sysctl.family, sysctl.link, sysctl.key, sysctl.value);
}

}  // namespace vmlane::cni
