// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"

namespace vmlane::lab {

// Writes `output`: an initramfs with one more program, at `guest_path` ("opt/tool/bin/tool"; its directories
// are made). The program must be static, the guest has no libraries. Linux unpacks all archives that follow
// each other in an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel), so
// the image itself is copied as it is. Code::kIo naming the file that cannot be read or written.
Result<> add_guest_program(const std::filesystem::path& initramfs, const std::filesystem::path& program,
                           const std::string& guest_path, const std::filesystem::path& output);

}  // namespace vmlane::lab
