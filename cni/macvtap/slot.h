// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"
#include "core/node_config.h"

namespace vmlane::cni {

// The number for the next macvtap that no device plugin has given one (names::MacvtapSlot): one after the
// other from `<runDir>/ifindex`, past those that a device node of the machine has. A file that cannot be read
// as a number counts as none.
Result<int> take_macvtap_index(const NodeConfig& config);

}  // namespace vmlane::cni
