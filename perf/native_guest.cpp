// SPDX-License-Identifier: Apache-2.0
#include "perf/native_guest.h"

#include <arpa/inet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/files.h"
#include "perf/guest_nic.h"
#include "perf/guest_stack.h"
#include "perf/timing.h"

namespace vmlane::perf {
namespace {

template <class Header>
Header get(std::span<const std::uint8_t> bytes) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

template <class Header>
void put(std::span<std::uint8_t> bytes, const Header& header) {
  std::memcpy(bytes.data(), &header, sizeof header);
}

// The checksum of RFC 1624 for an ICMP type that goes from request to reply.
std::uint16_t after_type_change(std::uint16_t checksum) {
  std::uint32_t sum = static_cast<std::uint16_t>(~ntohs(checksum)) + 0xffffU - (ICMP_ECHO << 8U);
  sum = (sum & 0xffff) + (sum >> 16U);
  return htons(static_cast<std::uint16_t>(~sum));
}

void spin(std::uint64_t nanoseconds) {
  const std::uint64_t end = now_ns() + nanoseconds;
  while (now_ns() < end) {
  }
}

}  // namespace

bool NativeGuest::answer(std::span<std::uint8_t> frame) {
  if (frame.size() < sizeof(ether_header)) return false;
  auto ethernet = get<ether_header>(frame);
  const bool for_us = std::memcmp(ethernet.ether_dhost, mac_.bytes.data(), ETH_ALEN) == 0;
  const bool group = (ethernet.ether_dhost[0] & 1) != 0;
  if (!for_us && !group) return false;
  const auto payload = frame.subspan(sizeof(ether_header));
  bool answered = false;
  if (ethernet.ether_type == htons(ETHERTYPE_ARP)) answered = answer_arp(payload);
  if (ethernet.ether_type == htons(ETHERTYPE_IP) && for_us) answered = answer_ipv4(payload);
  if (!answered) return false;
  std::memcpy(ethernet.ether_dhost, ethernet.ether_shost, ETH_ALEN);
  std::memcpy(ethernet.ether_shost, mac_.bytes.data(), ETH_ALEN);
  put(frame, ethernet);
  return true;
}

bool NativeGuest::answer_arp(std::span<std::uint8_t> packet) const {
  if (packet.size() < sizeof(ether_arp)) return false;
  auto arp = get<ether_arp>(packet);
  if (arp.arp_op != htons(ARPOP_REQUEST) || arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_hln != ETH_ALEN ||
      arp.arp_pln != sizeof arp.arp_spa ||
      std::memcmp(arp.arp_tpa, address_.bytes.data(), sizeof arp.arp_tpa) != 0)
    return false;
  arp.arp_op = htons(ARPOP_REPLY);
  std::memcpy(arp.arp_tha, arp.arp_sha, ETH_ALEN);
  std::memcpy(arp.arp_tpa, arp.arp_spa, sizeof arp.arp_tpa);
  std::memcpy(arp.arp_sha, mac_.bytes.data(), ETH_ALEN);
  std::memcpy(arp.arp_spa, address_.bytes.data(), sizeof arp.arp_spa);
  put(packet, arp);
  return true;
}

// Addresses and ports change places, which changes no checksum.
bool NativeGuest::answer_ipv4(std::span<std::uint8_t> packet) {
  if (packet.size() < sizeof(iphdr)) return false;
  auto ip = get<iphdr>(packet);
  const std::size_t header = std::size_t{ip.ihl} * 4;
  const std::size_t length = ntohs(ip.tot_len);
  if (ip.version != 4 || header < sizeof ip || length < header || length > packet.size() ||
      (ip.frag_off & htons(IP_MF | IP_OFFMASK)) != 0 ||
      std::memcmp(&ip.daddr, address_.bytes.data(), sizeof ip.daddr) != 0)
    return false;
  const auto payload = packet.subspan(header, length - header);
  if (ip.protocol == IPPROTO_ICMP && payload.size() >= sizeof(icmphdr)) {
    auto icmp = get<icmphdr>(payload);
    if (icmp.type != ICMP_ECHO) return false;
    icmp.type = ICMP_ECHOREPLY;
    icmp.checksum = after_type_change(icmp.checksum);
    put(payload, icmp);
  } else if (ip.protocol == IPPROTO_UDP && payload.size() >= sizeof(udphdr)) {
    auto udp = get<udphdr>(payload);
    const std::size_t datagram = ntohs(udp.len);
    if (udp.dest != htons(kUdpPort) || datagram < sizeof udp || datagram > payload.size() ||
        !counter_.answer(payload.subspan(sizeof udp, datagram - sizeof udp)))
      return false;
    std::swap(udp.source, udp.dest);
    udp.check = 0;  // IPv4 allows none; that of an answered query would be wrong
    put(payload, udp);
  } else {
    return false;
  }
  std::swap(ip.saddr, ip.daddr);
  put(packet, ip);
  return true;
}

bool NativeGuest::is_for_stack(std::span<const std::uint8_t> frame) const {
  if (frame.size() < sizeof(ether_header)) return false;
  const auto ethernet = get<ether_header>(frame);
  if (std::memcmp(ethernet.ether_dhost, mac_.bytes.data(), ETH_ALEN) != 0) return false;
  if (ethernet.ether_type == htons(ETHERTYPE_ARP)) return true;
  const auto packet = frame.subspan(sizeof ethernet);
  if (ethernet.ether_type != htons(ETHERTYPE_IP) || packet.size() < sizeof(iphdr)) return false;
  return get<iphdr>(packet).protocol == IPPROTO_TCP;
}

Result<> run_native_guest(const NativeGuestOptions& options) {
  VMLANE_ASSIGN(const auto nic,
                options.socket.empty() ? open_tap_nic(options.tap) : open_vhost_nic(options.socket));
  VMLANE_ASSIGN(const auto stack, GuestStack::start(*nic, options.mac, options.address));
  constexpr std::string_view kReady = "ready\n";
  if (::write(STDOUT_FILENO, kReady.data(), kReady.size()) < 0)
    return fail(io_error("cannot write to standard output", errno));
  NativeGuest guest(options.mac, options.address.address);
  for (;;) {
    VMLANE_ASSIGN(const auto frame, nic->receive());
    if (!frame) continue;
    const bool answered = guest.answer(frame->bytes);
    if (!answered && !guest.is_for_stack(frame->bytes)) continue;
    if (options.delay_ns != 0) spin(options.delay_ns);
    VMLANE_TRY(answered ? nic->send({{}, frame->bytes}) : stack->take(*frame));
  }
}

}  // namespace vmlane::perf
