// SPDX-License-Identifier: Apache-2.0
#include "core/base64.h"

#include <cstdint>

namespace vmlane {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::optional<std::uint32_t> value_of(char symbol) {
  const auto at = kAlphabet.find(symbol);
  if (at == std::string_view::npos) return std::nullopt;
  return static_cast<std::uint32_t>(at);
}

}  // namespace

std::string encode_base64(std::string_view data) {
  std::string text;
  for (std::size_t i = 0; i < data.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; j++)
      group = group << 8 | (i + j < data.size() ? static_cast<std::uint8_t>(data[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; j++)
      text += i + j <= data.size() ? kAlphabet[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
  std::string decoded;
  std::uint32_t group = 0;
  std::size_t symbols = 0;
  std::size_t padding = 0;
  for (const char symbol : text) {
    if (symbol == '\n' || symbol == '\r' || symbol == ' ' || symbol == '\t') continue;
    const auto value = symbol == '=' ? std::optional<std::uint32_t>(0) : value_of(symbol);
    if (!value) return std::nullopt;
    if (symbol == '=')
      ++padding;
    else if (padding > 0)
      return std::nullopt;
    group = group << 6 | *value;
    if (++symbols % 4 != 0) continue;
    for (const unsigned shift : {16U, 8U, 0U}) decoded += static_cast<char>(group >> shift & 0xffU);
    group = 0;
  }
  if (symbols % 4 != 0 || padding > 2) return std::nullopt;
  decoded.resize(decoded.size() - padding);
  return decoded;
}

}  // namespace vmlane
