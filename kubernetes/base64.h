// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vmlane::kubernetes {

// Decodes base64 (RFC 4648, section 4, with padding); spaces and line ends count for nothing. No value for
// anything else.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace vmlane::kubernetes
