// SPDX-License-Identifier: Apache-2.0
// What a front end may send: one rule for each message.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "keeper/session.h"

namespace vmlane::keeper {
namespace {

using vhost_user::Request;

constexpr std::uint64_t kMinMtu = 68;
constexpr std::uint64_t kMaxMtu = 65535;
constexpr std::uint64_t kMaxStatus = 0xff;

std::unexpected<Error> refuse(const Message& message, const std::string& why) {
  return fail(Code::kDecode, request_name(message.request) + ": " + why);
}

bool overflows(std::uint64_t start, std::uint64_t size) {
  return size > std::numeric_limits<std::uint64_t>::max() - start;
}

bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

// The payload that a message has, in bytes; no value for one that is not ours, or has no fixed size.
std::optional<std::size_t> payload_size(Request request) {
  switch (request) {
    case Request::kGetFeatures:
    case Request::kSetOwner:
    case Request::kResetOwner:
    case Request::kSetLogDescriptor:
    case Request::kGetProtocolFeatures:
    case Request::kGetQueueCount:
    case Request::kGetStatus:
      return 0;
    case Request::kSetFeatures:
    case Request::kSetRingKick:
    case Request::kSetRingCall:
    case Request::kSetRingError:
    case Request::kSetProtocolFeatures:
    case Request::kSendRarp:
    case Request::kSetMtu:
    case Request::kSetStatus:
      return sizeof(std::uint64_t);
    case Request::kSetRingSize:
    case Request::kSetRingBase:
    case Request::kGetRingBase:
    case Request::kSetRingEnable:
      return sizeof(vhost_user::RingNumber);
    case Request::kSetRingAddress:
      return sizeof(vhost_user::RingAddress);
    case Request::kSetLogBase:
      return sizeof(vhost_user::Log);
    case Request::kSetMemTable:
      break;
  }
  return std::nullopt;
}

// Descriptors that come with a message of a fixed number of them.
std::size_t descriptor_count(Request request) {
  return request == Request::kSetLogBase || request == Request::kSetLogDescriptor ? 1 : 0;
}

bool about_a_ring(Request request) {
  return request == Request::kSetRingSize || request == Request::kSetRingBase ||
         request == Request::kGetRingBase || request == Request::kSetRingEnable ||
         request == Request::kSetRingAddress;
}

// Bytes of a regular file, which shared memory is; what else would be mapped may not be memory at all.
Result<std::uint64_t> file_bytes(const Message& message, int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
    return refuse(message, "a descriptor that is no shared memory");
  return static_cast<std::uint64_t>(status.st_size);
}

bool is_event(int descriptor) {
  std::array<char, 64> name{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  return ::readlink(link.c_str(), name.data(), name.size() - 1) > 0 &&
         std::string_view(name.data()) == "anon_inode:[eventfd]";
}

Result<> check_number(const Message& message, std::uint64_t low, std::uint64_t high) {
  const auto value = message.as<std::uint64_t>();
  if (value >= low && value <= high) return {};
  return refuse(message, "value " + std::to_string(value) + " is not between " + std::to_string(low) +
                             " and " + std::to_string(high));
}

}  // namespace

Result<> Session::check(const Message& message) const {
  VMLANE_TRY(check_size(message));
  if (about_a_ring(message.request) && message.as<std::uint32_t>() >= vhost_user::kMaxRings)
    return refuse(message, "ring " + std::to_string(message.as<std::uint32_t>()) + " of at most 256");
  switch (message.request) {
    case Request::kSetFeatures:
      return check_features(message.as<std::uint64_t>());
    case Request::kSetProtocolFeatures:
      if ((message.as<std::uint64_t>() & ~protocol_offered_.value_or(0)) == 0) return {};
      return refuse(message, "features that were not offered");
    case Request::kSetMemTable:
      return check_memory(message);
    case Request::kSetRingSize:
      return check_ring_size(message);
    case Request::kSetRingAddress:
      return check_ring_address(message.as<vhost_user::RingAddress>());
    case Request::kSetRingKick:
    case Request::kSetRingCall:
    case Request::kSetRingError:
      return check_ring_descriptor(message);
    case Request::kSetLogBase: {
      const auto log = message.as<vhost_user::Log>();
      VMLANE_ASSIGN(const std::uint64_t bytes, file_bytes(message, message.descriptors[0]->get()));
      if (log.size != 0 && !overflows(log.offset, log.size) && log.offset + log.size <= bytes) return {};
      return refuse(message, "a log that is longer than its memory");
    }
    case Request::kSetLogDescriptor:
      if (is_event(message.descriptors[0]->get())) return {};
      return refuse(message, "a descriptor that is no event");
    case Request::kSetMtu:
      return check_number(message, kMinMtu, kMaxMtu);
    case Request::kSetStatus:
      return check_number(message, 0, kMaxStatus);
    case Request::kSetRingBase:
      if (message.as<vhost_user::RingNumber>().number <= std::numeric_limits<std::uint16_t>::max()) return {};
      return refuse(message, "a base above 65535");
    case Request::kSetRingEnable:
      if (message.as<vhost_user::RingNumber>().number <= 1) return {};
      return refuse(message, "neither on nor off");
    default:
      return {};
  }
}

Result<> Session::check_size(const Message& message) const {
  constexpr std::uint32_t kVersionBits = 3;
  constexpr std::uint32_t kKnown = kVersionBits | vhost_user::Header::kNeedReply;
  if ((message.flags & kVersionBits) != vhost_user::Header::kVersion || (message.flags & ~kKnown) != 0)
    return refuse(message, "flags " + std::to_string(message.flags) + " are not those of a request");
  if (message.request == Request::kSetMemTable) return {};
  const auto size = payload_size(message.request);
  if (!size) return refuse(message, "not one of those that are offered");
  if (message.payload.size() != *size)
    return refuse(message, std::to_string(message.payload.size()) + " bytes where " + std::to_string(*size) +
                               " are right");
  const bool varies = message.request == Request::kSetRingKick || message.request == Request::kSetRingCall ||
                      message.request == Request::kSetRingError;
  if (!varies && message.descriptors.size() != descriptor_count(message.request))
    return refuse(message, std::to_string(message.descriptors.size()) + " descriptors where " +
                               std::to_string(descriptor_count(message.request)) + " are right");
  return {};
}

Result<> Session::check_features(std::uint64_t features) const {
  if ((features & ~offered_.value_or(0)) == 0) return {};
  return fail(Code::kDecode, "SET_FEATURES: features that were not offered");
}

Result<> Session::check_memory(const Message& message) const {
  const auto count = message.as<std::uint32_t>();
  if (message.payload.size() >= sizeof count && count > vhost_user::kMaxRegions)
    return refuse(message, std::to_string(count) + " regions; " + std::to_string(vhost_user::kMaxRegions) +
                               " are the limit: give the VM fewer memory devices");
  if (count == 0 || message.payload.size() != vhost_user::MemoryTable::bytes(count))
    return refuse(
        message, std::to_string(message.payload.size()) + " bytes for " + std::to_string(count) + " regions");
  if (message.descriptors.size() != count)
    return refuse(message, std::to_string(message.descriptors.size()) + " descriptors for " +
                               std::to_string(count) + " regions");
  const auto table = message.as<vhost_user::MemoryTable>();
  for (std::size_t i = 0; i < count; i++) {
    const vhost_user::MemoryRegion& region = table.regions[i];
    const std::string name = "region " + std::to_string(i);
    if (region.size == 0 || overflows(region.guest_address, region.size) ||
        overflows(region.user_address, region.size) || overflows(region.offset, region.size))
      return refuse(message, name + " has an impossible size");
    for (std::size_t j = 0; j < i; j++) {
      const vhost_user::MemoryRegion& other = table.regions[j];
      if (overlap(region.guest_address, region.size, other.guest_address, other.size) ||
          overlap(region.user_address, region.size, other.user_address, other.size))
        return refuse(message, name + " overlaps region " + std::to_string(j));
    }
    VMLANE_ASSIGN(const std::uint64_t bytes, file_bytes(message, message.descriptors[i]->get()));
    if (region.offset + region.size > bytes)
      return refuse(message, name + " is longer than the memory that it is in");
  }
  for (const Ring& ring : rings_) {
    if (ring.address && ring.size && !holds(table, *ring.address, *ring.size))
      return refuse(
          message, "without the memory of ring " + std::to_string(ring.address->index) + ", which is in use");
  }
  return {};
}

Result<> Session::check_ring_size(const Message& message) const {
  const auto [index, size] = message.as<vhost_user::RingNumber>();
  if (!std::has_single_bit(size) || size > vhost_user::kMaxRingSize)
    return refuse(message, "a ring of " + std::to_string(size) + " descriptors; powers of two to 32768 are");
  if (rings_[index].address && rings_[index].size != size)
    return refuse(message, "another size for ring " + std::to_string(index) + ", which is in use");
  return {};
}

bool Session::holds(const vhost_user::MemoryTable& table, const vhost_user::RingAddress& address,
                    std::uint32_t size) {
  constexpr std::uint64_t kDescriptor = 16;
  constexpr std::uint64_t kHead = 4;
  const std::uint64_t count = size;
  return find(table, address.descriptors, kDescriptor * count) &&
         find(table, address.available, kHead + 2 * count) &&
         find(table, address.used, vhost_user::used_ring_bytes(size));
}

Result<> Session::check_ring_address(const vhost_user::RingAddress& address) const {
  const Message message{.request = Request::kSetRingAddress};
  const auto size = rings_[address.index].size;
  if (!size) return refuse(message, "before the ring's size");
  if (!has_memory()) return refuse(message, "before the memory table");
  if ((address.flags & ~vhost_user::RingAddress::kLog) != 0) return refuse(message, "flags that are unknown");
  if (!holds(table_, address, *size))
    return refuse(message, "ring " + std::to_string(address.index) + " is outside of the guest's memory");
  return {};
}

Result<> Session::check_ring_descriptor(const Message& message) const {
  const auto value = message.as<std::uint64_t>();
  using vhost_user::RingDescriptor;
  if ((value & ~(RingDescriptor::kIndex | RingDescriptor::kNone)) != 0)
    return refuse(message, "ring " + std::to_string(value) + " of at most 256");
  const std::size_t wanted = (value & RingDescriptor::kNone) != 0 ? 0 : 1;
  if (message.descriptors.size() != wanted)
    return refuse(message, std::to_string(message.descriptors.size()) + " descriptors where " +
                               std::to_string(wanted) + " are right");
  if (wanted == 1 && !is_event(message.descriptors[0]->get()))
    return refuse(message, "a descriptor that is no event");
  return {};
}

}  // namespace vmlane::keeper
