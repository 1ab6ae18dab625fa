// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "policy/addresses.h"
#include "policy/block.h"
#include "policy/groups.h"
#include "policy/interner.h"
#include "policy/objects.h"
#include "policy/profile.h"
#include "policy/selectors.h"
#include "policy/store.h"
#include "policy/trie.h"

// The objects in a compact form, and the tables that follow from them. Internal to this room.
namespace vmlane::policy {

// How a named port stands in one number: name, protocol, port.
constexpr unsigned kNameShift = 32;
constexpr unsigned kProtocolShift = 16;
// In the key of a profile, with the number of a policy: what it denies is let through.
constexpr std::uint32_t kAudited = 0x80000000;

class Tables {
 public:
  explicit Tables(std::size_t max_bytes);
  ~Tables();

  void put(const Pod& pod);
  void put(const Namespace& ns);
  void put(const Node& node);
  void put(Policy policy);
  void remove_pod(const std::string& id);
  void remove_namespace(const std::string& name);
  void remove_node(const std::string& name);
  void remove_policy(const std::string& key);

  Publication publish();
  // What only shows when all objects are known.
  std::vector<Problem> problems() const;

  // What is known of a pod on a network.
  struct PodView {
    bool host_network = false;
    bool on_network = false;
    std::vector<IpAddress> addresses;
    std::optional<std::uint32_t> endpoint;
  };
  std::optional<PodView> pod(const std::string& id, const std::string& network) const;
  std::optional<std::uint32_t> network(const std::string& name) const;
  // The pod whose address alone it is.
  std::optional<std::uint32_t> endpoint_of(std::uint32_t network, const IpAddress& address) const;
  const PolicyName* policy(std::uint32_t number) const;
  std::vector<PolicyName> policies() const;
  std::uint64_t policies_version() const { return policies_version_; }
  vmlane_policy_tables tables() const;
  std::span<const std::uint64_t> block() const;

 private:
  using PodIndex = std::uint32_t;
  using ProfileId = std::uint32_t;
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr ProfileId kClosedProfile = 0xfffffffe;
  static constexpr ProfileId kEverything = 0xfffffffd;  // denies nothing
  // By direction: with everything in force, then without what policies in audit deny, kNone where none is.
  using ProfileIds = std::array<ProfileId, 2 * kDirections>;
  struct EndpointFacts {
    vmlane_policy_facts facts{};
    vmlane_policy_relaxed relaxed{};
  };

  struct Interface {
    std::uint32_t network = 0;
    std::uint32_t endpoint = kNone;
    std::vector<IpAddress> addresses;
  };
  struct PodRecord {
    const std::string* id = nullptr;  // none: the record is free
    NamespaceId ns = 0;
    std::uint32_t labels = 0;  // in label_sets_
    std::uint32_t ports = 0;   // in port_sets_
    std::uint32_t node = 0;    // number
    std::uint32_t source = 0;
    PeerGroups::SetId who = 0;
    bool host_network = false;
    bool ended = false;
    bool broken = false;
    bool dirty = false;
    std::optional<bool> audit;
    std::vector<Interface> interfaces;

    bool has_endpoints() const { return id != nullptr && !host_network && !ended; }
  };
  struct NamespaceRecord {
    bool broken = false;
    bool audit = false;
    Labels labels;
    std::vector<PodIndex> pods;
  };
  struct NodeRecord {
    Node object;
    std::vector<Label> labels;
    PeerGroups::SetId who = 0;
  };
  struct PolicyRecord {
    std::unique_ptr<StoredPolicy> stored;  // none: the policy has gone
    PolicyName name;
    std::array<std::vector<std::uint32_t>, kDirections> port_names;
  };
  struct ProfileKey {
    Direction direction = Direction::kEgress;
    std::vector<std::uint32_t> policies;  // numbers, some with kAudited
    std::vector<std::uint64_t> ports;
    auto operator<=>(const ProfileKey&) const = default;
  };
  struct ProfileRecord {
    std::optional<Profile> profile;
    std::size_t users = 0;
    std::string pod;  // one of those it was made for, where its policies are past a limit
    std::map<ProfileKey, ProfileId>::iterator key;
  };
  // What follows from the objects, in a block; made again when the block is outgrown.
  struct Derived {
    Derived(StringInterner& strings, std::size_t max_bytes, std::size_t addresses_expected,
            std::size_t endpoints_expected, std::size_t factor);

    SelectorIndex selectors;
    PeerGroups groups;
    Block block;
    std::uint32_t header;
    std::uint32_t closed;
    AddressTable addresses;
    std::uint32_t endpoints;  // offset
    std::uint32_t endpoint_room;
    AddressTrie trie;
    PortPages pages;
    TermId terms = 0;                                  // how many there are
    std::vector<TermId> selector_terms;                // by selector, kNone for those that no rule has
    std::vector<std::vector<std::uint32_t>> subjects;  // by selector: policies that it selects pods for
    std::map<AddressBlock, TermId> block_terms;
    std::map<NodeSelector, TermId> node_terms;
    std::map<std::uint32_t, std::map<std::uint64_t, TermId>> port_terms;  // by name, of those asked for
    std::map<std::uint32_t, std::set<std::uint32_t>> port_askers;         // by name: policies
    std::vector<ProfileRecord> profiles;
    std::vector<ProfileId> free_profiles;
    std::map<ProfileKey, ProfileId> profile_ids;
    std::vector<std::vector<ProfileId>> profiles_of_term;
    std::vector<ProfileIds> endpoint_profiles;  // by endpoint
    std::set<ProfileId> unused;                 // perhaps
    std::set<ProfileId> grown;                  // got groups
  };

  // Objects.
  std::uint32_t number_of_network(const std::string& name);
  std::uint32_t number_of_node(const std::string& name);
  NamespaceId namespace_of(const std::string& name);
  void set_namespace_labels(NamespaceId ns);
  std::vector<std::pair<AddressKey, Claim>> claims_of(PodIndex index) const;
  static std::vector<AddressKey> addresses_of(const NodeRecord& node);
  void replace(PodIndex index, PodRecord record);
  PodRecord record_of(const Pod& pod);
  std::vector<std::uint64_t> port_set(const Pod& pod);
  std::uint32_t take_endpoint(PodIndex pod);
  std::uint32_t take_policy_number();
  void close_endpoint(std::uint32_t endpoint);

  // What follows from them.
  void build();
  bool build_block(std::size_t factor);
  void write_header();
  void mark(PodIndex pod);
  bool published() const { return derived_ != nullptr && derived_->block.published(); }
  void mark_selected(SelectorId selector);
  void mark_subjects(const StoredPolicy& stored);
  void mark_addresses_in(const IpPrefix& prefix);
  void mark_namespace(NamespaceId ns);
  void enlist(std::uint32_t number);
  void delist(std::uint32_t number);
  TermId term_of(const Peer& peer);
  TermId selector_term(const PodSelector& selector);
  SelectorId add_selector(const PodSelector& selector);
  void ask_for_port_name(std::uint32_t name, std::uint32_t policy);
  void know_ports(PodIndex pod);
  void refresh();
  std::vector<std::uint32_t> refresh_who(PodIndex index);
  void refresh_endpoint(PodIndex index, const Interface& interface,
                        const std::vector<std::uint32_t>& policies);
  void refresh_node(NodeRecord& node);
  void refresh_address(const AddressKey& key);
  std::optional<std::uint64_t> peer_of(const AddressKey& key) const;
  void place_fresh_groups();
  void enlarge_profiles();
  void drop_unused_profiles();
  ProfileKey profile_key(Direction direction, const std::vector<std::uint32_t>& policies,
                         const PodRecord& pod) const;
  ProfileRequest request_of(const ProfileKey& key) const;
  ProfileId profile(Direction direction, const std::vector<std::uint32_t>& policies, const PodRecord& pod);
  void list_profile(ProfileId id);
  void unlist_profile(ProfileId id);
  std::uint32_t profile_offset(ProfileId id) const;
  bool is_audited(std::uint32_t policy, const PodRecord& pod) const;
  ProfileIds profiles_of(const std::vector<std::uint32_t>& policies, const PodRecord& pod);
  EndpointFacts facts_of(const ProfileIds& profiles) const;
  void set_facts(std::uint32_t endpoint, std::uint32_t network, const EndpointFacts& facts);
  void use_profiles(std::uint32_t endpoint, const ProfileIds& profiles);

  std::size_t max_bytes_;  // of a block
  StringInterner strings_;
  SequenceInterner<Label> label_sets_;
  SequenceInterner<std::uint64_t> port_sets_;
  std::map<std::string, PodIndex, std::less<>> pod_ids_;
  std::vector<PodRecord> pods_;
  std::vector<PodIndex> free_pods_;
  std::map<NamespaceId, NamespaceRecord> namespaces_;
  std::map<std::string, NodeRecord> nodes_;
  std::vector<PolicyRecord> policies_;  // by number
  std::map<std::string, std::uint32_t> policy_numbers_;
  std::uint64_t policies_version_ = 0;
  // A number is given again after two whole publications: what tells of it by then is of tables long gone.
  std::vector<std::uint32_t> free_policies_;
  std::vector<std::uint32_t> dying_policies_;
  std::vector<std::uint32_t> removed_numbers_;                   // since the last whole publication
  std::vector<std::unique_ptr<StoredPolicy>> removed_policies_;  // since the last publication
  std::map<std::string, std::uint32_t> network_numbers_;
  std::vector<std::string> network_names_;  // by number
  std::vector<PodIndex> endpoint_pods_;     // by endpoint
  std::vector<std::uint32_t> free_endpoints_;
  std::vector<std::uint32_t> closed_endpoints_;  // free with the next publication

  std::unique_ptr<Derived> derived_;  // none before the first publication
  std::vector<PodIndex> dirty_pods_;
  std::set<AddressKey> dirty_addresses_;
  std::set<NamespaceId> relabelled_;  // namespaces with other labels
  bool peers_moved_ = false;          // of relabelled namespaces
  bool endpoints_moved_ = false;
  std::set<PodIndex> entangled_;  // pods that share an address, or did, and no longer do
  bool entangled_moved_ = false;  // as ends
  bool dirty_nodes_ = false;
  std::size_t dead_policies_ = 0;  // that the block still has
  bool too_large_ = false;         // for a block: nothing is let through
  bool changed_ = true;
  std::uint64_t generation_ = 0;
};

}  // namespace vmlane::policy
