// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "ebpf/guest_answers.h"

// The common part of the builders: bytes in network order, and the headers below a message.
namespace vmlane::answers {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::uint32_t kInfinite = 0xffffffff;  // seconds, in leases and lifetimes alike

void put8(Bytes& to, std::size_t value);
void put16(Bytes& to, std::size_t value);
void put32(Bytes& to, std::uint32_t value);
void put(Bytes& to, std::span<const std::uint8_t> bytes);
void put_text(Bytes& to, std::string_view text);
void put(Bytes& to, const IpAddress& address);
Bytes text_bytes(std::string_view text);

// Link-local address with the EUI-64 of `mac` (RFC 4291, appendix A).
IpAddress link_local(const MacAddress& mac);
const IpAddress& all_nodes();

// A domain name as DNS has it (RFC 1035, 3.1), for the option or key `what`.
Result<Bytes> dns_name(std::string_view name, std::string_view what);
// Names one after the other.
Result<Bytes> dns_names(const std::vector<std::string>& names, std::string_view what);

struct Ends {
  MacAddress source_mac;
  MacAddress destination_mac;
  IpAddress source;
  IpAddress destination;
};

// A frame with a UDP datagram or an ICMPv6 message, lengths and checksums right.
Bytes udp_frame(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port,
                const Bytes& payload);
Bytes icmp6_frame(const Ends& ends, Bytes message);

// Takes `frame` as the template of `kind`. Code::kInvalidConfig when it is too long; `what` says what to
// shorten.
Result<> set_template(vmlane_answers& answers, vmlane_template_kind kind, const Bytes& frame,
                      std::string_view what);

}  // namespace vmlane::answers
