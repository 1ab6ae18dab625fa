// SPDX-License-Identifier: Apache-2.0
#include "policy/compiler.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "policy/profile.h"

namespace vmlane::policy {
namespace {

constexpr std::size_t kMaxBlock = std::size_t{2} << 30;

class Compilation {
 public:
  explicit Compilation(const Objects& objects)
      : objects_(objects), index_(objects), groups_(objects, index_) {}

  Compiled run() {
    block_.reserve(sizeof(vmlane_policy_header), VMLANE_POLICY_LINE);
    broken_ = block_.reserve(sizeof(vmlane_policy_profile), VMLANE_POLICY_LINE);
    block_.at<vmlane_policy_profile>(broken_).flags = VMLANE_POLICY_PROFILE_BROKEN;
    find_policies();
    compiled_.networks = groups_.networks();
    compiled_.problems = groups_.problems();
    std::vector<vmlane_policy_endpoint> endpoints;
    for (std::uint32_t pod = 0; pod < index_.pods().size(); pod++) add_endpoints(pod, endpoints);
    write_header(endpoints);
    compiled_.words = block_.take();
    return std::move(compiled_);
  }

 private:
  void find_policies() {
    std::vector<const Policy*> order;
    for (const auto& [key, policy] : objects_.policies) order.push_back(&policy);
    std::ranges::sort(order, [](const Policy* a, const Policy* b) { return asked_before(*a, *b); });
    of_pod_.resize(index_.pods().size());
    for (std::uint32_t number = 0; number < order.size(); number++) {
      compiled_.policies.push_back({order[number]->kind, order[number]->id()});
      for (const PodSelector& subject : order[number]->subjects) {
        for (const std::uint32_t pod : index_.select(subject)) {
          if (of_pod_[pod].empty() || of_pod_[pod].back().number != number)
            of_pod_[pod].push_back({order[number], number});
        }
      }
    }
  }

  void add_endpoints(std::uint32_t number, std::vector<vmlane_policy_endpoint>& endpoints) {
    const Pod& pod = *index_.pods()[number];
    for (const PodInterface& interface : pod.interfaces) {
      const auto [entry, fresh] = compiled_.endpoints.try_emplace(
          {pod.id(), interface.network}, static_cast<std::uint32_t>(endpoints.size()));
      if (!fresh) continue;
      vmlane_policy_endpoint endpoint{};
      endpoint.network = groups_.networks().at(interface.network);
      const auto ns = objects_.namespaces.find(pod.ns);
      const bool broken = pod.broken || (ns != objects_.namespaces.end() && ns->second.broken);
      vmlane_policy_facts& facts = endpoint.facts[0];
      const auto node = groups_.node_numbers().find(pod.node);
      facts.node = node == groups_.node_numbers().end() ? 0 : node->second;
      facts.group = groups_.group_of_pod(number);
      std::vector<NumberedPolicy> policies;
      for (const NumberedPolicy& policy : of_pod_[number]) {
        if (policy.policy->networks.contains(interface.network)) policies.push_back(policy);
      }
      for (const Direction direction : {Direction::kEgress, Direction::kIngress})
        facts.profile[static_cast<std::size_t>(direction)] =
            broken ? broken_ : profile(direction, policies, pod);
      endpoints.push_back(endpoint);
    }
  }

  // Pods with the same policies share a profile, unless their own port names tell them apart.
  std::uint32_t profile(Direction direction, const std::vector<NumberedPolicy>& policies, const Pod& pod) {
    if (policies.empty()) return 0;
    Key key{direction, {}, {}};
    bool named = false;
    for (const NumberedPolicy& policy : policies) {
      key.policies.push_back(policy.number);
      for (const Rule& rule : policy.policy->rules_of(direction))
        named = named ||
                std::ranges::any_of(rule.ports, [](const PortMatch& port) { return !port.name.empty(); });
    }
    if (named && direction == Direction::kIngress) {
      key.ports = pod.ports;
      std::ranges::sort(key.ports);
    }
    const auto [entry, fresh] = profiles_.try_emplace(key, 0);
    if (!fresh) return entry->second;
    const ProfileResult result = write_profile(block_, groups_, direction, policies, pod.ports);
    entry->second = result.offset;
    if (result.too_large != nullptr) {
      compiled_.problems.push_back(
          {result.too_large->kind, result.too_large->id(), "spec." + direction_name(direction), result.why,
           "pod " + pod.id() + " and those like it let nothing through in " + direction_name(direction),
           result.too_large->source});
    }
    return entry->second;
  }

  void write_header(const std::vector<vmlane_policy_endpoint>& endpoints) {
    vmlane_policy_header header{};
    header.magic = VMLANE_POLICY_MAGIC;
    header.major = VMLANE_POLICY_MAJOR;
    header.minor = VMLANE_POLICY_MINOR;
    header.endpoint_count = static_cast<std::uint32_t>(endpoints.size());
    header.endpoints = block_.reserve(endpoints.size() * sizeof(vmlane_policy_endpoint), VMLANE_POLICY_LINE);
    std::ranges::copy(endpoints, &block_.at<vmlane_policy_endpoint>(header.endpoints));
    header.trie = block_.reserve(groups_.trie().size() * sizeof(vmlane_policy_node), VMLANE_POLICY_LINE);
    std::ranges::copy(groups_.trie(), &block_.at<vmlane_policy_node>(header.trie));
    header.root_v4 = groups_.root(false);
    header.root_v6 = groups_.root(true);
    header.group_count = static_cast<std::uint32_t>(groups_.count());
    const std::vector<vmlane_policy_slot> slots = hash_slots();
    header.slot_mask = static_cast<std::uint32_t>(slots.size() - 1);
    header.slots = block_.reserve(slots.size() * sizeof(vmlane_policy_slot), VMLANE_POLICY_LINE);
    std::ranges::copy(slots, &block_.at<vmlane_policy_slot>(header.slots));
    header.size = static_cast<std::uint32_t>(block_.size());
    block_.at<vmlane_policy_header>(0) = header;
  }

  // At half full or less, and doubled until every slot is found within the steps that a reader takes.
  std::vector<vmlane_policy_slot> hash_slots() const {
    for (std::size_t size = std::bit_ceil(groups_.slots().size() * 2 + 2);; size *= 2) {
      std::vector<vmlane_policy_slot> table(size);
      const bool all = std::ranges::all_of(groups_.slots(), [&](const vmlane_policy_slot& slot) {
        const std::uint32_t hash = vmlane_policy_hash(slot.network, slot.v6, slot.address);
        for (std::uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES; probe++) {
          vmlane_policy_slot& place = table[(hash + probe) & (size - 1)];
          if (place.state != VMLANE_POLICY_SLOT_FREE) continue;
          place = slot;
          return true;
        }
        return false;
      });
      if (all) return table;
    }
  }

  struct Key {
    Direction direction;
    std::vector<std::uint32_t> policies;
    std::vector<NamedPort> ports;
    auto operator<=>(const Key&) const = default;
  };

  const Objects& objects_;
  PodIndex index_;
  PeerGroups groups_;
  BlockWriter block_;
  std::uint32_t broken_ = 0;
  Compiled compiled_;
  std::vector<std::vector<NumberedPolicy>> of_pod_;
  std::map<Key, std::uint32_t> profiles_;
};

// One end, as a datapath finds it.
struct Found {
  std::optional<std::uint32_t> endpoint;
  vmlane_policy_peer peer{};
  bool reachable = true;
};

class Lookup {
 public:
  Lookup(const Compiled& compiled, const Objects& objects, const Probe& probe)
      : compiled_(compiled), objects_(objects), probe_(probe), tables_(compiled.tables()) {}

  Result<Verdict> verdict() {
    VMLANE_ASSIGN(const Found from, find(probe_.from));
    VMLANE_ASSIGN(const Found to, find(probe_.to));
    if (!from.reachable || !to.reachable) return both({.allowed = false, .reason = Reason::kUnreachable});
    if (from.endpoint && from.endpoint == to.endpoint)
      return both({.allowed = true, .reason = Reason::kItself});
    return Verdict{judge(Direction::kEgress, from, to), judge(Direction::kIngress, to, from)};
  }

 private:
  static Verdict both(const Judgement& judgement) { return {judgement, judgement}; }

  Result<Found> find(const End& end) const {
    if (end.pod.empty()) {
      Found found{.endpoint = {}, .peer = peer_of(end.address)};
      // The tables know who an address is, not the name of the endpoint; the datapath starts from the latter.
      if (found.peer.exact != 0 && found.peer.node == 0) found.endpoint = endpoint_of(end.address);
      return found;
    }
    const auto object = objects_.pods.find(end.pod);
    if (object == objects_.pods.end()) return fail(Code::kNotFound, "there is no pod " + end.pod);
    return find(object->second);
  }

  Found find(const Pod& pod) const {
    Found found;
    std::vector<IpAddress> addresses;
    bool on_network = false;
    for (const PodInterface& interface : pod.interfaces) {
      if (interface.network != probe_.network) continue;
      on_network = true;
      addresses.insert(addresses.end(), interface.addresses.begin(), interface.addresses.end());
    }
    const auto own = std::ranges::find(addresses, probe_.v6, &IpAddress::v6);
    found.reachable = on_network && (own != addresses.end() || (addresses.empty() && !pod.host_network));
    if (own != addresses.end()) found.peer = peer_of(*own);
    const auto endpoint = compiled_.endpoints.find({pod.id(), probe_.network});
    if (endpoint == compiled_.endpoints.end()) return found;
    found.endpoint = endpoint->second;
    if (addresses.empty()) found.peer.group = vmlane_policy_facts_of(&tables_, endpoint->second)->group;
    return found;
  }

  vmlane_policy_peer peer_of(const IpAddress& address) const {
    const auto network = compiled_.networks.find(probe_.network);
    const auto words = address_words(address);
    const std::uint32_t number = network == compiled_.networks.end() ? ~0U : network->second;
    return vmlane_policy_find_peer(&tables_, number, address.v6 ? 1 : 0, words.data());
  }

  std::optional<std::uint32_t> endpoint_of(const IpAddress& address) const {
    for (const auto& [id, pod] : objects_.pods) {
      if (!pod.has_endpoints()) continue;
      for (const PodInterface& interface : pod.interfaces) {
        if (interface.network == probe_.network &&
            std::ranges::find(interface.addresses, address) != interface.addresses.end())
          return compiled_.endpoints.at({id, probe_.network});
      }
    }
    return std::nullopt;
  }

  Judgement judge(Direction direction, const Found& self, const Found& other) const {
    if (!self.endpoint) return {};
    const std::uint32_t node = vmlane_policy_facts_of(&tables_, *self.endpoint)->node;
    const vmlane_policy_question question{.endpoint = *self.endpoint,
                                          .group = other.peer.group,
                                          .own_node = node != 0 && node == other.peer.node ? 1U : 0U,
                                          .port = probe_.port,
                                          .protocol = probe_.protocol,
                                          .direction = static_cast<std::uint8_t>(direction)};
    const vmlane_policy_answer answer = vmlane_policy_judge(&tables_, &question);
    Judgement judgement{.allowed = answer.allowed != 0, .reason = reason_of(answer.reason)};
    const bool named = judgement.reason == Reason::kRule || judgement.reason == Reason::kIsolated ||
                       judgement.reason == Reason::kTooLarge;
    if (named && answer.policy < compiled_.policies.size()) {
      judgement.kind = compiled_.policies[answer.policy].kind;
      judgement.policy = compiled_.policies[answer.policy].id;
    }
    if (judgement.reason == Reason::kRule) judgement.rule = answer.rule;
    return judgement;
  }

  static Reason reason_of(std::uint32_t reason) {
    switch (reason) {
      case VMLANE_POLICY_NOT_ISOLATED:
        return Reason::kNotIsolated;
      case VMLANE_POLICY_BY_RULE:
        return Reason::kRule;
      case VMLANE_POLICY_ISOLATED:
        return Reason::kIsolated;
      case VMLANE_POLICY_OWN_NODE:
        return Reason::kOwnNode;
      case VMLANE_POLICY_TOO_LARGE:
        return Reason::kTooLarge;
      default:
        return Reason::kBroken;
    }
  }

  const Compiled& compiled_;
  const Objects& objects_;
  const Probe& probe_;
  vmlane_policy_tables tables_;
};

}  // namespace

vmlane_policy_tables Compiled::tables() const {
  return {words.data(),
          static_cast<std::uint32_t>(std::min(words.size() * sizeof(std::uint64_t), kMaxBlock))};
}

Compiled compile(const Objects& objects) {
  return Compilation(objects).run();
}

Result<Verdict> ask_tables(const Compiled& compiled, const Objects& objects, const Probe& probe) {
  return Lookup(compiled, objects, probe).verdict();
}

}  // namespace vmlane::policy
