// SPDX-License-Identifier: Apache-2.0
#include "dataplane/mac_table.h"

#include <algorithm>
#include <span>
#include <utility>

namespace vmlane::dataplane {

std::uint64_t MacTable::key_of(const MacAddress& mac) {
  constexpr unsigned kByteBits = 8;
  std::uint64_t key = 0;
  for (const std::uint8_t byte : mac.bytes) key = key << kByteBits | byte;
  return key;
}

std::size_t MacTable::hash(std::uint64_t key) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;
  constexpr unsigned kUpperHalf = 32;
  return static_cast<std::size_t>((key * kGolden) >> kUpperHalf);
}

const MacTable::Slot* MacTable::find_fixed(std::uint64_t key) const {
  for (std::size_t i = hash(key);; i++) {
    const Slot& slot = fixed_[i & (fixed_.size() - 1)];
    if (slot.key == key) return &slot;
    if (slot.key == 0) return nullptr;
  }
}

void MacTable::insert_fixed(const Slot& slot) {
  for (std::size_t i = hash(slot.key);; i++) {
    Slot& place = fixed_[i & (fixed_.size() - 1)];
    if (place.key != 0 && place.key != slot.key) continue;
    if (place.key == 0) fixed_count_++;
    place = slot;
    return;
  }
}

void MacTable::rebuild_fixed(std::size_t size, std::optional<PortId> without) {
  const std::vector<Slot> old = std::exchange(fixed_, std::vector<Slot>(size));
  fixed_count_ = 0;
  for (const Slot& slot : old) {
    if (slot.key != 0 && slot.port != without) insert_fixed(slot);
  }
}

void MacTable::fix(const MacAddress& mac, PortId port) {
  if (2 * (fixed_count_ + 1) > fixed_.size()) rebuild_fixed(2 * fixed_.size(), std::nullopt);
  insert_fixed({key_of(mac), 0, port});
}

void MacTable::forget(PortId port) {
  rebuild_fixed(fixed_.size(), port);
  for (Slot& slot : learned_) {
    if (slot.port == port) slot = {};
  }
}

bool MacTable::learn(const MacAddress& mac, PortId port, std::uint64_t now) {
  const std::uint64_t key = key_of(mac);
  if (const Slot* slot = find_fixed(key)) return slot->port == port;
  const std::span<Slot> set(&learned_[(hash(key) % kSets) * kWays], kWays);
  auto place = std::ranges::find(set, key, &Slot::key);
  if (place == set.end()) place = std::ranges::min_element(set, {}, &Slot::seen);
  *place = {key, now, port};
  return true;
}

std::optional<PortId> MacTable::find(const MacAddress& mac, std::uint64_t now) const {
  const std::uint64_t key = key_of(mac);
  if (const Slot* slot = find_fixed(key)) return slot->port;
  const std::span<const Slot> set(&learned_[(hash(key) % kSets) * kWays], kWays);
  const auto found = std::ranges::find(set, key, &Slot::key);
  if (found == set.end() || now - found->seen > kAge) return std::nullopt;
  return found->port;
}

std::vector<MacTable::Entry> MacTable::entries(std::uint64_t now) const {
  constexpr unsigned kByteBits = 8;
  std::vector<Entry> all;
  const auto add = [&](const Slot& slot, bool fixed) {
    if (slot.key == 0) return;
    Entry entry{.port = slot.port, .fixed = fixed, .seen = slot.seen};
    std::uint64_t key = slot.key;
    for (auto byte = entry.mac.bytes.rbegin(); byte != entry.mac.bytes.rend(); ++byte) {
      *byte = static_cast<std::uint8_t>(key);
      key >>= kByteBits;
    }
    all.push_back(entry);
  };
  for (const Slot& slot : fixed_) add(slot, true);
  for (const Slot& slot : learned_) {
    if (now - slot.seen <= kAge) add(slot, false);
  }
  return all;
}

}  // namespace vmlane::dataplane
