// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/address.h"

// policy/ decides which connections the pods of a cluster may open. Kubernetes objects are read and validated
// (reader.h) into the types of this header; the compiler (compiler.h) turns them into tables, over which
// verdict.h, freestanding C, finds a verdict in a few loads. The oracle (oracle.h) says the same by looking
// at every object, shares nothing with the compiler but these types, and is what the compiler is tested
// against.
//
// Invariants: what cannot be read allows nothing and is reported (Problem); no selector and the empty
// selector are different things; nothing here knows a lane, the kernel or an API server.
namespace vmlane::policy {

using Labels = std::map<std::string, std::string>;

// A network of the model: the cluster's own, or a NetworkAttachmentDefinition ("ns/name").
inline constexpr std::string_view kDefaultNetwork = "default";

constexpr std::int64_t kMaxPort = 65535;

// On a policy, a Namespace or a Pod: "audit" or "enforce". What is in audit denies nothing, but tells of what
// it would deny.
inline constexpr std::string_view kModeAnnotation = "vmlane.io/policy-mode";

// The label that the API server gives each namespace, with its name.
inline constexpr const char* kNameLabel = "kubernetes.io/metadata.name";

// Something of an object that cannot be taken as it stands.
struct Problem {
  std::string kind;
  std::string id;      // "ns/name", or "name" for an object without a namespace
  std::string key;     // "spec.ingress[0].from[1].ipBlock.cidr"
  std::string reason;  // what is wrong with it
  std::string effect;  // what is done instead
  std::string source;  // file, document, item

  std::string text() const;
  auto operator<=>(const Problem&) const = default;
};

struct Requirement {
  enum class Operator { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Operator op = Operator::kExists;
  std::set<std::string> values;
  auto operator<=>(const Requirement&) const = default;
};

// All labels and requirements must hold, so the empty selector matches everything. matchLabels become
// requirements of one value.
struct Selector {
  std::vector<Requirement> requirements;
  auto operator<=>(const Selector&) const = default;
};

// Pods by their labels and those of their namespace. Exactly one of `ns` and `namespaces` counts: a name (of
// the policy's own namespace), else a selector.
struct PodSelector {
  std::string ns;
  Selector namespaces;
  Selector pods;
  auto operator<=>(const PodSelector&) const = default;
};

struct AddressBlock {
  IpPrefix cidr;
  std::vector<IpPrefix> except;
  auto operator<=>(const AddressBlock&) const = default;
};

struct NodeSelector {
  Selector nodes;
  auto operator<=>(const NodeSelector&) const = default;
};

using Peer = std::variant<PodSelector, AddressBlock, NodeSelector>;

enum Protocol : std::uint8_t { kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpV6 = 58, kSctp = 132 };

// Destination ports: a range of one protocol, or a name that the destination pod gives a number. A protocol
// of 0 goes with a name only: the protocol that the pod gives it.
struct PortMatch {
  std::uint8_t protocol = kTcp;
  std::uint16_t first = 0;
  std::uint16_t last = 0xffff;
  std::string name;
  auto operator<=>(const PortMatch&) const = default;
};

enum class Action : std::uint8_t { kAccept, kDeny, kPass };

// Applies to a connection whose peer is one of `peers` and whose port is one of `ports`; `any_*` for rules
// that do not name them. An empty list without `any_*` matches nothing.
struct Rule {
  std::size_t index = 0;  // in the list of the object
  Action action = Action::kAccept;
  bool any_peer = false;
  bool any_port = false;
  std::vector<Peer> peers;
  std::vector<PortMatch> ports;
  auto operator<=>(const Rule&) const = default;
};

// The order in which tiers are asked.
enum class Tier : std::uint8_t { kAdmin, kNetworkPolicy, kBaseline };

enum class Direction : std::uint8_t { kEgress, kIngress };
inline constexpr std::size_t kDirections = 2;

// A policy of any kind. In the NetworkPolicy tier it isolates its pods in the directions it is about, and its
// rules accept; in the others it isolates nobody.
struct Policy {
  std::string kind;
  std::string ns;  // empty for kinds without one
  std::string name;
  Tier tier = Tier::kNetworkPolicy;
  std::uint32_t priority = 0;         // the lower one is asked first
  std::vector<PodSelector> subjects;  // pods of any of them
  std::set<std::string> networks;     // on which the pods' interfaces are meant
  std::array<bool, kDirections> isolates{};
  std::array<std::vector<Rule>, kDirections> rules;
  bool audit = false;  // what it denies is let through, and told
  std::string source;

  const std::vector<Rule>& rules_of(Direction direction) const {
    return rules[static_cast<std::size_t>(direction)];
  }
  bool isolates_in(Direction direction) const { return isolates[static_cast<std::size_t>(direction)]; }
  std::string id() const { return ns.empty() ? name : ns + "/" + name; }
  // What no other policy is called.
  std::string key() const { return kind + " " + id(); }
};

// The order in which policies are asked; rules of one policy follow each other by index.
bool asked_before(const Policy& a, const Policy& b);

struct Namespace {
  std::string name;
  Labels labels;  // with kubernetes.io/metadata.name
  bool broken = false;
  bool audit = false;  // every policy about its pods is in audit
  std::string source;
};

struct NamedPort {
  std::string name;
  std::uint8_t protocol = kTcp;
  std::uint16_t number = 0;
  auto operator<=>(const NamedPort&) const = default;
};

// What a pod has on a network.
struct PodInterface {
  std::string network;
  std::vector<IpAddress> addresses;
  auto operator<=>(const PodInterface&) const = default;
};

struct Pod {
  std::string ns;
  std::string name;
  Labels labels;
  std::string node;
  bool host_network = false;
  bool ended = false;   // its containers have run; its addresses are somebody else's by now
  bool broken = false;  // could not be read whole: nothing is let through
  std::vector<NamedPort> ports;
  std::vector<PodInterface> interfaces;  // none when it has ended
  // Whether NetworkPolicies and MultiNetworkPolicies about it are in audit, or no policy is because of its
  // namespace; as the namespace says when not set.
  std::optional<bool> audit;
  std::string source;

  std::string id() const { return ns + "/" + name; }
  // A pod that policies can be about: it runs, and has addresses that are not its node's.
  bool has_endpoints() const { return !ended && !host_network; }
};

struct Node {
  std::string name;
  Labels labels;
  std::vector<IpAddress> addresses;
  std::string source;
};

// Everything that is known, by what it is called. Changes are made by assigning or erasing.
struct Objects {
  std::map<std::string, Policy> policies;  // by key()
  std::map<std::string, Namespace> namespaces;
  std::map<std::string, Pod> pods;  // by id()
  std::map<std::string, Node> nodes;
  std::vector<Problem> problems;
  std::size_t ignored = 0;  // objects of kinds that policy is not about
};

std::string protocol_name(std::uint8_t protocol);
std::string direction_name(Direction direction);

}  // namespace vmlane::policy
