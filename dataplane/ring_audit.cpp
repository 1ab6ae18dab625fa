// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ring_audit.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

namespace vmlane::dataplane {
namespace {

using Descriptor = RingView::Descriptor;

constexpr std::uint16_t kHasNext = 1;
constexpr std::uint16_t kIsTable = 4;
constexpr std::size_t kIndexAt = 1;
constexpr std::size_t kEntriesAt = 2;

std::uint16_t read16(const std::uint16_t* place) {
  return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

const GuestRegion* region_of(std::span<const GuestRegion> memory, std::uint64_t address) {
  const auto found = std::ranges::find_if(memory, [&](const GuestRegion& region) {
    return address >= region.guest && address - region.guest < region.size;
  });
  return found == memory.end() ? nullptr : &*found;
}

// What is one for the guest may be in several regions.
bool is_guests(std::span<const GuestRegion> memory, std::uint64_t address, std::uint64_t length) {
  do {
    const GuestRegion* region = region_of(memory, address);
    if (region == nullptr) return false;
    const std::uint64_t rest = region->size - (address - region->guest);
    if (length <= rest) return true;
    length -= rest;
    address += rest;
  } while (true);
}

// The bytes of a descriptor as it is at this moment.
Descriptor copy_of(const void* place) {
  Descriptor descriptor;
  std::memcpy(&descriptor, place, sizeof descriptor);
  return descriptor;
}

// Follows a chain within a table of `size` descriptors; `at` gives one.
template <class At>
RingFault follow(std::span<const GuestRegion> memory, std::uint32_t size, std::uint32_t first, const At& at,
                 std::optional<Descriptor>* table) {
  std::uint32_t place = first;
  for (std::uint32_t pieces = 0; pieces < std::min(size, RingView::kMostPieces); pieces++) {
    const std::optional<Descriptor> descriptor = at(place);
    if (!descriptor || !is_guests(memory, descriptor->address, descriptor->length))
      return RingFault::kAddress;
    if ((descriptor->flags & kIsTable) != 0) {
      // A table has no tables, and stands alone.
      if (table == nullptr || pieces != 0) return RingFault::kChain;
      *table = descriptor;
      return RingFault::kNone;
    }
    if ((descriptor->flags & kHasNext) == 0) return RingFault::kNone;
    if (descriptor->next >= size) return RingFault::kChain;
    place = descriptor->next;
  }
  return RingFault::kChain;
}

RingFault follow_table(std::span<const GuestRegion> memory, const Descriptor& table) {
  const std::uint32_t size = table.length / sizeof(Descriptor);
  if (size == 0) return RingFault::kChain;
  return follow(
      memory, size, 0,
      [&](std::uint32_t place) -> std::optional<Descriptor> {
        const std::uint64_t address = table.address + std::uint64_t{place} * sizeof(Descriptor);
        const GuestRegion* region = region_of(memory, address);
        // One that crosses regions is lib/vhost's to put together; nothing is wrong with it.
        if (region == nullptr) return std::nullopt;
        if (region->size - (address - region->guest) < sizeof(Descriptor))
          return Descriptor{.address = table.address};
        return copy_of(region->host + (address - region->guest));
      },
      nullptr);
}

}  // namespace

std::string_view text_of(RingFault fault) {
  switch (fault) {
    case RingFault::kIndex:
      return "its ring has more entries available than it has entries";
    case RingFault::kHead:
      return "its ring names a descriptor that does not exist";
    case RingFault::kChain:
      return "its ring has a chain of descriptors that is too long, endless, or leaves the table";
    case RingFault::kAddress:
      return "its ring has a descriptor of memory that the guest does not have";
    case RingFault::kKicks:
      return "it keeps notifying of frames that do not exist";
    case RingFault::kNone:
      break;
  }
  return "";
}

bool RingView::pending() const {
  return read16(available + kIndexAt) != taken;
}

RingFault RingView::fault() const {
  const auto ahead = static_cast<std::uint16_t>(read16(available + kIndexAt) - taken);
  if (ahead == 0) return RingFault::kNone;
  if (ahead > size) return RingFault::kIndex;
  const std::uint16_t head = read16(available + kEntriesAt + taken % size);
  if (head >= size) return RingFault::kHead;
  std::optional<Descriptor> table;
  const RingFault fault = follow(
      memory, size, head, [&](std::uint32_t place) { return std::optional(copy_of(descriptors + place)); },
      &table);
  return fault == RingFault::kNone && table ? follow_table(memory, *table) : fault;
}

}  // namespace vmlane::dataplane
