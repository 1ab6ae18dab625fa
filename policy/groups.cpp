// SPDX-License-Identifier: Apache-2.0
#include "policy/groups.h"

#include <algorithm>

namespace vmlane::policy {

PeerGroups::SetId PeerGroups::set(std::vector<TermId> terms) {
  std::ranges::sort(terms);
  const auto repeated = std::ranges::unique(terms);
  terms.erase(repeated.begin(), repeated.end());
  return sets_.of(terms);
}

GroupId PeerGroups::group(SetId who_set, SetId where_set) {
  const std::uint64_t key = std::uint64_t{who_set} << 32 | where_set;
  const auto [entry, fresh] = ids_.try_emplace(key, static_cast<GroupId>(groups_.size()));
  if (!fresh) return entry->second;
  const GroupId id = entry->second;
  groups_.emplace_back(who_set, where_set);
  fresh_.push_back(id);
  for (const auto& terms : {who(id), where(id)}) {
    if (!terms.empty() && terms.back() >= with_.size()) with_.resize(terms.back() + 1);
    for (const TermId term : terms) with_[term].push_back(id);
  }
  return id;
}

bool PeerGroups::meets(GroupId group, TermId term) const {
  return std::ranges::binary_search(who(group), term) || std::ranges::binary_search(where(group), term);
}

std::span<const GroupId> PeerGroups::with(TermId term) const {
  return term < with_.size() ? std::span<const GroupId>(with_[term]) : std::span<const GroupId>();
}

}  // namespace vmlane::policy
