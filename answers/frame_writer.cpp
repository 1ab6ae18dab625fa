// SPDX-License-Identifier: Apache-2.0
#include "answers/frame_writer.h"

#include <algorithm>

namespace vmlane::answers {
namespace {

constexpr std::size_t kUdpHeader = 8;
constexpr std::size_t kIp4Header = 20;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIcmp6 = 58;
constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxName = 253;

std::uint32_t add_words(std::uint32_t sum, std::span<const std::uint8_t> bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8) + (i + 1 < bytes.size() ? bytes[i + 1] : 0U);
  }
  return sum;
}

std::uint16_t inverted(std::uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::uint16_t transport_checksum(const Ends& ends, std::uint8_t protocol, const Bytes& segment) {
  const std::size_t size = ends.source.bits() / 8;
  std::uint32_t sum = add_words(0, std::span(ends.source.bytes).first(size));
  sum = add_words(sum, std::span(ends.destination.bytes).first(size));
  sum += protocol + static_cast<std::uint32_t>(segment.size());
  const std::uint16_t checksum = inverted(add_words(sum, segment));
  return checksum == 0 ? 0xffff : checksum;  // RFC 768; in ICMPv6 both mean the same
}

void store16(Bytes& bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value & 0xff);
}

Bytes ip_frame(const Ends& ends, std::uint8_t protocol, const Bytes& segment) {
  Bytes frame;
  put(frame, ends.destination_mac.bytes);
  put(frame, ends.source_mac.bytes);
  put16(frame, ends.source.v6 ? 0x86dd : 0x0800);
  if (ends.source.v6) {
    put32(frame, 0x60000000);
    put16(frame, segment.size());
    put8(frame, protocol);
    put8(frame, 255);
    put(frame, ends.source);
    put(frame, ends.destination);
  } else {
    Bytes header;
    put16(header, 0x4500);
    put16(header, kIp4Header + segment.size());
    put32(header, 0x4000);  // identification 0, do not fragment
    put8(header, 64);
    put8(header, protocol);
    put16(header, 0);
    put(header, ends.source);
    put(header, ends.destination);
    store16(header, 10, inverted(add_words(0, header)));
    put(frame, header);
  }
  put(frame, segment);
  return frame;
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

}  // namespace

void put8(Bytes& to, std::size_t value) {
  to.push_back(static_cast<std::uint8_t>(value & 0xff));
}

void put16(Bytes& to, std::size_t value) {
  put8(to, value >> 8);
  put8(to, value);
}

void put32(Bytes& to, std::uint32_t value) {
  put16(to, value >> 16);
  put16(to, value);
}

void put(Bytes& to, std::span<const std::uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void put_text(Bytes& to, std::string_view text) {
  to.insert(to.end(), text.begin(), text.end());
}

void put(Bytes& to, const IpAddress& address) {
  put(to, std::span(address.bytes).first(address.bits() / 8));
}

Bytes text_bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

IpAddress link_local(const MacAddress& mac) {
  const auto& m = mac.bytes;
  return {true,
          {0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3],
           m[4], m[5]}};
}

const IpAddress& all_nodes() {
  static const IpAddress address{true, {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
  return address;
}

Result<Bytes> dns_name(std::string_view name, std::string_view what) {
  const std::string shown = std::string(what) + " has \"" + std::string(name.substr(0, kMaxName)) + "\"";
  Bytes out;
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.size() > kMaxName)
    return fail(Code::kInvalidConfig,
                shown + ", which is no domain name of 1 to " + std::to_string(kMaxName) + " characters");
  while (true) {
    const std::string_view label = name.substr(0, name.find('.'));
    if (label.empty() || label.size() > kMaxLabel || !std::ranges::all_of(label, is_name_character)) {
      return fail(Code::kInvalidConfig, shown + ", which is no domain name",
                  "between dots stand 1 to " + std::to_string(kMaxLabel) + " letters, digits and hyphens");
    }
    put8(out, label.size());
    put_text(out, label);
    if (label.size() == name.size()) break;
    name.remove_prefix(label.size() + 1);
  }
  put8(out, 0);
  return out;
}

Result<Bytes> dns_names(const std::vector<std::string>& names, std::string_view what) {
  Bytes out;
  for (const std::string& name : names) {
    VMLANE_ASSIGN(const Bytes encoded, dns_name(name, what));
    put(out, encoded);
  }
  return out;
}

Bytes udp_frame(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port,
                const Bytes& payload) {
  Bytes segment;
  put16(segment, source_port);
  put16(segment, destination_port);
  put16(segment, kUdpHeader + payload.size());
  put16(segment, 0);
  put(segment, payload);
  store16(segment, 6, transport_checksum(ends, kUdp, segment));
  return ip_frame(ends, kUdp, segment);
}

Bytes icmp6_frame(const Ends& ends, Bytes message) {
  store16(message, 2, transport_checksum(ends, kIcmp6, message));
  return ip_frame(ends, kIcmp6, message);
}

Result<> set_template(vmlane_answers& answers, vmlane_template_kind kind, const Bytes& frame,
                      std::string_view what) {
  if (frame.size() > VMLANE_TEMPLATE_BYTES) {
    return fail(
        Code::kInvalidConfig,
        "\"guestAnswers\": " + std::string(what) + " takes " + std::to_string(frame.size()) +
            " bytes, the limit is " + std::to_string(VMLANE_TEMPLATE_BYTES),
        "give the guest fewer or shorter of them: routes, servers, search domains and options add up");
  }
  vmlane_template& to = answers.templates[kind];
  to.length = static_cast<std::uint32_t>(frame.size());
  std::ranges::copy(frame, static_cast<std::uint8_t*>(to.frame));
  return {};
}

}  // namespace vmlane::answers
