// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/files.h"
#include "tests/support/frames.h"

// Frames together with what a NIC is asked to do for them, as a virtio-net guest sees it: checksums to fill
// in, segments to cut. Both ends of a lane speak it, the tap's descriptor and an AF_PACKET socket.
namespace vmlane::test {

// struct virtio_net_hdr of a legacy or little-endian guest, without num_buffers; <linux/virtio_net.h> does
// not compile as C++.
struct VnetHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;
  static constexpr std::uint8_t kNoGso = 0;
  static constexpr std::uint8_t kTcp4 = 1;
  static constexpr std::uint8_t kTcp6 = 4;

  std::uint8_t flags = 0;
  std::uint8_t gso_type = kNoGso;
  std::uint16_t header_length = 0;   // only a hint
  std::uint16_t gso_size = 0;        // payload bytes of a segment
  std::uint16_t checksum_start = 0;  // from the start of the frame
  std::uint16_t checksum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);

struct Packet {
  VnetHeader header;
  Frame frame;  // with its VLAN tag, if it has one
};

// One end that sends and receives packets.
class PacketPort {
 public:
  virtual ~PacketPort() = default;
  virtual void send(const Packet& packet) const = 0;
  // The next packet that satisfies `wanted`, none within `timeout`.
  std::optional<Packet> receive(const std::function<bool(const Frame&)>& wanted,
                                std::chrono::milliseconds timeout = std::chrono::seconds(2)) const;

 protected:
  explicit PacketPort(Fd fd) : fd_(std::move(fd)) {}
  int fd() const { return fd_.get(); }

 private:
  // One packet that is there already; none when it cannot be read.
  virtual std::optional<Packet> read_one() const = 0;

  Fd fd_;
};

// The guest's end: a tap's descriptor, opened by its owner.
class TapPort : public PacketPort {
 public:
  explicit TapPort(Fd tap) : PacketPort(std::move(tap)) {}
  // What the guest's driver negotiated: checksum and, with it, TCP segmentation.
  void accept_offloads(bool accept) const;
  void send(const Packet& packet) const override;

 private:
  std::optional<Packet> read_one() const override;
};

// The wire's end: an AF_PACKET socket on a link of the caller's namespace. Its own frames are not received.
class WirePort : public PacketPort {
 public:
  explicit WirePort(const std::string& link);
  void send(const Packet& packet) const override;

 private:
  std::optional<Packet> read_one() const override;
};

// A TCP segment of `payload` bytes of a pattern over IPv4 (192.0.2.1 to .2) or IPv6, checksum complete.
Frame make_tcp_frame(const MacAddress& destination, const MacAddress& source, bool v6, std::size_t payload);
// The same as a driver hands it to a NIC: the checksum is left to it, and with `gso_size` the cutting as
// well.
Packet make_offloaded_tcp(const MacAddress& destination, const MacAddress& source, bool v6,
                          std::size_t payload, std::uint16_t gso_size);
// A tag of `ether_type` (0x8100, 0x88a8) pushed in front; the header's offsets move along.
Packet with_vlan_tag(Packet packet, std::uint16_t ether_type, std::uint16_t control);

// Of a TCP frame made here: the payload, its place in the stream, and whether all its checksums are right.
struct TcpSegment {
  std::uint32_t sequence = 0;
  std::vector<std::uint8_t> payload;
  bool checksums_right = false;
};
TcpSegment parse_tcp(const Frame& frame, bool v6);

}  // namespace vmlane::test
