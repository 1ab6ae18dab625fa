// SPDX-License-Identifier: Apache-2.0
#include "perf/native_guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/files.h"
#include "lab/vhost_frontend.h"
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

Result<Fd> open_tap(const std::string& name) {
  if (name.starts_with('/')) {
    Fd device(::open(name.c_str(), O_RDWR | O_CLOEXEC));
    if (device) return device;
    return fail(kernel_error("cannot open macvtap " + name, errno));
  }
  Fd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!tap) return fail(kernel_error("cannot open /dev/net/tun", errno));
  ifreq request{};
  name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(tap.get(), TUNSETIFF, &request) != 0)
    return fail(kernel_error("cannot open tap " + name, errno));
  return tap;
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

namespace {

Result<> say_ready() {
  constexpr std::string_view kReady = "ready\n";
  if (::write(STDOUT_FILENO, kReady.data(), kReady.size()) >= 0) return {};
  return fail(io_error("cannot write to standard output", errno));
}

// With all that a Linux guest's driver takes.
Result<> run_on_rings(const NativeGuestOptions& options) {
  constexpr std::chrono::seconds kPatience{5};
  constexpr std::chrono::milliseconds kLookAgain{500};  // whether the switch is still there
  VMLANE_ASSIGN(const auto nic, lab::VhostFrontend::listen({.socket = options.socket}));
  VMLANE_TRY(nic->accept(kPatience));
  VMLANE_TRY(say_ready());
  NativeGuest guest(options.mac, options.address);
  for (;;) {
    auto frame = nic->receive_within(kLookAgain);
    if (!frame && !nic->connected()) {
      [[maybe_unused]] const auto again = nic->accept(kPatience);
      continue;
    }
    if (!frame || !guest.answer(frame->bytes)) continue;
    if (options.delay_ns != 0) spin(options.delay_ns);
    nic->send(frame->bytes);
  }
}

}  // namespace

Result<> run_native_guest(const NativeGuestOptions& options) {
  if (!options.socket.empty()) return run_on_rings(options);
  VMLANE_ASSIGN(const Fd tap, open_tap(options.tap));
  VMLANE_TRY(say_ready());
  NativeGuest guest(options.mac, options.address);
  std::array<std::uint8_t, 1 << 16> buffer{};
  // struct virtio_net_hdr before each frame; the header that declares it is no C++.
  constexpr std::size_t kOffload = 10;
  for (;;) {
    const ssize_t got = ::read(tap.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(io_error("cannot read from tap " + options.tap, errno));
    if (static_cast<std::size_t>(got) <= kOffload) continue;
    const auto whole = std::span(buffer).first(static_cast<std::size_t>(got));
    if (!guest.answer(whole.subspan(kOffload))) continue;
    if (options.delay_ns != 0) spin(options.delay_ns);
    std::memset(whole.data(), 0, kOffload);
    // A frame that the link does not take (it is going down) is lost, as on a wire.
    if (::write(tap.get(), whole.data(), whole.size()) < 0 && errno != EIO && errno != EINTR)
      return fail(io_error("cannot write to tap " + options.tap, errno));
  }
}

}  // namespace vmlane::perf
