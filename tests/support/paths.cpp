// SPDX-License-Identifier: Apache-2.0
#include "tests/support/paths.h"

namespace vmlane::test {

std::string built_programs() {
  return VMLANE_BIN_DIR;
}

std::string built(const std::string& program) {
  return built_programs() + "/" + program;
}

std::string source_file(const std::string& path) {
  return std::string(VMLANE_SOURCE_DIR) + "/" + path;
}

}  // namespace vmlane::test
