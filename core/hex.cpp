// SPDX-License-Identifier: Apache-2.0
#include "core/hex.h"

#include <charconv>

namespace vmlane {
namespace {

constexpr int kHexBase = 16;

}  // namespace

std::string to_hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte / kHexBase];
    text += kDigits[byte % kHexBase];
  }
  return text;
}

bool from_hex(std::string_view text, std::span<std::uint8_t> bytes) {
  if (text.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); i++) {
    const char* digits = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, bytes[i], kHexBase);
    if (error != std::errc() || end != digits + 2) return false;
  }
  return true;
}

}  // namespace vmlane
