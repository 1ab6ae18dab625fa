// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

// The messages of the vhost-user protocol (QEMU's documentation, "Vhost-user Protocol"), as far as a network
// device without a configuration space of the backend's has them. Numbers are of the host's byte order. The
// front end has the guest; the back end serves its rings.
namespace vmlane::vhost_user {

enum class Request : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogDescriptor = 7,
  kSetRingSize = 8,
  kSetRingAddress = 9,
  kSetRingBase = 10,
  kGetRingBase = 11,
  kSetRingKick = 12,
  kSetRingCall = 13,
  kSetRingError = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueCount = 17,
  kSetRingEnable = 18,
  kSendRarp = 19,
  kSetMtu = 20,
  kSetStatus = 39,
  kGetStatus = 40,
};

// Before each message's payload.
struct Header {
  static constexpr std::uint32_t kVersion = 1;  // in the two lowest bits of the flags
  static constexpr std::uint32_t kReply = 1 << 2;
  static constexpr std::uint32_t kNeedReply = 1 << 3;
  std::uint32_t request = 0;
  std::uint32_t flags = kVersion;
  std::uint32_t size = 0;  // of the payload
};
static_assert(sizeof(Header) == 12);

inline constexpr std::size_t kMaxRegions = 8;  // of memory, without CONFIGURE_MEM_SLOTS
inline constexpr std::size_t kMaxDescriptors = kMaxRegions;
inline constexpr std::size_t kMaxRings = 256;
inline constexpr std::uint32_t kMaxRingSize = 32768;

struct RingNumber {
  std::uint32_t index = 0;
  std::uint32_t number = 0;
};

struct RingAddress {
  static constexpr std::uint32_t kLog = 1;  // in `flags`: what is written to the used ring is logged
  std::uint32_t index = 0;
  std::uint32_t flags = 0;
  std::uint64_t descriptors = 0;  // these three are the front end's virtual addresses
  std::uint64_t used = 0;
  std::uint64_t available = 0;
  std::uint64_t log = 0;
};
static_assert(sizeof(RingAddress) == 40);

// What SET_VRING_KICK, _CALL and _ERR carry: a ring's number, and whether there is no descriptor.
struct RingDescriptor {
  static constexpr std::uint64_t kIndex = 0xff;
  static constexpr std::uint64_t kNone = 0x100;
};

struct MemoryRegion {
  std::uint64_t guest_address = 0;
  std::uint64_t size = 0;
  std::uint64_t user_address = 0;
  std::uint64_t offset = 0;  // in the region's descriptor
};

// As many regions follow the count as it says; each has a descriptor.
struct MemoryTable {
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
  std::array<MemoryRegion, kMaxRegions> regions{};
  static constexpr std::size_t bytes(std::size_t count) {
    return offsetof(MemoryTable, regions) + count * sizeof(MemoryRegion);
  }
};
static_assert(sizeof(MemoryTable) == 264);

struct Log {
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};

// Bits of GET_FEATURES that are of the transport.
inline constexpr std::uint64_t kLogAll = std::uint64_t{1} << 26;
inline constexpr std::uint64_t kProtocolFeatures = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kAccessPlatform = std::uint64_t{1} << 33;
inline constexpr std::uint64_t kRingPacked = std::uint64_t{1} << 34;

struct ProtocolFeatures {
  static constexpr std::uint64_t kMultiQueue = 1 << 0;
  static constexpr std::uint64_t kLogSharedMemory = 1 << 1;
  static constexpr std::uint64_t kRarp = 1 << 2;
  static constexpr std::uint64_t kReplyAck = 1 << 3;
  static constexpr std::uint64_t kMtu = 1 << 4;
  static constexpr std::uint64_t kStatus = 1 << 16;
};

// Of a split ring (virtio 1.1, 2.6.8): where the index is in the used ring, and how long that is.
inline constexpr std::uint64_t kUsedIndex = 2;
constexpr std::uint64_t used_ring_bytes(std::uint32_t size) {
  return 4 + std::uint64_t{8} * size + 2;
}

}  // namespace vmlane::vhost_user
