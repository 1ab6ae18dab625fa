// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <unordered_set>

#include "policy/block.h"
#include "policy/groups.h"
#include "policy/objects.h"

namespace vmlane::policy {

// The group of every address by the address blocks it is in: a trie for each family, in the block, with four
// bits a step. A node's number is that of its line. Internal to this room.
class AddressTrie {
 public:
  AddressTrie(Block& block, PeerGroups& groups);

  // From now on addresses in the block meet the term.
  void add(TermId term, const AddressBlock& block);
  // The terms of blocks around an address.
  PeerGroups::SetId blocks_around(const IpAddress& address) const;
  std::uint32_t root(bool v6) const { return roots_[v6 ? 1 : 0]; }
  // What has been written is published.
  void published() { fresh_.clear(); }

 private:
  std::uint32_t add_node(std::uint32_t entry);
  std::uint32_t entry(std::uint32_t node, unsigned value) const;
  void set_entry(std::uint32_t node, unsigned value, std::uint32_t entry);
  void open(const IpPrefix& prefix);
  void mark(std::uint32_t node, unsigned depth, const IpAddress& base, TermId term,
            const AddressBlock& around);

  Block& block_;
  PeerGroups& groups_;
  std::array<std::uint32_t, 2> roots_{};
  std::unordered_set<std::uint32_t> fresh_;  // nodes that no reader knows
};

}  // namespace vmlane::policy
