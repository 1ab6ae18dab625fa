// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vmlane {

// Two lower-case digits a byte.
std::string to_hex(std::span<const std::uint8_t> bytes);
// False unless the text is two digits for each of `bytes`.
bool from_hex(std::string_view text, std::span<std::uint8_t> bytes);

}  // namespace vmlane
