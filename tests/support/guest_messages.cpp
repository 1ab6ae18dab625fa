// SPDX-License-Identifier: Apache-2.0
#include "tests/support/guest_messages.h"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace vmlane::test {
namespace {

constexpr MacAddress kAllServersMac{{0x33, 0x33, 0, 1, 0, 2}};
constexpr MacAddress kAllRoutersMac{{0x33, 0x33, 0, 0, 0, 2}};

void add(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
}

Bytes be16(std::uint32_t value) {
  return {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

Bytes be32(std::uint32_t value) {
  return joined_bytes({be16(value >> 16), be16(value & 0xffff)});
}

std::uint16_t get16(const Bytes& bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes.at(at) << 8 | bytes.at(at + 1));
}

std::uint32_t get32(const Bytes& bytes, std::size_t at) {
  return static_cast<std::uint32_t>(get16(bytes, at)) << 16 | get16(bytes, at + 2);
}

Bytes part(const Bytes& bytes, std::size_t at, std::size_t length) {
  if (at + length > bytes.size()) throw std::runtime_error("a reply is cut short");
  const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  return {first, first + static_cast<std::ptrdiff_t>(length)};
}

// Not inverted.
std::uint16_t sum_of(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i++) sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

Bytes pseudo_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                    std::size_t length) {
  return joined_bytes(
      {bytes_of(source), bytes_of(destination), {0, protocol}, be16(static_cast<std::uint32_t>(length))});
}

Frame make_ip(const Hop& hop, std::uint8_t protocol, Bytes segment, std::size_t checksum_at) {
  Bytes summed = pseudo_header(hop.source, hop.destination, protocol, segment.size());
  add(summed, segment);
  const Bytes checksum = be16(static_cast<std::uint16_t>(~sum_of(summed)));
  std::ranges::copy(checksum, segment.begin() + static_cast<std::ptrdiff_t>(checksum_at));
  const auto length = static_cast<std::uint32_t>(segment.size());
  Bytes header;
  if (hop.source.v6) {
    header = joined_bytes({{0x60, 0, 0, 0}, be16(length), {protocol, 255}});
  } else {
    header = joined_bytes({{0x45, 0}, be16(20 + length), {0, 7, 0, 0, 64, protocol, 0, 0}});
  }
  add(header, bytes_of(hop.source));
  add(header, bytes_of(hop.destination));
  if (!hop.source.v6) {
    const Bytes sum = be16(static_cast<std::uint16_t>(~sum_of(header)));
    std::ranges::copy(sum, header.begin() + 10);
  }
  add(header, segment);
  return make_frame(hop.destination_mac, hop.source_mac, hop.source.v6 ? 0x86dd : 0x0800, header);
}

IpAddress address4(const Bytes& bytes, std::size_t at) {
  IpAddress out;
  std::ranges::copy(part(bytes, at, 4), out.bytes.begin());
  return out;
}

IpAddress address6(const Bytes& bytes, std::size_t at) {
  IpAddress out{.v6 = true};
  std::ranges::copy(part(bytes, at, 16), out.bytes.begin());
  return out;
}

void add_option(Bytes& to, std::uint8_t code, const Bytes& value) {
  if (value.empty()) return;
  add(to, {code, static_cast<std::uint8_t>(value.size())});
  add(to, value);
}

}  // namespace

IpAddress ip(const std::string& text) {
  auto address = IpAddress::parse(text);
  if (!address) throw std::runtime_error(address.error().text());
  return *address;
}

Bytes bytes_of(const IpAddress& address) {
  return {address.bytes.begin(), address.bytes.begin() + (address.v6 ? 16 : 4)};
}

Bytes joined_bytes(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& one : parts) add(out, one);
  return out;
}

Frame make_udp(const Hop& hop, std::uint16_t source_port, std::uint16_t destination_port,
               const Bytes& payload) {
  const auto length = static_cast<std::uint32_t>(8 + payload.size());
  return make_ip(hop, 17,
                 joined_bytes({be16(source_port), be16(destination_port), be16(length), {0, 0}, payload}), 6);
}

Frame make_icmp6(const Hop& hop, const Bytes& message) {
  return make_ip(hop, 58, message, 2);
}

Frame make_dhcp(const MacAddress& guest, const DhcpQuestion& question) {
  Bytes message{1, 1, 6, 0};
  add(message, be32(question.xid));
  add(message, {0, 3});
  add(message, be16(question.flags));
  add(message, bytes_of(ip(question.client)));
  add(message, Bytes(8, 0));
  add(message, bytes_of(ip(question.relay)));
  add(message, Bytes(guest.bytes.begin(), guest.bytes.end()));
  message.resize(236);
  if (question.cookie) add(message, {0x63, 0x82, 0x53, 0x63});
  if (question.type != 0) add_option(message, 53, {question.type});
  add_option(message, 61, question.client_id);
  if (!question.requested.empty()) add_option(message, 50, bytes_of(ip(question.requested)));
  if (!question.server.empty()) add_option(message, 54, bytes_of(ip(question.server)));
  add_option(message, 55, {1, 3, 6, 12, 15, 26, 121});
  add(message, question.more);
  add(message, {255});
  const bool to_all = question.destination == "255.255.255.255";
  const Hop hop{guest, to_all ? broadcast_mac() : MacAddress{{2, 0, 0, 0, 0, 1}}, ip(question.client),
                ip(question.destination)};
  return make_udp(hop, 68, 67, message);
}

Bytes option6(std::uint16_t code, const Bytes& value) {
  return joined_bytes({be16(code), be16(static_cast<std::uint32_t>(value.size())), value});
}

Frame make_dhcp6(const MacAddress& guest, const Dhcp6Question& question) {
  Bytes message{question.type, 0xaa, 0xbb, 0xcc};
  if (!question.client_duid.empty()) add(message, option6(1, question.client_duid));
  if (!question.server_duid.empty()) add(message, option6(2, question.server_duid));
  if (question.rapid_commit) add(message, option6(14, {}));
  add(message, option6(6, {0, 23, 0, 24}));
  if (question.iaid) {
    Bytes ia = joined_bytes({be32(*question.iaid), Bytes(8, 0)});
    if (!question.address.empty())
      add(ia, option6(5, joined_bytes({bytes_of(ip(question.address)), Bytes(8, 0)})));
    add(message, option6(3, ia));
  }
  add(message, question.more);
  return make_udp({guest, kAllServersMac, ip(question.source), ip(question.destination)}, 546, 547, message);
}

Frame make_arp_request(const MacAddress& guest, const std::string& sender, const std::string& target) {
  Bytes arp{0, 1, 8, 0, 6, 4, 0, 1};
  add(arp, Bytes(guest.bytes.begin(), guest.bytes.end()));
  add(arp, bytes_of(ip(sender)));
  add(arp, Bytes(6, 0));
  add(arp, bytes_of(ip(target)));
  return make_frame(broadcast_mac(), guest, kEtherTypeArp, arp);
}

Frame make_router_solicitation(const MacAddress& guest, const std::string& source) {
  return make_icmp6({guest, kAllRoutersMac, ip(source), ip("ff02::2")}, Bytes{133, 0, 0, 0, 0, 0, 0, 0});
}

Frame make_neighbour_solicitation(const MacAddress& guest, const std::string& source,
                                  const std::string& target) {
  const MacAddress group{{0x33, 0x33, 0xff, 0, 0, 1}};
  return make_icmp6({guest, group, ip(source), ip("ff02::1:ff00:1")},
                    joined_bytes({{135, 0, 0, 0, 0, 0, 0, 0}, bytes_of(ip(target))}));
}

Reply read_reply(const Frame& frame) {
  Reply reply;
  reply.source_mac = source_of(frame);
  reply.destination_mac = destination_of(frame);
  const std::uint16_t type = ether_type_of(frame);
  if (type == kEtherTypeArp) {
    reply.payload = part(frame, 14, frame.size() - 14);
    reply.lengths_right = reply.payload.size() >= 28;
    reply.sums_right = true;
    return reply;
  }
  const bool v6 = type == 0x86dd;
  const std::size_t l4 = v6 ? 54 : 34;
  const std::uint8_t protocol = frame.at(v6 ? 20 : 23);
  const Bytes segment = part(frame, l4, frame.size() - l4);
  reply.source = v6 ? address6(frame, 22) : address4(frame, 26);
  reply.destination = v6 ? address6(frame, 38) : address4(frame, 30);
  reply.hops = frame.at(v6 ? 21 : 22);
  Bytes summed = pseudo_header(reply.source, reply.destination, protocol, segment.size());
  add(summed, segment);
  reply.sums_right = sum_of(summed) == 0xffff && (v6 || sum_of(part(frame, 14, 20)) == 0xffff);
  reply.lengths_right = get16(frame, v6 ? 18 : 16) == frame.size() - (v6 ? 54 : 14);
  if (protocol != 17) {
    reply.payload = segment;
    return reply;
  }
  reply.source_port = get16(segment, 0);
  reply.destination_port = get16(segment, 2);
  reply.lengths_right = reply.lengths_right && get16(segment, 4) == segment.size();
  reply.payload = part(segment, 8, segment.size() - 8);
  return reply;
}

DhcpReply read_dhcp(const Bytes& payload) {
  DhcpReply reply;
  if (payload.size() < 300 || get32(payload, 0) != 0x02010600 || get32(payload, 236) != 0x63825363)
    throw std::runtime_error("no DHCP reply");
  reply.xid = get32(payload, 4);
  reply.flags = get16(payload, 10);
  reply.client = address4(payload, 12).to_string();
  reply.yours = address4(payload, 16).to_string();
  reply.next_server = address4(payload, 20).to_string();
  reply.relay = address4(payload, 24).to_string();
  std::ranges::copy(part(payload, 28, 6), reply.hardware_address.bytes.begin());
  for (std::size_t i = 108; payload[i] != 0; i++) reply.filename += static_cast<char>(payload[i]);
  std::size_t at = 240;
  while (at < payload.size() && !reply.ended) {
    const int code = payload[at];
    reply.ended = code == 255;
    if (code == 0 || code == 255) {
      at++;
      continue;
    }
    const std::size_t length = payload.at(at + 1);
    add(reply.options[code], part(payload, at + 2, length));
    reply.order.push_back(code);
    at += 2 + length;
  }
  if (reply.options.contains(53)) reply.type = reply.options[53].at(0);
  return reply;
}

std::map<int, Bytes> read_options6(const Bytes& bytes) {
  std::map<int, Bytes> options;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = get16(bytes, at + 2);
    options[get16(bytes, at)] = part(bytes, at + 4, length);
    at += 4 + length;
  }
  return options;
}

Dhcp6Reply read_dhcp6(const Bytes& payload) {
  return {payload.at(0), get32(payload, 0) & 0xffffff, read_options6(part(payload, 4, payload.size() - 4))};
}

std::multimap<int, Bytes> read_nd_options(const Bytes& message, std::size_t at) {
  std::multimap<int, Bytes> options;
  while (at < message.size()) {
    const std::size_t length = message.at(at + 1) * std::size_t{8};
    if (length == 0) throw std::runtime_error("an option of no length");
    options.emplace(message[at], part(message, at + 2, length - 2));
    at += length;
  }
  return options;
}

}  // namespace vmlane::test
