// SPDX-License-Identifier: Apache-2.0
#include "tests/support/long_run.h"

#include <cstdlib>
#include <string_view>

namespace vmlane::test {

bool long_run() {
  const char* value = std::getenv("VMLANE_LONG");
  return value != nullptr && std::string_view(value) == "1";
}

int rounds(int short_count, int count) {
  return long_run() ? count : short_count;
}

}  // namespace vmlane::test
