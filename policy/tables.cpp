// SPDX-License-Identifier: Apache-2.0
// What follows from the objects. tables_objects.cpp keeps the objects themselves.
#include "policy/tables.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace vmlane::policy {
namespace {

constexpr std::size_t kMaxFactor = 16;
constexpr std::array<Direction, kDirections> kBoth = {Direction::kEgress, Direction::kIngress};

std::uint32_t name_of(std::uint64_t port) {
  return static_cast<std::uint32_t>(port >> kNameShift);
}

bool in(const IpPrefix& prefix, const IpAddress& address) {
  constexpr unsigned kByte = 8;
  if (address.v6 != prefix.address.v6) return false;
  const unsigned whole = prefix.length / kByte;
  for (unsigned i = 0; i < whole; i++) {
    if (address.bytes[i] != prefix.address.bytes[i]) return false;
  }
  const unsigned rest = prefix.length % kByte;
  return rest == 0 || (address.bytes[whole] ^ prefix.address.bytes[whole]) >> (kByte - rest) == 0;
}

}  // namespace

// ---- The block as a whole.

Tables::Derived::Derived(StringInterner& strings, std::size_t max_bytes, std::size_t addresses_expected,
                         std::size_t endpoints_expected, std::size_t factor)
    : selectors(strings),
      block(max_bytes),
      header(block.reserve(kLine)),
      closed(block.reserve(kLine)),
      addresses(block, addresses_expected, factor),
      endpoints(block.reserve(endpoints_expected * kLine)),
      endpoint_room(static_cast<std::uint32_t>(endpoints_expected)),
      trie(block, groups) {
  if (block.outgrown()) return;
  block.at<vmlane_policy_profile>(closed).flags = VMLANE_POLICY_PROFILE_BROKEN;
  endpoint_profiles.assign(endpoint_room, {kClosedProfile, kClosedProfile, kNone, kNone});
  for (std::uint32_t i = 0; i < endpoint_room; i++)
    (&block.at<vmlane_policy_endpoint>(endpoints))[i].facts[0] = {0, 0, {closed, closed}};
}

Publication Tables::publish() {
  Publication publication{.generation = generation_, .phases = {}, .block = {}};
  if (derived_ == nullptr) {
    build();
    publication.whole = true;
  } else if (changed_) {
    refresh();
    // A namespace whose pods change as peers and as ends at once has no state in between, nor has a pod that
    // gives an address to another one.
    const bool torn = (peers_moved_ && endpoints_moved_) || entangled_moved_;
    constexpr std::size_t kManyDead = 256;
    const bool dead = dead_policies_ > policy_numbers_.size() + kManyDead;
    if (derived_->block.outgrown() || torn || dead) {
      build();
      publication.whole = true;
    } else {
      publication.phases = derived_->block.take_phases();
      derived_->trie.published();
    }
  }
  free_endpoints_.insert(free_endpoints_.begin(), closed_endpoints_.begin(), closed_endpoints_.end());
  closed_endpoints_.clear();
  removed_policies_.clear();
  relabelled_.clear();
  entangled_.clear();
  changed_ = peers_moved_ = endpoints_moved_ = entangled_moved_ = false;
  if (publication.whole || !publication.phases.empty()) publication.generation = ++generation_;
  publication.block = derived_->block.words();
  return publication;
}

void Tables::build() {
  too_large_ = false;
  free_policies_.insert(free_policies_.end(), dying_policies_.begin(), dying_policies_.end());
  dying_policies_ = std::exchange(removed_numbers_, {});
  for (std::size_t factor = 1; factor <= kMaxFactor; factor *= 2) {
    if (build_block(factor)) return;
  }
  // Past what offsets can say. Without endpoints everything is denied, and problems() says so.
  too_large_ = true;
  derived_ = std::make_unique<Derived>(strings_, Block::kMaxBytes, 0, 0, 1);
  write_header();
  derived_->block.publish(0);
}

bool Tables::build_block(std::size_t factor) {
  constexpr std::size_t kSpareQuarter = 4;
  constexpr std::size_t kSpareEndpoints = 64;
  constexpr std::size_t kSpareBytes = std::size_t{512} << 10;
  derived_.reset();  // its memory is wanted for the new one
  dead_policies_ = 0;
  std::size_t addresses = 0;
  for (const PodRecord& pod : pods_) {
    for (const Interface& interface : pod.interfaces) addresses += interface.addresses.size();
  }
  for (const auto& [name, node] : nodes_) addresses += node.object.addresses.size();
  const std::size_t endpoints =
      endpoint_pods_.size() + endpoint_pods_.size() / kSpareQuarter + kSpareEndpoints;
  derived_ = std::make_unique<Derived>(strings_, max_bytes_, addresses, endpoints, factor);
  if (derived_->block.outgrown()) return false;  // parts of it have no place of their own
  for (auto& [ns, record] : namespaces_) set_namespace_labels(ns);
  for (std::uint32_t number = 0; number < policies_.size(); number++) {
    if (policies_[number].stored) enlist(number);
  }
  dirty_pods_.clear();
  for (PodIndex pod = 0; pod < pods_.size(); pod++) {
    if (pods_[pod].id == nullptr) continue;
    know_ports(pod);
    for (const auto& [key, claim] : claims_of(pod)) derived_->addresses.add(key, claim);
    pods_[pod].dirty = true;
    dirty_pods_.push_back(pod);
  }
  for (const auto& [name, node] : nodes_) {
    for (const AddressKey& key : addresses_of(node))
      derived_->addresses.add(key, {Claim::Kind::kNode, number_of_node(name)});
  }
  for (const auto& [key, claims] : derived_->addresses.shared()) dirty_addresses_.insert(key);
  dirty_nodes_ = true;
  refresh();
  if (derived_->block.outgrown()) return false;
  write_header();
  const std::size_t spare = derived_->block.words().size_bytes() / kSpareQuarter;
  derived_->block.publish(spare + kSpareBytes);
  derived_->trie.published();
  return true;
}

void Tables::write_header() {
  vmlane_policy_header header{};
  header.magic = VMLANE_POLICY_MAGIC;
  header.major = VMLANE_POLICY_MAJOR;
  header.minor = VMLANE_POLICY_MINOR;
  header.endpoints = derived_->endpoints;
  header.endpoint_count = derived_->endpoint_room;
  header.slots = derived_->addresses.offset();
  header.slot_mask = derived_->addresses.mask();
  header.trie = 0;  // nodes are numbered by line
  header.root_v4 = derived_->trie.root(false);
  header.root_v6 = derived_->trie.root(true);
  derived_->block.at<vmlane_policy_header>(derived_->header) = header;
}

vmlane_policy_tables Tables::tables() const {
  const auto words = derived_->block.words();
  return {words.data(), static_cast<std::uint32_t>(words.size_bytes())};
}

std::span<const std::uint64_t> Tables::block() const {
  if (derived_ == nullptr) return {};
  return derived_->block.words();
}

// ---- Which pods a change is about. While the block is built, it is about all.

void Tables::mark(PodIndex pod) {
  if (pods_[pod].dirty) return;
  pods_[pod].dirty = true;
  dirty_pods_.push_back(pod);
}

void Tables::mark_namespace(NamespaceId ns) {
  if (!published()) return;
  for (const PodIndex pod : namespaces_.at(ns).pods) mark(pod);
}

void Tables::mark_selected(SelectorId selector) {
  if (!published()) return;
  const auto of_namespace = [&](NamespaceId ns, const NamespaceRecord& record) {
    if (!derived_->selectors.means(selector, ns)) return;
    for (const PodIndex pod : record.pods) {
      if (derived_->selectors.matches(selector, ns, label_sets_.at(pods_[pod].labels))) mark(pod);
    }
  };
  const auto only = derived_->selectors.only_namespace(selector);
  if (!only) {
    for (const auto& [ns, record] : namespaces_) of_namespace(ns, record);
  } else if (const auto found = namespaces_.find(*only); found != namespaces_.end()) {
    of_namespace(found->first, found->second);
  }
}

void Tables::mark_subjects(const StoredPolicy& stored) {
  for (const PodSelector& subject : stored.policy.subjects) mark_selected(add_selector(subject));
}

void Tables::mark_addresses_in(const IpPrefix& prefix) {
  if (!published()) return;
  for (const PodRecord& pod : pods_) {
    for (const Interface& interface : pod.interfaces) {
      for (const IpAddress& address : interface.addresses) {
        if (in(prefix, address)) dirty_addresses_.insert({interface.network, address});
      }
    }
  }
  for (const auto& [name, node] : nodes_) {
    for (const AddressKey& key : addresses_of(node)) {
      if (in(prefix, key.address)) dirty_addresses_.insert(key);
    }
  }
}

// ---- Policies.

SelectorId Tables::add_selector(const PodSelector& selector) {
  const SelectorId id = derived_->selectors.add(selector);
  if (id >= derived_->selector_terms.size()) {
    derived_->selector_terms.resize(id + 1, kNone);
    derived_->subjects.resize(id + 1);
  }
  return id;
}

TermId Tables::selector_term(const PodSelector& selector) {
  const SelectorId id = add_selector(selector);
  if (derived_->selector_terms[id] == kNone) {
    derived_->selector_terms[id] = derived_->terms++;
    mark_selected(id);
  }
  return derived_->selector_terms[id];
}

TermId Tables::term_of(const Peer& peer) {
  if (const auto* selector = std::get_if<PodSelector>(&peer)) return selector_term(*selector);
  if (const auto* nodes = std::get_if<NodeSelector>(&peer)) {
    const auto [entry, fresh] = derived_->node_terms.try_emplace(*nodes, derived_->terms);
    if (fresh) derived_->terms++;
    dirty_nodes_ = dirty_nodes_ || fresh;
    return entry->second;
  }
  const auto& block = std::get<AddressBlock>(peer);
  const auto [entry, fresh] = derived_->block_terms.try_emplace(block, derived_->terms);
  if (fresh) {
    derived_->trie.add(derived_->terms++, block);
    mark_addresses_in(block.cidr);
  }
  return entry->second;
}

void Tables::enlist(std::uint32_t number) {
  PolicyRecord& record = policies_[number];
  StoredPolicy& stored = *record.stored;
  for (const Direction direction : kBoth) {
    auto& terms = stored.terms[static_cast<std::size_t>(direction)];
    terms.clear();
    for (const Rule& rule : stored.policy.rules_of(direction)) {
      for (const Peer& peer : rule.peers) terms.push_back(term_of(peer));
    }
    terms.shrink_to_fit();
  }
  for (const std::uint32_t name : record.port_names[static_cast<std::size_t>(Direction::kEgress)])
    ask_for_port_name(name, number);
  for (const PodSelector& subject : stored.policy.subjects)
    derived_->subjects[add_selector(subject)].push_back(number);
  mark_subjects(stored);
}

void Tables::delist(std::uint32_t number) {
  const StoredPolicy& stored = *policies_[number].stored;
  for (const PodSelector& subject : stored.policy.subjects)
    std::erase(derived_->subjects[add_selector(subject)], number);
  for (const std::uint32_t name : policies_[number].port_names[static_cast<std::size_t>(Direction::kEgress)])
    derived_->port_askers[name].erase(number);
  mark_subjects(stored);
  dead_policies_++;
}

// Ports of a name are terms as soon as a rule about others asks for the name.
void Tables::ask_for_port_name(std::uint32_t name, std::uint32_t policy) {
  derived_->port_askers[name].insert(policy);
  if (!derived_->port_terms.try_emplace(name).second || !published()) return;
  for (PodIndex pod = 0; pod < pods_.size(); pod++) {
    if (pods_[pod].id == nullptr) continue;
    const auto has = [&](std::uint64_t port) { return name_of(port) == name; };
    if (std::ranges::none_of(port_sets_.at(pods_[pod].ports), has)) continue;
    know_ports(pod);
    mark(pod);
  }
}

void Tables::know_ports(PodIndex pod) {
  if (!pods_[pod].has_endpoints()) return;
  for (const std::uint64_t port : port_sets_.at(pods_[pod].ports)) {
    const auto asked = derived_->port_terms.find(name_of(port));
    if (asked == derived_->port_terms.end()) continue;
    if (!asked->second.try_emplace(port, derived_->terms).second) continue;
    derived_->terms++;
    // Rules with the name have one more number.
    for (const std::uint32_t policy : derived_->port_askers[name_of(port)])
      mark_subjects(*policies_[policy].stored);
  }
}

// ---- Bringing what is marked up to date.

void Tables::refresh() {
  if (dirty_nodes_) {
    for (auto& [name, node] : nodes_) refresh_node(node);
  }
  dirty_nodes_ = false;
  // Who everybody is, for the profiles to be made with all groups.
  SequenceInterner<std::uint32_t> lists;
  std::vector<std::uint32_t> list_of;
  list_of.reserve(dirty_pods_.size());
  for (const PodIndex pod : dirty_pods_) list_of.push_back(lists.of(refresh_who(pod)));
  for (const AddressKey& key : dirty_addresses_) refresh_address(key);
  dirty_addresses_.clear();
  place_fresh_groups();
  for (std::size_t i = 0; i < dirty_pods_.size(); i++) {
    PodRecord& pod = pods_[dirty_pods_[i]];
    pod.dirty = false;
    const auto list = lists.at(list_of[i]);
    const std::vector<std::uint32_t> policies(list.begin(), list.end());
    for (const Interface& interface : pod.interfaces) {
      if (interface.endpoint != kNone) refresh_endpoint(dirty_pods_[i], interface, policies);
    }
  }
  dirty_pods_.clear();
  enlarge_profiles();
  drop_unused_profiles();
}

// Finds out what the pod meets as a peer; gives the policies that are about it, in the order in which they
// are asked.
std::vector<std::uint32_t> Tables::refresh_who(PodIndex index) {
  PodRecord& pod = pods_[index];
  std::vector<std::uint32_t> policies;
  if (!pod.has_endpoints()) return policies;
  std::vector<TermId> terms;
  for (const SelectorId id : derived_->selectors.matching(pod.ns, label_sets_.at(pod.labels))) {
    if (derived_->selector_terms[id] != kNone) terms.push_back(derived_->selector_terms[id]);
    policies.insert(policies.end(), derived_->subjects[id].begin(), derived_->subjects[id].end());
  }
  for (const std::uint64_t port : port_sets_.at(pod.ports)) {
    const auto asked = derived_->port_terms.find(name_of(port));
    if (asked == derived_->port_terms.end()) continue;
    const auto term = asked->second.find(port);
    if (term != asked->second.end()) terms.push_back(term->second);
  }
  const PeerGroups::SetId who = derived_->groups.set(std::move(terms));
  if (who != pod.who && relabelled_.contains(pod.ns)) peers_moved_ = true;
  pod.who = who;
  for (const Interface& interface : pod.interfaces) {
    for (const IpAddress& address : interface.addresses) refresh_address({interface.network, address});
    if (interface.addresses.empty()) derived_->groups.group(who, 0);
  }
  std::ranges::sort(policies);
  const auto repeated = std::ranges::unique(policies);
  policies.erase(repeated.begin(), repeated.end());
  std::ranges::sort(policies, [&](std::uint32_t a, std::uint32_t b) {
    return asked_before(policies_[a].stored->policy, policies_[b].stored->policy);
  });
  return policies;
}

void Tables::refresh_node(NodeRecord& node) {
  std::vector<TermId> terms;
  for (const auto& [selector, term] : derived_->node_terms) {
    if (SelectorIndex::hold(derived_->selectors.conditions(selector.nodes), node.labels))
      terms.push_back(term);
  }
  node.who = derived_->groups.set(std::move(terms));
  for (const AddressKey& key : addresses_of(node)) dirty_addresses_.insert(key);
}

// More than one pod, or a pod and a node: nobody can be told from another.
std::optional<std::uint64_t> Tables::peer_of(const AddressKey& key) const {
  const std::vector<Claim> claims = derived_->addresses.claims(key);
  const PodRecord* pod = nullptr;
  std::string node;
  bool by_object = false;
  for (const Claim& claim : claims) {
    if (claim.kind == Claim::Kind::kPod) {
      if (claims.size() > 1) return std::nullopt;
      pod = &pods_[claim.index];
      continue;
    }
    const bool object = claim.kind == Claim::Kind::kNode;
    const std::string& name = strings_.text((object ? claim.index : pods_[claim.index].node) - 1);
    if (node.empty() || (object && !by_object) || (object == by_object && name < node)) node = name;
    by_object = by_object || object;
  }
  if (pod == nullptr && node.empty()) return std::nullopt;
  const PeerGroups::SetId where = derived_->trie.blocks_around(key.address);
  if (pod != nullptr) return derived_->groups.group(pod->who, where);
  const PeerGroups::SetId who = by_object ? nodes_.at(node).who : 0;
  const std::uint64_t number = *strings_.find(node) + 1;
  return number << 32 | derived_->groups.group(who, where);
}

void Tables::refresh_address(const AddressKey& key) {
  if (derived_->block.outgrown()) return;
  derived_->addresses.write(key, peer_of(key));
}

void Tables::refresh_endpoint(PodIndex index, const Interface& interface,
                              const std::vector<std::uint32_t>& policies) {
  const PodRecord& pod = pods_[index];
  if (derived_->block.outgrown()) return;
  if (interface.endpoint >= derived_->endpoint_room) return derived_->block.set_outgrown();
  ProfileIds profiles = {kClosedProfile, kClosedProfile, kNone, kNone};
  const bool broken = pod.broken || namespaces_.at(pod.ns).broken;
  std::vector<std::uint32_t> here;
  for (const std::uint32_t policy : policies) {
    if (policies_[policy].stored->policy.networks.contains(network_names_[interface.network]))
      here.push_back(policy);
  }
  if (!broken) profiles = profiles_of(here, pod);
  EndpointFacts facts = facts_of(profiles);
  facts.facts.node = pod.node;
  facts.facts.group = interface.addresses.empty() ? derived_->groups.group(pod.who, 0) : 0;
  if (profiles != derived_->endpoint_profiles[interface.endpoint]) {
    endpoints_moved_ = endpoints_moved_ || relabelled_.contains(pod.ns);
    entangled_moved_ = entangled_moved_ || entangled_.contains(index);
  }
  use_profiles(interface.endpoint, profiles);
  set_facts(interface.endpoint, interface.network, facts);
}

// Facts that hold are left alone; the others are written and made to hold.
void Tables::set_facts(std::uint32_t number, std::uint32_t network, const EndpointFacts& facts) {
  Block& block = derived_->block;
  if (number >= derived_->endpoint_room) return block.set_outgrown();
  const auto offset = static_cast<std::uint32_t>(derived_->endpoints + number * kLine);
  const auto active_at = static_cast<std::uint32_t>(offset + offsetof(vmlane_policy_endpoint, active));
  auto& endpoint = block.at<vmlane_policy_endpoint>(offset);
  const std::uint32_t active = endpoint.active & 1;
  const bool same = std::memcmp(&endpoint.facts[active], &facts.facts, sizeof facts.facts) == 0 &&
                    std::memcmp(&endpoint.relaxed[active], &facts.relaxed, sizeof facts.relaxed) == 0;
  if (endpoint.network == network && same) return;
  const bool unseen = !block.published() || block.before(active_at).has_value();
  const std::uint32_t place = unseen ? endpoint.active : 1 - endpoint.active;
  endpoint.network = network;
  endpoint.facts[place] = facts.facts;
  endpoint.relaxed[place] = facts.relaxed;
  block.touch(offset, kLine);
  block.set(Block::Turn::kEndpoints, active_at, place);
}

// ---- Profiles.

Tables::ProfileKey Tables::profile_key(Direction direction, const std::vector<std::uint32_t>& policies,
                                       const PodRecord& pod) const {
  ProfileKey key{direction, policies, {}};
  bool named = false;
  for (const std::uint32_t policy : policies) {
    const auto& names = policies_[policy & ~kAudited].port_names[static_cast<std::size_t>(direction)];
    named = named || !names.empty();
    if (direction == Direction::kIngress) continue;
    for (const std::uint32_t name : names) {
      for (const auto& [port, term] : derived_->port_terms.at(name)) key.ports.push_back(port);
    }
  }
  if (direction == Direction::kIngress && named) {
    const auto own = port_sets_.at(pod.ports);
    key.ports.assign(own.begin(), own.end());
  }
  std::ranges::sort(key.ports);
  const auto repeated = std::ranges::unique(key.ports);
  key.ports.erase(repeated.begin(), repeated.end());
  return key;
}

ProfileRequest Tables::request_of(const ProfileKey& key) const {
  constexpr unsigned kByte = 0xff;
  ProfileRequest request{.direction = key.direction, .policies = {}, .ports = {}};
  for (const std::uint32_t listed : key.policies) {
    const std::uint32_t number = listed & ~kAudited;
    request.policies.push_back({policies_[number].stored.get(), number, (listed & kAudited) != 0});
  }
  for (const std::uint64_t port : key.ports) {
    ResolvedPort resolved{.port = {.name = strings_.text(name_of(port)),
                                   .protocol = static_cast<std::uint8_t>(port >> kProtocolShift & kByte),
                                   .number = static_cast<std::uint16_t>(port)},
                          .term = {}};
    if (key.direction == Direction::kEgress) resolved.term = derived_->port_terms.at(name_of(port)).at(port);
    request.ports.push_back(std::move(resolved));
  }
  return request;
}

Tables::ProfileId Tables::profile(Direction direction, const std::vector<std::uint32_t>& policies,
                                  const PodRecord& pod) {
  if (policies.empty()) return kNone;
  const auto next = static_cast<ProfileId>(derived_->free_profiles.empty() ? derived_->profiles.size()
                                                                           : derived_->free_profiles.back());
  const auto [entry, fresh] = derived_->profile_ids.try_emplace(profile_key(direction, policies, pod), next);
  if (!fresh) return entry->second;
  if (derived_->free_profiles.empty()) {
    derived_->profiles.emplace_back();
  } else {
    derived_->free_profiles.pop_back();
  }
  ProfileRecord& record = derived_->profiles[next];
  record.key = entry;
  record.profile.emplace(derived_->block, derived_->pages, derived_->groups, request_of(entry->first));
  if (record.profile->excess()) record.pod = *pod.id;
  derived_->unused.insert(next);
  list_profile(next);
  return next;
}

void Tables::list_profile(ProfileId id) {
  for (const TermId term : derived_->profiles[id].profile->terms()) {
    if (term >= derived_->profiles_of_term.size()) derived_->profiles_of_term.resize(derived_->terms);
    derived_->profiles_of_term[term].push_back(id);
  }
}

void Tables::unlist_profile(ProfileId id) {
  for (const TermId term : derived_->profiles[id].profile->terms())
    std::erase(derived_->profiles_of_term[term], id);
}

std::uint32_t Tables::profile_offset(ProfileId id) const {
  if (id == kNone) return 0;
  return id == kClosedProfile ? derived_->closed : derived_->profiles[id].profile->offset();
}

// Of a pod, what its own annotation says comes before what that of its namespace says; who may only make pods
// does not get out of the cluster's policies.
bool Tables::is_audited(std::uint32_t policy, const PodRecord& pod) const {
  const Policy& asked = policies_[policy].stored->policy;
  if (asked.audit) return true;
  if (pod.audit && (!*pod.audit || asked.tier == Tier::kNetworkPolicy)) return *pod.audit;
  return namespaces_.at(pod.ns).audit;
}

Tables::ProfileIds Tables::profiles_of(const std::vector<std::uint32_t>& policies, const PodRecord& pod) {
  ProfileIds profiles = {kNone, kNone, kNone, kNone};
  std::vector<std::uint32_t> relaxed = policies;
  std::size_t audited = 0;
  for (std::uint32_t& policy : relaxed) {
    if (!is_audited(policy, pod)) continue;
    policy |= kAudited;
    audited++;
  }
  for (const Direction direction : kBoth) {
    const auto at = static_cast<std::size_t>(direction);
    profiles[at] = profile(direction, policies, pod);
    if (audited > 0)
      profiles[at + kDirections] =
          audited == policies.size() ? kEverything : profile(direction, relaxed, pod);
  }
  return profiles;
}

Tables::EndpointFacts Tables::facts_of(const ProfileIds& profiles) const {
  EndpointFacts facts;
  for (std::size_t i = 0; i < kDirections; i++) {
    facts.facts.profile[i] = profile_offset(profiles[i]);
    const ProfileId relaxed = profiles[i + kDirections];
    if (relaxed == kNone) continue;
    // Without its denials a profile may have nothing to say.
    const std::uint32_t offset = relaxed == kEverything ? 0 : profile_offset(relaxed);
    facts.relaxed.profile[i] = offset == 0 ? std::uint32_t{VMLANE_POLICY_EVERYTHING} : offset;
  }
  return facts;
}

void Tables::use_profiles(std::uint32_t endpoint, const ProfileIds& profiles) {
  if (endpoint >= derived_->endpoint_room) return;
  for (const ProfileId id : profiles) {
    if (id < derived_->profiles.size()) derived_->profiles[id].users++;
  }
  for (const ProfileId id : derived_->endpoint_profiles[endpoint]) {
    if (id >= derived_->profiles.size()) continue;
    if (--derived_->profiles[id].users == 0) derived_->unused.insert(id);
  }
  derived_->endpoint_profiles[endpoint] = profiles;
}

// Every profile knows every group that meets a term of its, before an address leads to the group.
void Tables::place_fresh_groups() {
  for (const GroupId group : derived_->groups.take_fresh()) {
    if (derived_->block.outgrown()) return;
    for (const auto& terms : {derived_->groups.who(group), derived_->groups.where(group)}) {
      for (const TermId term : terms) {
        if (term >= derived_->profiles_of_term.size()) continue;
        for (const ProfileId id : derived_->profiles_of_term[term]) {
          if (!derived_->profiles[id].profile->add_group(derived_->block, derived_->groups, group))
            derived_->block.set_outgrown();
          derived_->grown.insert(id);
        }
      }
    }
  }
}

// A profile that is nearly full is written again, for the groups of publications to come.
void Tables::enlarge_profiles() {
  std::map<ProfileId, bool> larger;
  for (const ProfileId id : std::exchange(derived_->grown, {})) {
    ProfileRecord& record = derived_->profiles[id];
    if (derived_->block.outgrown() || record.users == 0 || !record.profile->is_full(derived_->groups))
      continue;
    unlist_profile(id);
    record.profile->release(derived_->block, derived_->pages);
    record.profile.emplace(derived_->block, derived_->pages, derived_->groups, request_of(record.key->first));
    list_profile(id);
    larger[id] = true;
  }
  if (larger.empty()) return;
  for (std::uint32_t number = 0; number < derived_->endpoint_room; number++) {
    const auto& profiles = derived_->endpoint_profiles[number];
    if (std::ranges::none_of(profiles, [&](ProfileId id) { return larger.contains(id); })) continue;
    const auto& endpoint = (&derived_->block.at<vmlane_policy_endpoint>(derived_->endpoints))[number];
    EndpointFacts facts = facts_of(profiles);
    facts.facts.node = endpoint.facts[endpoint.active & 1].node;
    facts.facts.group = endpoint.facts[endpoint.active & 1].group;
    set_facts(number, endpoint.network, facts);
  }
}

void Tables::drop_unused_profiles() {
  for (const ProfileId id : std::exchange(derived_->unused, {})) {
    ProfileRecord& record = derived_->profiles[id];
    if (record.users > 0 || !record.profile) continue;
    unlist_profile(id);
    record.profile->release(derived_->block, derived_->pages);
    record.profile.reset();
    derived_->profile_ids.erase(record.key);
    derived_->free_profiles.push_back(id);
  }
}

std::vector<Problem> Tables::problems() const {
  std::vector<Problem> problems;
  if (derived_ == nullptr) return problems;
  if (too_large_)
    problems.push_back(
        {"object", "all", "",
         "the tables of all objects together are larger than " + std::to_string(max_bytes_) + " bytes",
         "every pod gets and sends nothing", ""});
  for (const auto& [key, claims] : derived_->addresses.shared()) {
    std::set<std::string> pods;
    std::map<std::string, std::uint32_t> sources;
    std::string node;
    for (const Claim& claim : claims) {
      const PodRecord* pod = claim.kind == Claim::Kind::kNode ? nullptr : &pods_[claim.index];
      if (claim.kind == Claim::Kind::kPod) {
        pods.insert(*pod->id);
        sources[*pod->id] = pod->source;
      } else if (const std::string& name = strings_.text((pod == nullptr ? claim.index : pod->node) - 1);
                 node.empty() || name < node) {
        node = name;
      }
    }
    if (pods.empty() || (pods.size() == 1 && node.empty())) continue;
    const std::string other = pods.size() > 1 ? "pod " + *pods.rbegin() : "node " + node;
    problems.push_back({"Pod", *pods.begin(), "status.podIPs",
                        "has the address " + key.address.to_string() + ", which " + other + " has too",
                        "selectors of peers know neither by it", strings_.text(sources[*pods.begin()])});
  }
  for (ProfileId id = 0; id < derived_->profiles.size(); id++) {
    const ProfileRecord& record = derived_->profiles[id];
    if (!record.profile || !record.profile->excess()) continue;
    // What is too large without the denials of some policies is so with them.
    const auto is_relaxed = [](std::uint32_t policy) { return (policy & kAudited) != 0; };
    if (std::ranges::any_of(record.key->first.policies, is_relaxed)) continue;
    const Policy& policy = *record.profile->excess()->policy;
    const std::string direction = direction_name(record.key->first.direction);
    const auto index = static_cast<std::size_t>(record.key->first.direction);
    const bool audited = std::ranges::any_of(derived_->endpoint_profiles, [&](const ProfileIds& profiles) {
      return profiles[index] == id && profiles[index + kDirections] != kNone;
    });
    problems.push_back({policy.kind, policy.id(), "spec." + direction, record.profile->excess()->why,
                        "pod " + record.pod + " and those like it let nothing through in " + direction +
                            (audited ? ", but for what is in audit" : ""),
                        policy.source});
  }
  return problems;
}

}  // namespace vmlane::policy
