// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "policy/interner.h"

// The groups of peers that rules can tell apart. Internal to this room.
namespace vmlane::policy {

using TermId = std::uint32_t;   // one thing that rules ask of a peer: a selector, a block, a port of a name
using GroupId = std::uint32_t;  // a set of terms that some peer meets

// A group is who the peer is (its pod's or node's terms) and where its address is (terms of blocks). It stays
// what it is; group 0 meets no term.
class PeerGroups {
 public:
  using SetId = std::uint32_t;  // 0 is the empty set

  PeerGroups() { group(0, 0); }

  SetId set(std::vector<TermId> terms);
  GroupId group(SetId who, SetId where);
  std::span<const TermId> who(GroupId group) const { return sets_.at(groups_[group].first); }
  std::span<const TermId> where(GroupId group) const { return sets_.at(groups_[group].second); }
  SetId where_set(GroupId group) const { return groups_[group].second; }
  bool meets(GroupId group, TermId term) const;

  std::span<const GroupId> with(TermId term) const;
  std::size_t count() const { return groups_.size(); }
  // Groups that are new since the last call.
  std::vector<GroupId> take_fresh() { return std::exchange(fresh_, {}); }

 private:
  SequenceInterner<TermId> sets_;
  std::vector<std::pair<SetId, SetId>> groups_;
  std::unordered_map<std::uint64_t, GroupId> ids_;
  std::vector<std::vector<GroupId>> with_;  // by term
  std::vector<GroupId> fresh_;
};

}  // namespace vmlane::policy
