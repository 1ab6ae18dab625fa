// SPDX-License-Identifier: Apache-2.0
#include "dataplane/frame.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <cstring>

namespace vmlane::dataplane {
namespace {

constexpr std::size_t kMaxTags = 2;
constexpr std::size_t kMaxExtensions = 6;
constexpr std::size_t kWord = 4;
constexpr std::uint16_t kEthernetQinQ = 0x88a8;

template <class Header>
bool load(std::span<const std::uint8_t> bytes, std::size_t at, Header& header) {
  if (at > bytes.size() || bytes.size() - at < sizeof header) return false;
  std::memcpy(&header, bytes.data() + at, sizeof header);
  return true;
}

void parse_transport(std::span<const std::uint8_t> bytes, FrameHeaders& headers) {
  const std::size_t at = std::size_t{headers.l2} + headers.l3;
  if (headers.protocol == IPPROTO_UDP) {
    udphdr udp{};
    if (load(bytes, at, udp)) headers.l4 = sizeof udp;
  } else if (headers.protocol == IPPROTO_TCP) {
    tcphdr tcp{};
    if (!load(bytes, at, tcp)) return;
    const std::size_t length = std::size_t{tcp.doff} * kWord;
    if (length >= sizeof tcp && at + length <= bytes.size()) headers.l4 = static_cast<std::uint16_t>(length);
  }
}

void parse_ipv4(std::span<const std::uint8_t> bytes, FrameHeaders& headers) {
  iphdr ip{};
  if (!load(bytes, headers.l2, ip) || ip.version != 4) return;
  const std::size_t length = std::size_t{ip.ihl} * kWord;
  if (length < sizeof ip || headers.l2 + length > bytes.size()) return;
  headers.family = 4;
  headers.l3 = static_cast<std::uint16_t>(length);
  headers.protocol = ip.protocol;
  if ((ip.frag_off & htons(IP_MF | IP_OFFMASK)) == 0) parse_transport(bytes, headers);
}

void parse_ipv6(std::span<const std::uint8_t> bytes, FrameHeaders& headers) {
  ip6_hdr ip{};
  if (!load(bytes, headers.l2, ip) || (ip.ip6_vfc >> 4) != 6) return;
  headers.family = 6;
  std::size_t length = sizeof ip;
  std::uint8_t next = ip.ip6_nxt;
  for (std::size_t i = 0; i < kMaxExtensions; i++) {
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) break;
    ip6_ext extension{};
    if (!load(bytes, headers.l2 + length, extension)) break;
    next = extension.ip6e_nxt;
    length += (std::size_t{extension.ip6e_len} + 1) * 2 * kWord;
  }
  headers.l3 = static_cast<std::uint16_t>(length);
  headers.protocol = next;
  if (next != IPPROTO_FRAGMENT) parse_transport(bytes, headers);
}

// FNV-1a.
std::uint32_t hash_bytes(std::span<const std::uint8_t> bytes, std::size_t at, std::size_t length,
                         std::uint32_t hash) {
  constexpr std::uint32_t kPrime = 16777619;
  if (at + length > bytes.size()) return hash;
  for (const std::uint8_t byte : bytes.subspan(at, length)) hash = (hash ^ byte) * kPrime;
  return hash;
}

}  // namespace

FrameHeaders parse_headers(std::span<const std::uint8_t> bytes) {
  FrameHeaders headers;
  ether_header ethernet{};
  if (!load(bytes, 0, ethernet)) return headers;
  headers.l2 = sizeof ethernet;
  std::uint16_t type = ntohs(ethernet.ether_type);
  for (std::size_t i = 0; i < kMaxTags && (type == ETHERTYPE_VLAN || type == kEthernetQinQ); i++) {
    std::uint16_t inner = 0;
    if (!load(bytes, headers.l2 + sizeof inner, inner)) return headers;
    headers.tagged = true;
    headers.l2 = static_cast<std::uint16_t>(headers.l2 + kWord);
    type = ntohs(inner);
  }
  if (type == ETHERTYPE_IP) parse_ipv4(bytes, headers);
  if (type == ETHERTYPE_IPV6) parse_ipv6(bytes, headers);
  return headers;
}

std::uint32_t flow_hash(std::span<const std::uint8_t> bytes, const FrameHeaders& headers) {
  constexpr std::uint32_t kBasis = 2166136261;
  constexpr std::size_t kIpv4Addresses = 12;
  constexpr std::size_t kIpv6Addresses = 8;
  std::uint32_t hash = kBasis;
  if (headers.family == 4) {
    hash = hash_bytes(bytes, headers.l2 + kIpv4Addresses, 2 * sizeof(in_addr), hash);
  } else if (headers.family == 6) {
    hash = hash_bytes(bytes, headers.l2 + kIpv6Addresses, 2 * sizeof(in6_addr), hash);
  } else {
    return hash_bytes(bytes, 0, 2 * ETH_ALEN, hash);
  }
  if (headers.l4 != 0) hash = hash_bytes(bytes, std::size_t{headers.l2} + headers.l3, kWord, hash);
  return hash;
}

}  // namespace vmlane::dataplane
