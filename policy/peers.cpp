// SPDX-License-Identifier: Apache-2.0
#include "policy/peers.h"

#include <algorithm>

namespace vmlane::policy {
namespace {

constexpr std::uint32_t kLeaf = 0x80000000U;
constexpr unsigned kStep = 4;  // bits that a node of the trie tells apart

unsigned nibble(const IpAddress& address, unsigned at) {
  const unsigned byte = address.bytes[at / 2];
  return at % 2 == 0 ? byte >> kStep : byte & 15U;
}

}  // namespace

std::array<std::uint32_t, 4> address_words(const IpAddress& address) {
  std::array<std::uint32_t, 4> words{};
  for (std::size_t i = 0; i < address.bytes.size(); i++) words[i / 4] = words[i / 4] << 8 | address.bytes[i];
  return words;
}

bool selects(const Selector& selector, const Labels& labels) {
  return std::ranges::all_of(selector.requirements, [&](const Requirement& requirement) {
    const auto found = labels.find(requirement.key);
    using Operator = Requirement::Operator;
    if (requirement.op == Operator::kExists) return found != labels.end();
    if (requirement.op == Operator::kDoesNotExist) return found == labels.end();
    const bool listed = found != labels.end() && requirement.values.contains(found->second);
    return listed == (requirement.op == Operator::kIn);
  });
}

PodIndex::PodIndex(const Objects& objects) : objects_(objects) {
  for (const auto& [id, pod] : objects.pods) {
    if (!pod.has_endpoints()) continue;
    by_namespace_[pod.ns].push_back(static_cast<std::uint32_t>(pods_.size()));
    pods_.push_back(&pod);
  }
}

const std::vector<std::uint32_t>& PodIndex::select(const PodSelector& selector) {
  const auto [entry, fresh] = answers_.try_emplace(selector);
  if (!fresh) return entry->second;
  std::vector<std::uint32_t>& found = entry->second;
  const auto take = [&](const std::vector<std::uint32_t>& candidates) {
    for (const std::uint32_t pod : candidates) {
      if (selects(selector.pods, pods_[pod]->labels)) found.push_back(pod);
    }
  };
  if (!selector.ns.empty()) {
    const auto own = by_namespace_.find(selector.ns);
    if (own != by_namespace_.end()) take(own->second);
    return found;
  }
  for (const auto& [ns, pods] : by_namespace_) {
    const auto object = objects_.namespaces.find(ns);
    const Labels bare = {{"kubernetes.io/metadata.name", ns}};
    if (selects(selector.namespaces, object == objects_.namespaces.end() ? bare : object->second.labels))
      take(pods);
  }
  std::ranges::sort(found);
  return found;
}

PeerGroups::PeerGroups(const Objects& objects, PodIndex& index) : objects_(objects), index_(index) {
  network_number(std::string(kDefaultNetwork));
  intern({});
  number_terms();
  match_pods();
  match_nodes();
  build_trie();
  find_addresses();
  for (std::uint32_t pod = 0; pod < pod_terms_.size(); pod++) pod_groups_.push_back(intern(pod_terms_[pod]));
  groups_of_term_.resize(term_count_);
  for (GroupId group = 0; group < groups_.size(); group++) {
    for (const TermId term : *groups_[group]) groups_of_term_[term].push_back(group);
  }
}

void PeerGroups::number_terms() {
  std::set<std::string> names;
  for (const auto& [key, policy] : objects_.policies) {
    for (const Direction direction : {Direction::kEgress, Direction::kIngress}) {
      for (const Rule& rule : policy.rules_of(direction)) {
        for (const Peer& peer : rule.peers) {
          if (terms_.try_emplace(peer, term_count_).second) term_count_++;
        }
        // Towards a pod's own ports its profile knows the numbers; towards others the group must.
        for (const PortMatch& port : rule.ports) {
          if (direction == Direction::kEgress && !port.name.empty()) names.insert(port.name);
        }
      }
    }
  }
  for (const Pod* pod : index_.pods()) {
    for (const NamedPort& port : pod->ports) {
      if (names.contains(port.name) && named_.try_emplace(port, term_count_).second) term_count_++;
    }
  }
}

void PeerGroups::match_pods() {
  pod_terms_.resize(index_.pods().size());
  for (const auto& [peer, term] : terms_) {
    const auto* selector = std::get_if<PodSelector>(&peer);
    if (selector == nullptr) continue;
    for (const std::uint32_t pod : index_.select(*selector)) pod_terms_[pod].push_back(term);
  }
  for (std::uint32_t pod = 0; pod < pod_terms_.size(); pod++) {
    for (const NamedPort& port : index_.pods()[pod]->ports) {
      const auto named = named_.find(port);
      if (named != named_.end()) pod_terms_[pod].push_back(named->second);
    }
  }
}

void PeerGroups::match_nodes() {
  for (const auto& [name, node] : objects_.nodes) {
    for (const auto& [peer, term] : terms_) {
      const auto* selector = std::get_if<NodeSelector>(&peer);
      if (selector != nullptr && selects(selector->nodes, node.labels)) node_terms_[name].push_back(term);
    }
  }
}

void PeerGroups::build_trie() {
  std::map<IpPrefix, Block> blocks;
  for (const bool v6 : {false, true}) blocks[IpPrefix{.address = {.v6 = v6, .bytes = {}}, .length = 0}];
  for (const auto& [peer, term] : terms_) {
    const auto* block = std::get_if<AddressBlock>(&peer);
    if (block == nullptr) continue;
    blocks[block->cidr.network()].in.push_back(term);
    for (const IpPrefix& except : block->except) blocks[except.network()].except.push_back(term);
  }
  // Shorter ones first, so that a longer one overwrites its part.
  std::vector<const IpPrefix*> order;
  for (const auto& [prefix, block] : blocks) order.push_back(&prefix);
  std::ranges::stable_sort(order, {}, [](const IpPrefix* prefix) { return prefix->length; });
  for (const IpPrefix* prefix : order) {
    Terms in;
    Terms except;
    for (unsigned length = 0; length <= prefix->length; length++) {
      const auto around = blocks.find(IpPrefix{prefix->address, length}.network());
      if (around == blocks.end()) continue;
      in.insert(in.end(), around->second.in.begin(), around->second.in.end());
      except.insert(except.end(), around->second.except.begin(), around->second.except.end());
    }
    std::ranges::sort(except);
    std::erase_if(in, [&](TermId term) { return std::ranges::binary_search(except, term); });
    insert(*prefix, intern(std::move(in)));
  }
}

// Makes every address of the prefix lead to the group. What is longer comes later.
void PeerGroups::insert(const IpPrefix& prefix, GroupId group) {
  const unsigned root = prefix.address.v6 ? 1 : 0;
  if (prefix.length == 0) {
    roots_[root] = kLeaf | group;
    return;
  }
  const auto open = [&](std::uint32_t entry) {  // a node in the place of a leaf
    if ((entry & kLeaf) == 0) return entry;
    vmlane_policy_node node{};
    std::ranges::fill(node.entry, entry);
    trie_.push_back(node);
    return static_cast<std::uint32_t>(trie_.size() - 1);
  };
  roots_[root] = open(roots_[root]);
  std::uint32_t node = roots_[root];
  const unsigned last = (prefix.length - 1) / kStep;
  for (unsigned at = 0; at < last; at++) {
    const unsigned value = nibble(prefix.address, at);
    const std::uint32_t next = open(trie_[node].entry[value]);
    trie_[node].entry[value] = next;
    node = next;
  }
  const unsigned free_bits = (last + 1) * kStep - prefix.length;
  const unsigned first = nibble(prefix.address, last) >> free_bits << free_bits;
  for (unsigned value = first; value < first + (1U << free_bits); value++)
    trie_[node].entry[value] = kLeaf | group;
}

GroupId PeerGroups::group_at(const IpAddress& address) const {
  std::uint32_t entry = roots_[address.v6 ? 1 : 0];
  for (unsigned at = 0; (entry & kLeaf) == 0; at++) entry = trie_[entry].entry[nibble(address, at)];
  return entry & ~kLeaf;
}

void PeerGroups::find_addresses() {
  std::map<AddressKey, std::set<std::uint32_t>> owners;
  for (std::uint32_t pod = 0; pod < index_.pods().size(); pod++) {
    for (const PodInterface& interface : index_.pods()[pod]->interfaces) {
      const std::uint32_t network = network_number(interface.network);
      for (const IpAddress& address : interface.addresses) owners[{network, address}].insert(pod);
    }
  }
  std::map<IpAddress, std::string> nodes;
  for (const auto& [name, node] : objects_.nodes) {
    for (const IpAddress& address : node.addresses) nodes.try_emplace(address, name);
  }
  std::map<IpAddress, std::string> hosts;  // as told by pods on their node's network
  for (const auto& [id, pod] : objects_.pods) {
    if (!pod.host_network || pod.ended || pod.node.empty()) continue;
    for (const PodInterface& interface : pod.interfaces) {
      if (interface.network != kDefaultNetwork) continue;
      for (const IpAddress& address : interface.addresses) {
        const auto [host, fresh] = hosts.try_emplace(address, pod.node);
        if (!fresh && pod.node < host->second) host->second = pod.node;
      }
    }
  }
  for (const auto& [address, name] : hosts) nodes.try_emplace(address, name);
  for (const auto& [address, name] : nodes) {
    if (owners.contains({0, address})) continue;
    const auto terms = node_terms_.find(name);
    const bool object =
        objects_.nodes.contains(name) && std::ranges::find(objects_.nodes.at(name).addresses, address) !=
                                             objects_.nodes.at(name).addresses.end();
    add_slot({0, address}, object && terms != node_terms_.end() ? terms->second : Terms(), node_number(name));
  }
  for (const auto& [key, pods] : owners) {
    const Pod& pod = *index_.pods()[*pods.begin()];
    const auto node = key.network == 0 ? nodes.find(key.address) : nodes.end();
    if (pods.size() == 1 && node == nodes.end()) {
      add_slot(key, pod_terms_[*pods.begin()], 0);
      continue;
    }
    const std::string other =
        pods.size() > 1 ? "pod " + index_.pods()[*pods.rbegin()]->id() : "node " + node->second;
    problems_.push_back({"Pod", pod.id(), "status.podIPs",
                         "has the address " + key.address.to_string() + ", which " + other + " has too",
                         "selectors of peers know neither by it", pod.source});
  }
}

void PeerGroups::add_slot(const AddressKey& key, const Terms& terms, std::uint32_t node) {
  Terms all = terms;
  const Terms& block = *groups_[group_at(key.address)];
  all.insert(all.end(), block.begin(), block.end());
  vmlane_policy_slot slot{};
  slot.state = VMLANE_POLICY_SLOT_USED;
  slot.network = key.network;
  slot.v6 = key.address.v6 ? 1 : 0;
  const auto words = address_words(key.address);
  std::ranges::copy(words, slot.address);
  slot.peer = std::uint64_t{node} << 32 | intern(std::move(all));
  slots_.push_back(slot);
}

GroupId PeerGroups::intern(Terms terms) {
  std::ranges::sort(terms);
  const auto duplicates = std::ranges::unique(terms);
  terms.erase(duplicates.begin(), duplicates.end());
  const auto [entry, fresh] = group_ids_.try_emplace(std::move(terms), static_cast<GroupId>(groups_.size()));
  if (fresh) groups_.push_back(&entry->first);
  return entry->second;
}

std::uint32_t PeerGroups::network_number(const std::string& name) {
  return networks_.try_emplace(name, static_cast<std::uint32_t>(networks_.size())).first->second;
}

std::uint32_t PeerGroups::node_number(const std::string& name) {
  return node_numbers_.try_emplace(name, static_cast<std::uint32_t>(node_numbers_.size() + 1)).first->second;
}

}  // namespace vmlane::policy
