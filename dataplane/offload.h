// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "dataplane/dpdk.h"
#include "dataplane/frame.h"
#include "dataplane/port.h"

// Checksums and segmentation: from what a virtio device says of a frame to what its receiver can take.
namespace vmlane::dataplane {

// struct virtio_net_hdr_v1 without the number of buffers, as tap devices and guests have it.
struct VirtioHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;
  static constexpr std::uint8_t kDataValid = 2;
  static constexpr std::uint8_t kGsoNone = 0;
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  static constexpr std::uint8_t kGsoEcn = 0x80;

  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t header_length = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;
  std::uint16_t buffers = 0;
};

// Sets a frame's lengths and offload flags: `partial` is whether its checksum is still to be filled in,
// `segment` the size of its segments, 0 for none. False when that cannot be said of such a frame.
bool set_offloads(rte_mbuf& frame, const FrameHeaders& headers, bool partial, std::uint16_t segment);

// What a tap is told of a frame.
VirtioHeader virtio_header(const rte_mbuf& frame);

// Bytes of IP in the largest packet that the frame is, or will be cut into.
std::uint32_t packet_size(const rte_mbuf& frame);

// Adds bytes at the end of a frame, in more buffers as it needs them. False when there is no memory.
bool append(rte_mbuf& frame, std::span<const std::uint8_t> bytes, rte_mempool& pool);

// Fills in the checksum that the frame waits for.
void complete_checksum(rte_mbuf& frame);

// Cuts a frame that waits for it into its segments, IPv4 or IPv6, and gives each to `take`. Their checksums
// wait to be filled in. False when memory ran out; what was cut so far has been given.
bool segment(rte_mbuf& frame, rte_mempool& pool, const std::function<void(FramePtr)>& take);

// The frame with its Ethernet header in a buffer of its own. lib/vhost prepares frames for NICs: in what is
// to be segmented it would replace the sum of the pseudo header by one without the length, which a guest that
// segments the frame itself would trust. It leaves frames alone whose headers are not in one piece. No value
// when memory ran out.
FramePtr with_header_apart(FramePtr frame, rte_mempool& pool);

}  // namespace vmlane::dataplane
