// SPDX-License-Identifier: Apache-2.0
#include "policy/trie.h"

#include <algorithm>

namespace vmlane::policy {
namespace {

constexpr std::uint32_t kLeaf = 0x80000000U;
constexpr unsigned kStep = 4;  // bits that a node tells apart
constexpr unsigned kEntries = 1U << kStep;

unsigned nibble(const IpAddress& address, unsigned at) {
  const unsigned byte = address.bytes[at / 2];
  return at % 2 == 0 ? byte >> kStep : byte & (kEntries - 1);
}

IpAddress with_nibble(IpAddress address, unsigned at, unsigned value) {
  std::uint8_t& byte = address.bytes[at / 2];
  byte = static_cast<std::uint8_t>(at % 2 == 0 ? (byte & (kEntries - 1)) | value << kStep
                                               : (byte & ~(kEntries - 1)) | value);
  return address;
}

}  // namespace

AddressTrie::AddressTrie(Block& block, PeerGroups& groups) : block_(block), groups_(groups) {
  for (std::uint32_t& root : roots_) root = add_node(kLeaf);
}

std::uint32_t AddressTrie::add_node(std::uint32_t entry) {
  const std::uint32_t offset = block_.reserve(kLine);
  std::ranges::fill(block_.at<vmlane_policy_node>(offset).entry, entry);
  block_.touch(offset, kLine);
  fresh_.insert(offset / kLine);
  return offset / kLine;
}

std::uint32_t AddressTrie::entry(std::uint32_t node, unsigned value) const {
  return block_.at<vmlane_policy_node>(node * kLine).entry[value];
}

void AddressTrie::set_entry(std::uint32_t node, unsigned value, std::uint32_t entry) {
  const auto at = static_cast<std::uint32_t>(node * kLine + value * sizeof(std::uint32_t));
  if (fresh_.contains(node)) {
    block_.at<std::uint32_t>(at) = entry;
    block_.touch(at, sizeof entry);
  } else {
    block_.set(Block::Turn::kPeers, at, entry);
  }
}

// Puts nodes in the place of leaves, until a leaf's addresses are all in the prefix or all outside.
void AddressTrie::open(const IpPrefix& prefix) {
  std::uint32_t node = root(prefix.address.v6);
  const unsigned depth = prefix.length == 0 ? 0 : (prefix.length - 1) / kStep;
  for (unsigned at = 0; at < depth && !block_.outgrown(); at++) {
    const unsigned value = nibble(prefix.address, at);
    std::uint32_t next = entry(node, value);
    if ((next & kLeaf) != 0) {
      next = add_node(next);
      set_entry(node, value, next);
    }
    node = next;
  }
}

void AddressTrie::add(TermId term, const AddressBlock& block) {
  open(block.cidr);
  for (const IpPrefix& except : block.except) open(except);
  if (block_.outgrown()) return;
  mark(root(block.cidr.address.v6), 0, IpAddress{.v6 = block.cidr.address.v6, .bytes = {}}, term, block);
}

void AddressTrie::mark(std::uint32_t node, unsigned depth, const IpAddress& base, TermId term,
                       const AddressBlock& around) {
  const unsigned bits = std::min(around.cidr.length, (depth + 1) * kStep);
  const IpPrefix shared{around.cidr.address, bits};
  for (unsigned value = 0; value < kEntries; value++) {
    const IpAddress address = with_nibble(base, depth, value);
    if (!shared.contains(address)) continue;
    const std::uint32_t there = entry(node, value);
    if ((there & kLeaf) == 0) {
      mark(there, depth + 1, address, term, around);
      continue;
    }
    const auto excepted = [&](const IpPrefix& except) { return except.contains(address); };
    if (std::ranges::any_of(around.except, excepted)) continue;
    const auto terms = groups_.where(there & ~kLeaf);
    std::vector<TermId> more(terms.begin(), terms.end());
    more.push_back(term);
    set_entry(node, value, kLeaf | groups_.group(0, groups_.set(std::move(more))));
  }
}

PeerGroups::SetId AddressTrie::blocks_around(const IpAddress& address) const {
  std::uint32_t there = entry(root(address.v6), nibble(address, 0));
  for (unsigned at = 1; (there & kLeaf) == 0; at++) there = entry(there, nibble(address, at));
  return groups_.where_set(there & ~kLeaf);
}

}  // namespace vmlane::policy
