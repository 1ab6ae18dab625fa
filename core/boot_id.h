// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"

namespace vmlane {

// The kernel's random id of this boot from `file` (NodeConfig::boot_id_file), 32 hex digits without dashes so
// that a link alias has room. Objects made under another boot id are leftovers.
Result<std::string> read_boot_id(const std::filesystem::path& file);

}  // namespace vmlane
