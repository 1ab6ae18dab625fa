// SPDX-License-Identifier: Apache-2.0
#include "core/boot_id.h"

#include <algorithm>

#include "core/files.h"

namespace vmlane {

Result<std::string> read_boot_id(const std::filesystem::path& file) {
  VMLANE_ASSIGN(const auto content, read_file(file));
  std::string id = content.value_or("");
  std::erase_if(id, [](char c) { return c == '-' || c == '\n'; });
  const bool hex =
      std::ranges::all_of(id, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (id.empty() || !hex) return fail(Code::kIo, file.string() + " holds no boot id");
  return id;
}

}  // namespace vmlane
