// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "core/error.h"
#include "core/node_config.h"

namespace vmlane::cni {

// For STATUS: whether ADD could write its locks and, in `state`, its records. Makes the directories.
// Code::kNotAvailable names the directory and what is wrong with it.
Result<> check_directories(const NodeConfig& config, const std::filesystem::path& state);

}  // namespace vmlane::cni
