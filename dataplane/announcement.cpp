// SPDX-License-Identifier: Apache-2.0
#include "dataplane/announcement.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace vmlane::dataplane {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kLeastFrame = 60;  // without the checksum
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint16_t kTypeRarp = 0x8035;
constexpr std::uint16_t kTypeIpv4 = 0x0800;
constexpr std::uint16_t kTypeIpv6 = 0x86dd;
constexpr std::uint8_t kWordBytes = 4;

void put(Bytes& to, std::span<const std::uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void put16(Bytes& to, std::uint16_t value) {
  constexpr unsigned kByteBits = 8;
  to.push_back(static_cast<std::uint8_t>(value >> kByteBits));
  to.push_back(static_cast<std::uint8_t>(value));
}

Bytes ethernet(const MacAddress& destination, const MacAddress& source, std::uint16_t type) {
  Bytes frame;
  put(frame, destination.bytes);
  put(frame, source.bytes);
  put16(frame, type);
  return frame;
}

// ARP or RARP over Ethernet and IPv4. The same address stands for sender and target.
Bytes resolution(std::uint16_t type, std::uint16_t operation, const MacAddress& mac,
                 const MacAddress& target_mac, std::span<const std::uint8_t, kWordBytes> address) {
  constexpr std::uint16_t kEthernet = 1;
  constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
  Bytes frame = ethernet(kBroadcast, mac, type);
  put16(frame, kEthernet);
  put16(frame, kTypeIpv4);
  frame.push_back(static_cast<std::uint8_t>(mac.bytes.size()));
  frame.push_back(kWordBytes);
  put16(frame, operation);
  put(frame, mac.bytes);
  put(frame, address);
  put(frame, target_mac.bytes);
  put(frame, address);
  frame.resize(kLeastFrame);
  return frame;
}

std::uint16_t checksum(std::span<const std::uint8_t> bytes, std::uint32_t sum) {
  constexpr unsigned kByteBits = 8;
  constexpr unsigned kHalf = 16;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
    sum += static_cast<std::uint32_t>(bytes[i] << kByteBits | bytes[i + 1]);
  while (sum >> kHalf != 0) sum = (sum & 0xffff) + (sum >> kHalf);
  return static_cast<std::uint16_t>(~sum);
}

Bytes advertisement(const MacAddress& mac, const IpAddress& address) {
  constexpr MacAddress kAllNodesMac{{0x33, 0x33, 0, 0, 0, 1}};
  constexpr std::array<std::uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  constexpr std::uint16_t kLength = sizeof(nd_neighbor_advert) + 8;  // with the option
  constexpr std::uint8_t kHopLimit = 255;
  constexpr std::uint8_t kVersion = 0x60;
  constexpr std::uint8_t kOverride = 0x20;
  Bytes frame = ethernet(kAllNodesMac, mac, kTypeIpv6);
  put(frame, std::array<std::uint8_t, 4>{kVersion, 0, 0, 0});
  put16(frame, kLength);
  frame.push_back(IPPROTO_ICMPV6);
  frame.push_back(kHopLimit);
  const std::size_t pseudo = frame.size();
  put(frame, address.bytes);
  put(frame, kAllNodes);
  const std::size_t message = frame.size();
  frame.push_back(ND_NEIGHBOR_ADVERT);
  frame.push_back(0);
  put16(frame, 0);
  put(frame, std::array<std::uint8_t, 4>{kOverride, 0, 0, 0});
  put(frame, address.bytes);
  frame.push_back(ND_OPT_TARGET_LINKADDR);
  frame.push_back(1);
  put(frame, mac.bytes);
  // The addresses of the pseudo header stand right before the message.
  const std::uint16_t sum = checksum(std::span(frame).subspan(pseudo), kLength + IPPROTO_ICMPV6);
  constexpr unsigned kByteBits = 8;
  frame[message + 2] = static_cast<std::uint8_t>(sum >> kByteBits);
  frame[message + 3] = static_cast<std::uint8_t>(sum);
  return frame;
}

}  // namespace

Announcement make_announcement(const MacAddress& mac, std::span<const IpAddress> addresses) {
  constexpr std::uint16_t kReverseRequest = 3;
  constexpr std::uint16_t kRequest = 1;
  constexpr std::array<std::uint8_t, kWordBytes> kNoAddress{};
  Announcement made{.for_switches = resolution(kTypeRarp, kReverseRequest, mac, mac, kNoAddress)};
  for (const IpAddress& address : addresses) {
    if (address.v6) {
      made.for_stations.push_back(advertisement(mac, address));
    } else {
      made.for_stations.push_back(
          resolution(kTypeArp, kRequest, mac, {}, std::span(address.bytes).first<kWordBytes>()));
    }
  }
  return made;
}

}  // namespace vmlane::dataplane
