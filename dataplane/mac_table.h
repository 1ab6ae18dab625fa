// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/address.h"

namespace vmlane::dataplane {

// The number of a port within the switch.
using PortId = std::uint16_t;

// Which port of one network has a MAC. Those of attachments stand in their records and are fixed: nobody can
// take one by sending from it. Others are learned from what comes in, and forgotten when nothing has come for
// kAge. Full sets forget what was silent for longest, so a guest that floods the table with sources only
// costs the network some flooding. One thread at a time.
class MacTable {
 public:
  static constexpr std::uint64_t kAge = 300'000'000'000;  // nanoseconds, as Linux bridges have it
  static constexpr std::size_t kSets = 1024;
  static constexpr std::size_t kWays = 4;

  struct Entry {
    MacAddress mac;
    PortId port = 0;
    bool fixed = false;
    std::uint64_t seen = 0;  // nanoseconds of the caller's clock; 0 for a fixed one
  };

  MacTable() : learned_(kSets * kWays), fixed_(kFirstFixed) {}

  void fix(const MacAddress& mac, PortId port);
  // Of a port that is gone: its fixed and its learned addresses.
  void forget(PortId port);
  // False when the address is fixed to another port.
  bool learn(const MacAddress& mac, PortId port, std::uint64_t now);
  std::optional<PortId> find(const MacAddress& mac, std::uint64_t now) const;
  bool is_fixed(const MacAddress& mac) const { return find_fixed(key_of(mac)) != nullptr; }
  // All that have not aged.
  std::vector<Entry> entries(std::uint64_t now) const;

 private:
  struct Slot {
    std::uint64_t key = 0;  // the MAC's 48 bits; 0 is free
    std::uint64_t seen = 0;
    PortId port = 0;
  };
  static constexpr std::size_t kFirstFixed = 64;

  static std::uint64_t key_of(const MacAddress& mac);
  static std::size_t hash(std::uint64_t key);
  const Slot* find_fixed(std::uint64_t key) const;
  void insert_fixed(const Slot& slot);
  void rebuild_fixed(std::size_t size, std::optional<PortId> without);

  std::vector<Slot> learned_;  // kSets sets of kWays
  std::vector<Slot> fixed_;    // open addressing, at most half full
  std::size_t fixed_count_ = 0;
};

}  // namespace vmlane::dataplane
