// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "core/error.h"
#include "lab/process.h"

// Network namespaces of a lab, kept alive by a bind mount like those of iproute2 but in the lab's own
// directory.
namespace vmlane::lab {

// Makes a namespace at `path` (a new file) with its loopback up.
Result<> create_namespace(const std::filesystem::path& path);

// Unmounts and removes it; gone already, or never mounted, is success.
Result<> remove_namespace(const std::filesystem::path& path);

// Whether a network namespace is mounted at `path`.
bool is_namespace(const std::filesystem::path& path);

// Moves the calling process (single-threaded: a fresh child) into the namespace for good, with a /sys that
// shows its links.
Result<> enter_namespace(const std::filesystem::path& path);

// Processes whose network namespace is one of `paths`: what was started in them and left behind.
std::vector<ProcessRef> processes_inside(const std::vector<std::filesystem::path>& paths);

}  // namespace vmlane::lab
