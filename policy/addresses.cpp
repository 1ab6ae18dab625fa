// SPDX-License-Identifier: Apache-2.0
#include "policy/addresses.h"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace vmlane::policy {
namespace {

constexpr auto kState = static_cast<std::uint32_t>(offsetof(vmlane_policy_slot, state));
constexpr auto kPeer = static_cast<std::uint32_t>(offsetof(vmlane_policy_slot, peer));
constexpr std::size_t kSlot = sizeof(vmlane_policy_slot);
constexpr std::size_t kLeastSlots = 64;

std::uint32_t where(const AddressKey& key) {
  return key.network * 2 + (key.address.v6 ? 1 : 0);
}

}  // namespace

std::array<std::uint32_t, 4> address_words(const IpAddress& address) {
  std::array<std::uint32_t, 4> words{};
  for (std::size_t i = 0; i < address.bytes.size(); i++) words[i / 4] = words[i / 4] << 8 | address.bytes[i];
  return words;
}

// At half full or less.
AddressTable::AddressTable(Block& block, std::size_t addresses, std::size_t factor) : block_(block) {
  const std::size_t size = std::bit_ceil(addresses * 2 + kLeastSlots) * factor;
  offset_ = block.reserve(size * kSlot);
  mask_ = static_cast<std::uint32_t>(size - 1);
  pods_.assign(size, kNoPod);
}

std::uint32_t AddressTable::start(const AddressKey& key) const {
  const auto words = address_words(key.address);
  return vmlane_policy_hash(where(key), words.data()) & mask_;
}

bool AddressTable::has_key(std::uint32_t index, const AddressKey& key) const {
  const auto& slot = block_.at<vmlane_policy_slot>(slot_offset(index));
  return slot.where == where(key) && std::ranges::equal(slot.address, address_words(key.address));
}

std::optional<std::uint32_t> AddressTable::find(const AddressKey& key) const {
  const std::uint32_t first = start(key);
  for (std::uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES; probe++) {
    const std::uint32_t index = (first + probe) & mask_;
    const std::uint32_t state = block_.at<vmlane_policy_slot>(slot_offset(index)).state;
    if (state == VMLANE_POLICY_SLOT_FREE) return std::nullopt;
    if (state == VMLANE_POLICY_SLOT_USED && has_key(index, key)) return index;
  }
  return std::nullopt;
}

std::vector<Claim> AddressTable::claims(const AddressKey& key) const {
  const auto found = shared_.find(key);
  if (found != shared_.end()) return found->second;
  const auto slot = find(key);
  if (!slot || pods_[*slot] == kNoPod) return {};
  return {Claim{Claim::Kind::kPod, pods_[*slot]}};
}

void AddressTable::add(const AddressKey& key, const Claim& claim) {
  std::vector<Claim> all = claims(key);
  if (std::ranges::find(all, claim) != all.end()) return;
  all.push_back(claim);
  if (all.size() > 1 || claim.kind != Claim::Kind::kPod) {
    if (const auto slot = find(key)) pods_[*slot] = kNoPod;
    shared_[key] = std::move(all);
    return;
  }
  // Who it is comes with write(), before anybody asks.
  if (!find(key)) insert(key, 0);
  if (const auto slot = find(key)) pods_[*slot] = claim.index;
}

void AddressTable::remove(const AddressKey& key, const Claim& claim) {
  const auto found = shared_.find(key);
  if (found == shared_.end()) {
    const auto slot = find(key);
    if (!slot || claim != Claim{Claim::Kind::kPod, pods_[*slot]}) return;
    pods_[*slot] = kNoPod;
    return;
  }
  std::erase(found->second, claim);
  const std::vector<Claim> left = found->second;
  if (left.size() > 1 || (left.size() == 1 && left[0].kind != Claim::Kind::kPod)) return;
  shared_.erase(found);
  if (left.empty()) return;
  if (!find(key)) insert(key, 0);
  if (const auto slot = find(key)) pods_[*slot] = left[0].index;
}

void AddressTable::write(const AddressKey& key, std::optional<std::uint64_t> peer) {
  const auto slot = find(key);
  if (!peer) {
    if (!slot) return;
    pods_[*slot] = kNoPod;
    block_.set(Block::Turn::kPeers, slot_offset(*slot) + kState, std::uint32_t{VMLANE_POLICY_SLOT_PASSED});
  } else if (slot) {
    set_peer(*slot, *peer);
  } else {
    insert(key, *peer);
  }
}

// A slot that readers do not know yet is written before they come to know it.
void AddressTable::set_peer(std::uint32_t index, std::uint64_t peer) {
  const auto before = block_.before(slot_offset(index) + kState);
  const bool known = !before || static_cast<std::uint32_t>(*before) == VMLANE_POLICY_SLOT_USED;
  if (known) return block_.set(Block::Turn::kPeers, slot_offset(index) + kPeer, peer);
  block_.at<std::uint64_t>(slot_offset(index) + kPeer) = peer;
  block_.touch(slot_offset(index), kSlot);
}

void AddressTable::insert(const AddressKey& key, std::uint64_t peer) {
  const std::uint32_t first = start(key);
  std::optional<std::uint32_t> place;
  for (std::uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES; probe++) {
    const std::uint32_t index = (first + probe) & mask_;
    const std::uint32_t offset = slot_offset(index);
    const std::uint32_t state = block_.at<vmlane_policy_slot>(offset).state;
    const bool of_now = block_.before(offset + kState).has_value();
    if (state == VMLANE_POLICY_SLOT_PASSED && of_now && has_key(index, key)) {
      // It has gone with the changes at hand, and is back.
      block_.set(Block::Turn::kPeers, offset + kState, std::uint32_t{VMLANE_POLICY_SLOT_USED});
      return set_peer(index, peer);
    }
    const bool free = state == VMLANE_POLICY_SLOT_FREE;
    if (!place && (free || (state == VMLANE_POLICY_SLOT_PASSED && !of_now))) place = index;
    if (free) break;
  }
  if (!place) return block_.set_outgrown();
  occupy(*place, key, peer);
}

void AddressTable::occupy(std::uint32_t index, const AddressKey& key, std::uint64_t peer) {
  const std::uint32_t offset = slot_offset(index);
  auto& slot = block_.at<vmlane_policy_slot>(offset);
  if (slot.state == VMLANE_POLICY_SLOT_FREE) filled_++;
  slot.where = where(key);
  std::ranges::copy(address_words(key.address), slot.address);
  slot.peer = peer;
  block_.touch(offset, kSlot);
  block_.set(Block::Turn::kPeers, offset + kState, std::uint32_t{VMLANE_POLICY_SLOT_USED});
  pods_[index] = kNoPod;
  // Readers look at few slots only, so the hash must not fill up.
  constexpr std::size_t kQuarters = 4;
  if (block_.published() && filled_ * kQuarters > (std::size_t{mask_} + 1) * 3) block_.set_outgrown();
}

}  // namespace vmlane::policy
