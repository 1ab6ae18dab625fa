// SPDX-License-Identifier: Apache-2.0
#include "netlink/announce.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/files.h"

namespace vmlane::netlink {
namespace {

constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr MacAddress kAllNodesMac{{0x33, 0x33, 0, 0, 0, 1}};
constexpr in6_addr kAllNodes = {{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};

struct ArpFrame {
  ether_header ethernet;
  ether_arp arp;
} __attribute__((packed));

struct AdvertisementFrame {
  ether_header ethernet;
  ip6_hdr ip;
  nd_neighbor_advert advertisement;
  nd_opt_hdr option;
  std::uint8_t mac[ETH_ALEN];
} __attribute__((packed));

ether_header ethernet_header(const MacAddress& destination, const MacAddress& source,
                             std::uint16_t ether_type) {
  ether_header header{};
  std::memcpy(header.ether_dhost, destination.bytes.data(), ETH_ALEN);
  std::memcpy(header.ether_shost, source.bytes.data(), ETH_ALEN);
  header.ether_type = htons(ether_type);
  return header;
}

// A request for one's own address: sender and target address are the same.
ArpFrame arp_announcement(const MacAddress& mac, const IpAddress& address) {
  ArpFrame frame{};
  frame.ethernet = ethernet_header(kBroadcast, mac, ETHERTYPE_ARP);
  frame.arp.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                      .ar_pro = htons(ETHERTYPE_IP),
                      .ar_hln = ETH_ALEN,
                      .ar_pln = 4,
                      .ar_op = htons(ARPOP_REQUEST)};
  std::memcpy(frame.arp.arp_sha, mac.bytes.data(), ETH_ALEN);
  std::memcpy(frame.arp.arp_spa, address.bytes.data(), sizeof frame.arp.arp_spa);
  std::memcpy(frame.arp.arp_tpa, address.bytes.data(), sizeof frame.arp.arp_tpa);
  return frame;
}

// The sum of the Internet checksum (RFC 1071) over an even number of bytes.
std::uint32_t add_to_sum(std::uint32_t sum, std::span<const std::uint8_t> bytes) {
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
    sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  return sum;
}

// Over pseudo-header (RFC 8200, 8.1) and message.
std::uint16_t icmp_checksum(const AdvertisementFrame& frame) {
  const auto bytes = std::span(reinterpret_cast<const std::uint8_t*>(&frame), sizeof frame);
  std::uint32_t sum =
      add_to_sum(0, bytes.subspan(offsetof(AdvertisementFrame, ip) + offsetof(ip6_hdr, ip6_src)));
  sum += ntohs(frame.ip.ip6_plen) + std::uint32_t{IPPROTO_ICMPV6};
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

AdvertisementFrame neighbour_advertisement(const MacAddress& mac, const IpAddress& address) {
  AdvertisementFrame frame{};
  frame.ethernet = ethernet_header(kAllNodesMac, mac, ETHERTYPE_IPV6);
  frame.ip.ip6_vfc = 6 << 4;
  frame.ip.ip6_plen = htons(sizeof frame - offsetof(AdvertisementFrame, advertisement));
  frame.ip.ip6_nxt = IPPROTO_ICMPV6;
  frame.ip.ip6_hlim = 255;  // receivers drop any other
  std::memcpy(&frame.ip.ip6_src, address.bytes.data(), sizeof frame.ip.ip6_src);
  frame.ip.ip6_dst = kAllNodes;
  frame.advertisement.nd_na_hdr.icmp6_type = ND_NEIGHBOR_ADVERT;
  frame.advertisement.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
  std::memcpy(&frame.advertisement.nd_na_target, address.bytes.data(),
              sizeof frame.advertisement.nd_na_target);
  frame.option = {.nd_opt_type = ND_OPT_TARGET_LINKADDR, .nd_opt_len = 1};  // in units of eight bytes
  std::memcpy(frame.mac, mac.bytes.data(), ETH_ALEN);
  frame.advertisement.nd_na_hdr.icmp6_cksum = icmp_checksum(frame);
  return frame;
}

template <class Frame>
Result<> send_frame(const Fd& socket, int index, const Frame& frame) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = index;
  const auto sent =
      ::sendto(socket.get(), &frame, sizeof frame, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  if (sent == static_cast<ssize_t>(sizeof frame)) return {};
  return fail(
      kernel_error("cannot announce an address on the link with index " + std::to_string(index), errno));
}

}  // namespace

Result<> announce_addresses(const Namespace& network_namespace, int index, const MacAddress& mac,
                            std::span<const IpAddress> addresses) {
  return network_namespace.run<void>([&]() -> Result<> {
    // One for all: closing a packet socket takes the kernel some ten milliseconds.
    const Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!socket) return fail(kernel_error("cannot open a packet socket", errno));
    for (const IpAddress& address : addresses) {
      VMLANE_TRY(address.v6 ? send_frame(socket, index, neighbour_advertisement(mac, address))
                            : send_frame(socket, index, arp_announcement(mac, address)));
    }
    return {};
  });
}

}  // namespace vmlane::netlink
