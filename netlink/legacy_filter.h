// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"

namespace vmlane::netlink {

// Whether FORWARD of the table `filter` of iptables-legacy (ip6tables-legacy) has policy "drop" in the
// calling thread's namespace. False without asking the kernel where that table is not in use: the question
// alone would load it.
Result<bool> legacy_forward_drops(bool v6);

}  // namespace vmlane::netlink
