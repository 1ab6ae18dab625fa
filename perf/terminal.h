// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace vmlane::perf {

// Text that carries what other programs or files said, for a terminal: control characters (ASCII, and those
// of U+0080 to U+009F) but line feeds become '?', since a terminal would obey them.
inline std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); i++) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    const bool two_bytes = c == 0xc2 && next >= 0x80 && next <= 0x9f;
    const bool control = (c < 0x20 && c != '\n') || c == 0x7f || two_bytes;
    out += control ? '?' : text[i];
    if (two_bytes) i++;
  }
  return out;
}

}  // namespace vmlane::perf
