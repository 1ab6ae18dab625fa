// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vmlane {

// Base64 with padding (RFC 4648, section 4), in one line.
std::string encode_base64(std::string_view data);

// Spaces and line ends count for nothing. No value for anything that is not base64 with padding.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace vmlane
