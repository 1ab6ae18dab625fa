// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "cloud-init/seed.h"
#include "core/error.h"

namespace vmlane::cloud_init {

// Writes the files of a seed to a directory, which is made when it is not there. Each file appears whole;
// only its owner may read them, for user-data may hold secrets.
Result<> write_seed_directory(const std::filesystem::path& directory, const Seed& data);

// Writes an ISO 9660 image with the files and the volume label that cloud-init looks for, as a drive of the
// VM. Made by xorriso, genisoimage or mkisofs, whichever is in `search_path` (PATH); without any
// Code::kNotFound naming the packages. The image appears whole, readable by its owner.
Result<> write_seed_image(const std::filesystem::path& image, const Seed& data,
                          const std::string& search_path);

}  // namespace vmlane::cloud_init
