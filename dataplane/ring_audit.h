// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace vmlane::dataplane {

// What a guest did to its rings that no driver does.
enum class RingFault : std::uint8_t {
  kNone,
  kIndex,    // more entries are available than the ring has
  kHead,     // an entry is no descriptor of the ring
  kChain,    // descriptors follow each other without end, leave the table, or are too many
  kAddress,  // a descriptor is of memory that the guest does not have
  kKicks,    // notifications, again and again, of nothing
};

// For people, as the reason of a quarantine.
std::string_view text_of(RingFault fault);

// Memory of the guest as it is mapped here.
struct GuestRegion {
  std::uint64_t guest = 0;
  const std::uint8_t* host = nullptr;
  std::uint64_t size = 0;
};

// A split ring (virtio 1.1, 2.6) in the guest's memory, which may change while it is read.
struct RingView {
  struct Descriptor {
    std::uint64_t address = 0;
    std::uint32_t length = 0;
    std::uint16_t flags = 0;
    std::uint16_t next = 0;
  };
  static_assert(sizeof(Descriptor) == 16);

  // As many pieces of one frame as lib/vhost takes.
  static constexpr std::uint32_t kMostPieces = 256;

  const Descriptor* descriptors = nullptr;   // `size` of them
  const std::uint16_t* available = nullptr;  // flags, index, `size` entries
  std::uint32_t size = 0;
  std::uint16_t taken = 0;  // how far the device has come, as the index counts
  std::span<const GuestRegion> memory;

  bool pending() const;  // there is something that was not taken
  // Looks at the next entry. lib/vhost refuses a bad one without saying so, and stays there for ever.
  RingFault fault() const;
};

}  // namespace vmlane::dataplane
