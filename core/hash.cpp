// SPDX-License-Identifier: Apache-2.0
#include "core/hash.h"

#include <sha2.h>  // libmd

#include <array>

namespace vmlane {

std::string sha256_hex(std::string_view data) {
  std::array<char, SHA256_DIGEST_STRING_LENGTH> hex{};
  SHA256Data(reinterpret_cast<const unsigned char*>(data.data()), data.size(), hex.data());
  return std::string(hex.data());
}

}  // namespace vmlane
