// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace vmlane {

struct IpAddress;

// Ethernet address. Text form is six pairs of hex digits; ours is always lower case with colons.
struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  std::string to_string() const;
  // Not a broadcast or multicast address and not all zeros: one that a NIC may have.
  bool usable() const;
  auto operator<=>(const MacAddress&) const = default;

  // Accepts ':' or '-' between the pairs and either case.
  static Result<MacAddress> parse(std::string_view text);
  // As parse, and refuses what no NIC may have; the error names `what`, the key it came from.
  static Result<MacAddress> parse_usable(std::string_view text, std::string_view what, Code code);
  // The locally administered unicast address 02:xx:xx:xx:xx:xx whose last five bytes are the start of
  // sha256(seed).
  static MacAddress derived(std::string_view seed);
  // The IPv6 link-local address that a host makes of this MAC (RFC 4291, appendix A).
  IpAddress link_local() const;
};

// IPv4 or IPv6 address in network byte order; an IPv4 address uses the first four bytes.
struct IpAddress {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};

  unsigned bits() const { return v6 ? 128 : 32; }
  std::string to_string() const;
  auto operator<=>(const IpAddress&) const = default;
  static Result<IpAddress> parse(std::string_view text);
};

// Address with prefix length, "192.0.2.5/24". The host bits are kept.
struct IpPrefix {
  IpAddress address;
  unsigned length = 0;

  std::string to_string() const;
  bool contains(const IpAddress& other) const;
  // The same prefix with all host bits cleared.
  IpPrefix network() const;
  auto operator<=>(const IpPrefix&) const = default;
  static Result<IpPrefix> parse(std::string_view text);
};

}  // namespace vmlane
