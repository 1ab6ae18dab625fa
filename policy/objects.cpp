// SPDX-License-Identifier: Apache-2.0
#include "policy/objects.h"

#include <tuple>

namespace vmlane::policy {

std::string Problem::text() const {
  return source + ": " + kind + " " + id + ": key \"" + key + "\" " + reason + "; " + effect;
}

bool asked_before(const Policy& a, const Policy& b) {
  return std::tie(a.tier, a.priority, a.ns, a.name, a.kind) <
         std::tie(b.tier, b.priority, b.ns, b.name, b.kind);
}

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case kIcmp:
      return "ICMP";
    case kTcp:
      return "TCP";
    case kUdp:
      return "UDP";
    case kIcmpV6:
      return "ICMPv6";
    case kSctp:
      return "SCTP";
    default:
      return std::to_string(protocol);
  }
}

std::string direction_name(Direction direction) {
  return direction == Direction::kEgress ? "egress" : "ingress";
}

}  // namespace vmlane::policy
