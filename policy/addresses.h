// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/address.h"
#include "policy/block.h"

// Who claims which address, and the hash of addresses in the block. Internal to this room.
namespace vmlane::policy {

struct AddressKey {
  std::uint32_t network = 0;
  IpAddress address;
  auto operator<=>(const AddressKey&) const = default;
};

// An address in the form of verdict.h.
std::array<std::uint32_t, 4> address_words(const IpAddress& address);

struct Claim {
  enum class Kind : std::uint8_t {
    kPod,   // it is the pod's
    kNode,  // a Node object has it
    kHost   // a pod on its node's network tells it
  };
  Kind kind = Kind::kPod;
  std::uint32_t index = 0;  // of the pod; number of the node
  auto operator<=>(const Claim&) const = default;
};

// Nearly every address has one claim, a pod's: then its slot is all there is of it.
class AddressTable {
 public:
  static constexpr std::uint32_t kNoPod = 0xffffffff;

  // Reserves slots for `addresses` in a block that is being built.
  AddressTable(Block& block, std::size_t addresses, std::size_t factor);
  std::uint32_t offset() const { return offset_; }
  std::uint32_t mask() const { return mask_; }

  void add(const AddressKey& key, const Claim& claim);
  void remove(const AddressKey& key, const Claim& claim);
  std::vector<Claim> claims(const AddressKey& key) const;
  // Addresses with claims that are not one pod's alone.
  const std::map<AddressKey, std::vector<Claim>>& shared() const { return shared_; }

  // Makes the address lead to `peer` (verdict.h), or be nobody's.
  void write(const AddressKey& key, std::optional<std::uint64_t> peer);

 private:
  std::uint32_t slot_offset(std::uint32_t index) const {
    return offset_ + index * static_cast<std::uint32_t>(sizeof(vmlane_policy_slot));
  }
  std::uint32_t start(const AddressKey& key) const;
  bool has_key(std::uint32_t index, const AddressKey& key) const;
  std::optional<std::uint32_t> find(const AddressKey& key) const;
  void insert(const AddressKey& key, std::uint64_t peer);
  void occupy(std::uint32_t index, const AddressKey& key, std::uint64_t peer);
  void set_peer(std::uint32_t index, std::uint64_t peer);

  Block& block_;
  std::uint32_t offset_ = 0;
  std::uint32_t mask_ = 0;
  std::size_t filled_ = 0;  // slots that are not free
  std::map<AddressKey, std::vector<Claim>> shared_;
  std::vector<std::uint32_t> pods_;  // by slot: the pod whose alone it is
};

}  // namespace vmlane::policy
