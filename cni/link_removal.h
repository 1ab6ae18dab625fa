// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <future>
#include <vector>

#include "cni/kernel.h"
#include "core/error.h"
#include "netlink/namespace.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

// Links that are gone and that the kernel is still at freeing. Within a millisecond of the request a link has
// left its bridge, its namespace and everybody's sight, but the kernel answers only when all readers of its
// tables have moved on and every callback that was queued till then has run (rcu_barrier, 10 to 20 ms). A
// thread waits for that answer, so that addresses can be released and records removed meanwhile. No process
// ends before its threads' system calls do: when a DEL has returned, this is over as well.
class LinkRemovals {
 public:
  using Removal = std::function<Result<>(netlink::Netlink&)>;

  // Runs `removal`, which removes the link with `index` from `where` and may take others along in the same
  // request. Returns when the link is gone for everybody, or with the error of the removal.
  Result<> start(Kernel& kernel, const netlink::Namespace& where, int index, const Removal& removal);

 private:
  // Each is waited for where this ends.
  std::vector<std::future<Result<>>> under_way_;
};

}  // namespace vmlane::cni
