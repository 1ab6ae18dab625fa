// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/files.h"

// Ethernet frames made and read by hand, and raw sockets to send and see them.
namespace vmlane::test {

using Frame = std::vector<std::uint8_t>;

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherTypeArp = 0x0806;
// "Local experimental" of IEEE 802: no kernel answers it.
inline constexpr std::uint16_t kEtherTypeTest = 0x88b5;
inline constexpr std::size_t kEthernetHeader = 14;

const MacAddress& broadcast_mac();

Frame make_frame(const MacAddress& destination, const MacAddress& source, std::uint16_t ether_type,
                 const std::vector<std::uint8_t>& payload);
// A test frame with `text` as payload, padded to the least Ethernet length.
Frame make_test_frame(const MacAddress& destination, const MacAddress& source, const std::string& text);

// What a host broadcasts when it takes an IPv4 address (RFC 5227): neighbours that know another owner forget
// it.
Frame make_arp_announcement(const MacAddress& mac, const IpAddress& address);

MacAddress destination_of(const Frame& frame);
MacAddress source_of(const Frame& frame);
std::uint16_t ether_type_of(const Frame& frame);
// Whether `text` stands at the start of the payload.
bool carries(const Frame& frame, const std::string& text);

// What a small IPv4 host says to a frame: an ARP request for `address` or an ICMP echo request to it is
// answered from `mac`.
std::optional<Frame> answer(const Frame& frame, const MacAddress& mac, const IpAddress& address);

// AF_PACKET socket on one link of a namespace (empty: the caller's). Frames are queued from construction on.
class PacketSocket {
 public:
  PacketSocket(const std::string& netns, const std::string& link);

  void send(const Frame& frame) const;
  // The next frame that satisfies `wanted`, none within `timeout`. Frames sent through this socket are not
  // seen.
  std::optional<Frame> receive(const std::function<bool(const Frame&)>& wanted,
                               std::chrono::milliseconds timeout) const;
  // All frames queued until now and during `time`.
  std::vector<Frame> collect(std::chrono::milliseconds time) const;

 private:
  Fd fd_;
};

}  // namespace vmlane::test
