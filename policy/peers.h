// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "policy/objects.h"
#include "policy/verdict.h"

// Who is who, for the compiler: which pods a selector means, and which groups of peers the rules can tell
// apart. Internal to this room.
namespace vmlane::policy {

using TermId = std::uint32_t;
using GroupId = std::uint32_t;

struct AddressKey {
  std::uint32_t network = 0;
  IpAddress address;
  auto operator<=>(const AddressKey&) const = default;
};

// An address in the form of verdict.h.
std::array<std::uint32_t, 4> address_words(const IpAddress& address);

// Pods that run and are not on their node's network, by namespace, with selectors answered once each.
class PodIndex {
 public:
  explicit PodIndex(const Objects& objects);

  const std::vector<const Pod*>& pods() const { return pods_; }
  // Numbers of the pods that a selector means, rising.
  const std::vector<std::uint32_t>& select(const PodSelector& selector);

 private:
  const Objects& objects_;
  std::vector<const Pod*> pods_;
  std::map<std::string, std::vector<std::uint32_t>> by_namespace_;
  std::map<PodSelector, std::vector<std::uint32_t>> answers_;
};

bool selects(const Selector& selector, const Labels& labels);

// The peers of all rules as terms, and the sets of terms that some peer meets as groups. Group 0 meets none.
class PeerGroups {
 public:
  PeerGroups(const Objects& objects, PodIndex& index);

  // The term of a peer that some rule has.
  TermId term(const Peer& peer) const { return terms_.at(peer); }
  // The terms of "the pod has a port of this name with this number".
  const std::map<NamedPort, TermId>& named_ports() const { return named_; }
  const std::vector<GroupId>& groups_with(TermId term) const { return groups_of_term_[term]; }
  std::size_t count() const { return groups_.size(); }
  GroupId group_of_pod(std::uint32_t pod) const { return pod_groups_[pod]; }
  const std::map<std::string, std::uint32_t>& networks() const { return networks_; }
  const std::map<std::string, std::uint32_t>& node_numbers() const { return node_numbers_; }
  const std::vector<vmlane_policy_slot>& slots() const { return slots_; }
  const std::vector<vmlane_policy_node>& trie() const { return trie_; }
  std::uint32_t root(bool v6) const { return roots_[v6 ? 1 : 0]; }
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  using Terms = std::vector<TermId>;
  struct Block {
    Terms in;      // blocks that begin here
    Terms except;  // blocks that leave this out
  };

  void number_terms();
  void match_pods();
  void match_nodes();
  void build_trie();
  void insert(const IpPrefix& prefix, GroupId group);
  GroupId group_at(const IpAddress& address) const;
  void find_addresses();
  void add_slot(const AddressKey& key, const Terms& terms, std::uint32_t node);
  GroupId intern(Terms terms);
  std::uint32_t network_number(const std::string& name);
  std::uint32_t node_number(const std::string& name);

  const Objects& objects_;
  PodIndex& index_;
  std::map<Peer, TermId> terms_;
  std::map<NamedPort, TermId> named_;
  TermId term_count_ = 0;
  std::vector<Terms> pod_terms_;
  std::map<std::string, Terms> node_terms_;
  std::map<Terms, GroupId> group_ids_;
  std::vector<const Terms*> groups_;
  std::vector<std::vector<GroupId>> groups_of_term_;
  std::vector<GroupId> pod_groups_;
  std::map<std::string, std::uint32_t> networks_;
  std::map<std::string, std::uint32_t> node_numbers_;
  std::vector<vmlane_policy_slot> slots_;
  std::vector<vmlane_policy_node> trie_;
  std::array<std::uint32_t, 2> roots_{};
  std::vector<Problem> problems_;
};

}  // namespace vmlane::policy
