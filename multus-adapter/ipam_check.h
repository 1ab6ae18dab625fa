// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "multus-adapter/config_check.h"

namespace vmlane::multus {

// The addresses in a plugin's key `ipam`, for the allocators host-local and static of the CNI project, whose
// forms are their documentation's; nothing for others. Paths start at the plugin.
std::vector<ConfigProblem> check_ipam_addresses(const Json& plugin);

}  // namespace vmlane::multus
