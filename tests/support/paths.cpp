// SPDX-License-Identifier: Apache-2.0
#include "tests/support/paths.h"

#include <filesystem>

namespace vmlane::test {

std::string built_programs() {
  return VMLANE_BIN_DIR;
}

std::string built(const std::string& program) {
  return (std::filesystem::path(built_programs()) / program).string();
}

std::string source_file(const std::string& path) {
  return std::string(VMLANE_SOURCE_DIR) + "/" + path;
}

}  // namespace vmlane::test
