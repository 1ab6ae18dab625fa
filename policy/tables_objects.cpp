// SPDX-License-Identifier: Apache-2.0
// The objects, as they come and go.
#include <algorithm>

#include "policy/tables.h"

namespace vmlane::policy {
namespace {

bool same(const Policy& a, const Policy& b) {
  const auto everything = [](const Policy& policy) {
    return std::tie(policy.kind, policy.ns, policy.name, policy.tier, policy.priority, policy.subjects,
                    policy.networks, policy.isolates, policy.rules, policy.audit);
  };
  return everything(a) == everything(b);
}

}  // namespace

Tables::Tables(std::size_t max_bytes) : max_bytes_(max_bytes) {
  number_of_network(std::string(kDefaultNetwork));
}
Tables::~Tables() = default;

// ---- Names and numbers.

std::uint32_t Tables::number_of_network(const std::string& name) {
  const auto [entry, fresh] =
      network_numbers_.try_emplace(name, static_cast<std::uint32_t>(network_names_.size()));
  if (fresh) network_names_.push_back(name);
  return entry->second;
}

std::optional<std::uint32_t> Tables::network(const std::string& name) const {
  const auto found = network_numbers_.find(name);
  return found == network_numbers_.end() ? std::nullopt : std::optional(found->second);
}

std::uint32_t Tables::number_of_node(const std::string& name) {
  return name.empty() ? 0 : strings_.of(name) + 1;
}

NamespaceId Tables::namespace_of(const std::string& name) {
  const NamespaceId ns = strings_.of(name);
  const auto [entry, fresh] = namespaces_.try_emplace(ns);
  if (fresh) {
    entry->second.labels = {{kNameLabel, name}};
    set_namespace_labels(ns);
  }
  return ns;
}

void Tables::set_namespace_labels(NamespaceId ns) {
  if (derived_ != nullptr)
    derived_->selectors.set_namespace(ns, intern_labels(namespaces_.at(ns).labels, strings_));
}

const PolicyName* Tables::policy(std::uint32_t number) const {
  return number < policies_.size() ? &policies_[number].name : nullptr;
}

std::vector<PolicyName> Tables::policies() const {
  std::vector<PolicyName> names(policies_.size());
  for (const auto& [key, number] : policy_numbers_) names[number] = policies_[number].name;
  return names;
}

// ---- Pods.

std::vector<std::uint64_t> Tables::port_set(const Pod& pod) {
  std::vector<std::uint64_t> ports;
  for (const NamedPort& port : pod.ports) {
    ports.push_back(std::uint64_t{strings_.of(port.name)} << kNameShift |
                    std::uint64_t{port.protocol} << kProtocolShift | port.number);
  }
  std::ranges::sort(ports);
  const auto repeated = std::ranges::unique(ports);
  ports.erase(repeated.begin(), repeated.end());
  return ports;
}

Tables::PodRecord Tables::record_of(const Pod& pod) {
  PodRecord record;
  record.ns = namespace_of(pod.ns);
  record.labels = label_sets_.of(intern_labels(pod.labels, strings_));
  record.ports = port_sets_.of(port_set(pod));
  record.node = number_of_node(pod.node);
  record.source = strings_.of(pod.source);
  record.host_network = pod.host_network;
  record.ended = pod.ended;
  record.broken = pod.broken;
  record.audit = pod.audit;
  for (const PodInterface& given : pod.interfaces) {
    const std::uint32_t network = number_of_network(given.network);
    // Two interfaces on one network are one end.
    auto there = std::ranges::find(record.interfaces, network, &Interface::network);
    if (there == record.interfaces.end()) {
      record.interfaces.push_back({.network = network, .endpoint = kNone, .addresses = {}});
      there = record.interfaces.end() - 1;
    }
    there->addresses.insert(there->addresses.end(), given.addresses.begin(), given.addresses.end());
  }
  for (Interface& interface : record.interfaces) interface.addresses.shrink_to_fit();
  record.interfaces.shrink_to_fit();
  return record;
}

// Rising, each once.
std::vector<std::pair<AddressKey, Claim>> Tables::claims_of(PodIndex index) const {
  const PodRecord& pod = pods_[index];
  std::vector<std::pair<AddressKey, Claim>> claims;
  if (pod.id == nullptr || pod.ended || (pod.host_network && pod.node == 0)) return claims;
  for (const Interface& interface : pod.interfaces) {
    if (pod.host_network && interface.network != 0) continue;
    for (const IpAddress& address : interface.addresses) {
      claims.push_back(
          {{interface.network, address}, {pod.host_network ? Claim::Kind::kHost : Claim::Kind::kPod, index}});
    }
  }
  std::ranges::sort(claims);
  const auto repeated = std::ranges::unique(claims);
  claims.erase(repeated.begin(), repeated.end());
  return claims;
}

std::uint32_t Tables::take_endpoint(PodIndex pod) {
  if (free_endpoints_.empty()) {
    endpoint_pods_.push_back(pod);
    return static_cast<std::uint32_t>(endpoint_pods_.size() - 1);
  }
  const std::uint32_t endpoint = free_endpoints_.back();
  free_endpoints_.pop_back();
  endpoint_pods_[endpoint] = pod;
  return endpoint;
}

void Tables::close_endpoint(std::uint32_t endpoint) {
  endpoint_pods_[endpoint] = kNone;
  closed_endpoints_.push_back(endpoint);
  if (derived_ == nullptr || endpoint >= derived_->endpoint_room) return;
  constexpr ProfileIds kClosed = {kClosedProfile, kClosedProfile, kNone, kNone};
  use_profiles(endpoint, kClosed);
  const auto& there = (&derived_->block.at<vmlane_policy_endpoint>(derived_->endpoints))[endpoint];
  set_facts(endpoint, there.network, facts_of(kClosed));
}

// Puts a record in the place of the one at `index`; endpoints on the same networks stay.
void Tables::replace(PodIndex index, PodRecord record) {
  PodRecord& there = pods_[index];
  const auto old_claims = claims_of(index);
  const auto endpoint_on = [](PodRecord& pod, std::uint32_t network) -> std::uint32_t* {
    const auto found = std::ranges::find(pod.interfaces, network, &Interface::network);
    return found == pod.interfaces.end() ? nullptr : &found->endpoint;
  };
  for (const Interface& interface : there.interfaces) {
    if (interface.endpoint == kNone) continue;
    std::uint32_t* now = record.has_endpoints() ? endpoint_on(record, interface.network) : nullptr;
    if (now == nullptr) {
      close_endpoint(interface.endpoint);
    } else {
      *now = interface.endpoint;
    }
  }
  if (record.has_endpoints()) {
    for (Interface& interface : record.interfaces) {
      if (interface.endpoint == kNone) interface.endpoint = take_endpoint(index);
    }
  }
  record.dirty = there.dirty;
  there = std::move(record);
  if (derived_ == nullptr) return;
  const auto new_claims = claims_of(index);
  for (const auto& [key, claim] : old_claims) {
    if (!std::ranges::binary_search(new_claims, std::pair(key, claim))) {
      if (derived_->addresses.shared().contains(key)) entangled_.insert(index);
      derived_->addresses.remove(key, claim);
    }
    dirty_addresses_.insert(key);
  }
  for (const auto& [key, claim] : new_claims) {
    if (!std::ranges::binary_search(old_claims, std::pair(key, claim))) {
      derived_->addresses.add(key, claim);
      if (derived_->addresses.shared().contains(key)) entangled_.insert(index);
    }
    dirty_addresses_.insert(key);
  }
  if (there.id == nullptr) return;
  know_ports(index);
  mark(index);
}

void Tables::put(const Pod& pod) {
  changed_ = true;
  PodRecord record = record_of(pod);
  const auto next = static_cast<PodIndex>(free_pods_.empty() ? pods_.size() : free_pods_.back());
  const auto [entry, fresh] = pod_ids_.try_emplace(pod.id(), next);
  record.id = &entry->first;
  if (fresh) {
    if (free_pods_.empty()) {
      pods_.emplace_back();
    } else {
      free_pods_.pop_back();
    }
    namespaces_.at(record.ns).pods.push_back(next);
  }
  replace(entry->second, std::move(record));
}

void Tables::remove_pod(const std::string& id) {
  const auto found = pod_ids_.find(id);
  if (found == pod_ids_.end()) return;
  changed_ = true;
  const PodIndex index = found->second;
  std::erase(namespaces_.at(pods_[index].ns).pods, index);
  replace(index, {});
  free_pods_.push_back(index);
  pod_ids_.erase(found);
}

std::optional<Tables::PodView> Tables::pod(const std::string& id, const std::string& network) const {
  const auto found = pod_ids_.find(id);
  if (found == pod_ids_.end()) return std::nullopt;
  const PodRecord& record = pods_[found->second];
  PodView view{.host_network = record.host_network, .on_network = false, .addresses = {}, .endpoint = {}};
  const auto number = network_numbers_.find(network);
  if (number == network_numbers_.end()) return view;
  const auto interface = std::ranges::find(record.interfaces, number->second, &Interface::network);
  if (interface == record.interfaces.end()) return view;
  view.on_network = true;
  view.addresses = interface->addresses;
  if (interface->endpoint != kNone) view.endpoint = interface->endpoint;
  return view;
}

std::optional<std::uint32_t> Tables::endpoint_of(std::uint32_t network, const IpAddress& address) const {
  const auto claims = derived_->addresses.claims({network, address});
  if (claims.size() != 1 || claims[0].kind != Claim::Kind::kPod) return std::nullopt;
  const auto& interfaces = pods_[claims[0].index].interfaces;
  const auto found = std::ranges::find(interfaces, network, &Interface::network);
  return found == interfaces.end() ? std::nullopt : std::optional(found->endpoint);
}

// ---- Namespaces and nodes.

void Tables::put(const Namespace& ns) {
  changed_ = true;
  const NamespaceId id = namespace_of(ns.name);
  NamespaceRecord& record = namespaces_.at(id);
  if (record.labels == ns.labels && record.broken == ns.broken && record.audit == ns.audit) return;
  record.broken = ns.broken;
  record.audit = ns.audit;
  record.labels = ns.labels;
  set_namespace_labels(id);
  relabelled_.insert(id);
  mark_namespace(id);
}

void Tables::remove_namespace(const std::string& name) {
  put(Namespace{.name = name, .labels = {{kNameLabel, name}}, .broken = false, .audit = false, .source = {}});
}

std::vector<AddressKey> Tables::addresses_of(const NodeRecord& node) {
  std::vector<AddressKey> keys;
  for (const IpAddress& address : node.object.addresses) keys.push_back({0, address});
  return keys;
}

void Tables::put(const Node& node) {
  changed_ = true;
  remove_node(node.name);
  NodeRecord record{.object = node, .labels = intern_labels(node.labels, strings_), .who = 0};
  const auto& there = nodes_.emplace(node.name, std::move(record)).first->second;
  if (derived_ == nullptr) return;
  for (const AddressKey& key : addresses_of(there)) {
    derived_->addresses.add(key, {Claim::Kind::kNode, number_of_node(node.name)});
    dirty_addresses_.insert(key);
  }
  dirty_nodes_ = true;
}

void Tables::remove_node(const std::string& name) {
  const auto found = nodes_.find(name);
  if (found == nodes_.end()) return;
  changed_ = true;
  if (derived_ != nullptr) {
    for (const AddressKey& key : addresses_of(found->second)) {
      derived_->addresses.remove(key, {Claim::Kind::kNode, number_of_node(name)});
      dirty_addresses_.insert(key);
    }
  }
  nodes_.erase(found);
}

// ---- Policies. One that changes is another one, with a number of its own.

void Tables::put(Policy policy) {
  changed_ = true;
  const std::string key = policy.key();
  if (const auto found = policy_numbers_.find(key); found != policy_numbers_.end()) {
    Policy& there = policies_[found->second].stored->policy;
    if (same(there, policy)) {
      there.source = policy.source;
      return;
    }
    remove_policy(key);
  }
  PolicyRecord record;
  record.name = {policy.kind, policy.id()};
  for (const Direction direction : {Direction::kEgress, Direction::kIngress}) {
    std::set<std::uint32_t> names;
    for (const Rule& rule : policy.rules_of(direction)) {
      for (const PortMatch& port : rule.ports) {
        if (!port.name.empty()) names.insert(strings_.of(port.name));
      }
    }
    record.port_names[static_cast<std::size_t>(direction)].assign(names.begin(), names.end());
  }
  record.stored = std::make_unique<StoredPolicy>(StoredPolicy{std::move(policy), {}});
  const std::uint32_t number = take_policy_number();
  policies_[number] = std::move(record);
  policy_numbers_[key] = number;
  policies_version_++;
  if (derived_ != nullptr) enlist(number);
}

std::uint32_t Tables::take_policy_number() {
  if (free_policies_.empty()) {
    policies_.emplace_back();
    return static_cast<std::uint32_t>(policies_.size() - 1);
  }
  const std::uint32_t number = free_policies_.back();
  free_policies_.pop_back();
  return number;
}

void Tables::remove_policy(const std::string& key) {
  const auto found = policy_numbers_.find(key);
  if (found == policy_numbers_.end()) return;
  changed_ = true;
  if (derived_ != nullptr) delist(found->second);
  // Profiles that are made of it go with the next publication.
  removed_policies_.push_back(std::move(policies_[found->second].stored));
  removed_numbers_.push_back(found->second);
  policies_version_++;
  policy_numbers_.erase(found);
}

}  // namespace vmlane::policy
