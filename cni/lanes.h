// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "cni/lane.h"

namespace vmlane::cni {

// The lane whose plugin has this name, for who reads a config without running it; nullptr for another
// project's plugin.
std::unique_ptr<Lane> make_lane(std::string_view type);

}  // namespace vmlane::cni
