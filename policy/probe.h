// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "core/address.h"
#include "core/error.h"
#include "core/json.h"
#include "policy/objects.h"

namespace vmlane::policy {

// One end of a connection: a pod by its id, or an address.
struct End {
  std::string pod;
  IpAddress address;  // when `pod` is empty

  std::string to_string() const { return pod.empty() ? address.to_string() : pod; }
};

// Asks whether `from` may open a connection to `to`.
struct Probe {
  End from;
  End to;
  std::string network = std::string(kDefaultNetwork);
  bool v6 = false;
  std::uint8_t protocol = kTcp;
  std::uint16_t port = 0;  // 0 for protocols without ports
};

// Why an end lets a connection pass or not.
enum class Reason {
  kNoPod,        // the end is no pod of the network: nothing to judge
  kItself,       // both ends are one pod
  kOwnNode,      // the other end is the node that the pod runs on
  kBroken,       // the pod or its namespace could not be read
  kUnreachable,  // the pod has ended, or is not on the network or in the address family
  kNotIsolated,  // no policy is about the pod in this direction, or none of those says anything
  kIsolated,     // a NetworkPolicy isolates the pod and no rule lets this in
  kRule,         // a rule decided
  kTooLarge,     // the pod's policies are past the limits of the tables
};

// What policies in audit would deny.
struct AuditDenial {
  Reason reason = Reason::kIsolated;
  std::string kind;
  std::string policy;
  std::optional<std::size_t> rule;

  bool operator==(const AuditDenial&) const = default;
};

struct Judgement {
  bool allowed = true;
  Reason reason = Reason::kNoPod;
  std::string kind;                  // of the policy that decided; empty when none did
  std::string policy;                // its id
  std::optional<std::size_t> rule;   // the rule's index in its list; none for kIsolated
  std::optional<AuditDenial> audit;  // set when it is allowed only because this is in audit

  bool operator==(const Judgement&) const = default;
};

struct Verdict {
  Judgement egress;
  Judgement ingress;

  bool allowed() const { return egress.allowed && ingress.allowed; }
  bool operator==(const Verdict&) const = default;
};

// TCP, UDP, SCTP, ICMP (ICMPv6 on v6), ICMPv6, IGMP, GRE, ESP, AH in any case, or a number from 0 to 255.
Result<std::uint8_t> parse_protocol(std::string_view name, bool v6);
// "ns/pod" or an address.
Result<End> parse_end(const std::string& text);
// {"from", "to", "network", "family", "protocol", "port"}; errors start with `what` and name the key.
Result<Probe> parse_probe(const Json& json, const std::string& what);

// {"verdict", "egress": {"verdict", "reason", "kind", "policy", "rule"}, "ingress": ...}; an end that only
// policies in audit would deny has "audit": {"reason", "kind", "policy", "rule"} too.
Json to_json(const Verdict& verdict);
std::string reason_name(Reason reason);

}  // namespace vmlane::policy
