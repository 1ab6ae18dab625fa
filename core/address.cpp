// SPDX-License-Identifier: Apache-2.0
#include "core/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "core/hash.h"

namespace vmlane {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string MacAddress::to_string() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t byte : bytes) {
    if (!out.empty()) out += ':';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

bool MacAddress::usable() const {
  const bool group = (bytes[0] & 1) != 0;
  return !group && std::ranges::any_of(bytes, [](std::uint8_t b) { return b != 0; });
}

Result<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress mac;
  constexpr std::size_t kLength = 17;
  bool valid = text.size() == kLength;
  for (std::size_t i = 0; valid && i < 6; i++) {
    const int high = hex_digit(text[i * 3]);
    const int low = hex_digit(text[i * 3 + 1]);
    valid = high >= 0 && low >= 0 && (i == 5 || text[i * 3 + 2] == ':' || text[i * 3 + 2] == '-');
    if (valid) mac.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  if (!valid) {
    return fail(Code::kDecode, "\"" + std::string(text.substr(0, 40)) + "\" is not a MAC address",
                "expected six pairs of hex digits, as in 02:00:00:00:00:01");
  }
  return mac;
}

Result<MacAddress> MacAddress::parse_usable(std::string_view text, std::string_view what, Code code) {
  auto mac = parse(text);
  if (!mac) return fail(code, std::string(what) + ": " + mac.error().message, mac.error().details);
  if (!mac->usable()) {
    return fail(code, std::string(what) + ": " + mac->to_string() + " is no address a NIC may have",
                "give a unicast address that is not all zeros");
  }
  return *mac;
}

IpAddress MacAddress::link_local() const {
  constexpr std::uint8_t kUniversal = 0x02;  // the bit of an EUI-64 that is turned over
  const auto& b = bytes;
  return {.v6 = true,
          .bytes = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(b[0] ^ kUniversal), b[1], b[2],
                    0xff, 0xfe, b[3], b[4], b[5]}};
}

MacAddress MacAddress::derived(std::string_view seed) {
  const std::string hex = sha256_hex(seed);
  MacAddress mac;
  mac.bytes[0] = 0x02;
  for (std::size_t i = 1; i < 6; i++) {
    mac.bytes[i] = static_cast<std::uint8_t>(hex_digit(hex[i * 2]) * 16 + hex_digit(hex[i * 2 + 1]));
  }
  return mac;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text.data(), text.size());
  return std::string(text.data());
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  IpAddress address;
  const std::string copy(text);
  address.v6 = copy.find(':') != std::string::npos;
  // inet_pton stops at a NUL, which JSON text may hold.
  if (copy.find('\0') != std::string::npos ||
      inet_pton(address.v6 ? AF_INET6 : AF_INET, copy.c_str(), address.bytes.data()) != 1) {
    return fail(Code::kDecode, "\"" + copy.substr(0, 60) + "\" is not an IP address");
  }
  return address;
}

std::string IpPrefix::to_string() const {
  return address.to_string() + "/" + std::to_string(length);
}

IpPrefix IpPrefix::network() const {
  IpPrefix out = *this;
  for (unsigned bit = length; bit < address.bits(); bit++) {
    out.address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
  }
  return out;
}

bool IpPrefix::contains(const IpAddress& other) const {
  if (other.v6 != address.v6) return false;
  return IpPrefix{other, length}.network().address == network().address;
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return fail(Code::kDecode, "\"" + std::string(text.substr(0, 60)) + "\" has no prefix length",
                "write it as 192.0.2.5/24");
  }
  IpPrefix prefix;
  VMLANE_ASSIGN(prefix.address, IpAddress::parse(text.substr(0, slash)));
  const std::string_view digits = text.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix.length);
  if (error != std::errc() || end != digits.data() + digits.size() || prefix.length > prefix.address.bits()) {
    return fail(Code::kDecode, "\"" + std::string(text.substr(0, 60)) + "\" has no valid prefix length");
  }
  return prefix;
}

}  // namespace vmlane
