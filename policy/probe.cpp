// SPDX-License-Identifier: Apache-2.0
#include "policy/probe.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace vmlane::policy {
namespace {

bool has_ports(std::uint8_t protocol) {
  return protocol == kTcp || protocol == kUdp || protocol == kSctp;
}

Json decision(const auto& made) {
  const bool decided = !made.policy.empty();
  return {{"reason", reason_name(made.reason)},
          {"kind", decided ? Json(made.kind) : Json()},
          {"policy", decided ? Json(made.policy) : Json()},
          {"rule", made.rule ? Json(*made.rule) : Json()}};
}

Json to_json(const Judgement& judgement) {
  Json json = decision(judgement);
  json["verdict"] = judgement.allowed ? "allow" : "deny";
  if (judgement.audit) json["audit"] = decision(*judgement.audit);
  return json;
}

Result<bool> parse_family(ObjectReader& reader, const Probe& probe) {
  VMLANE_ASSIGN(const std::string family, reader.text("family"));
  if (family == "ipv6") return true;
  if (family == "ipv4") return false;
  if (!family.empty()) return reader.wrong("family", "ipv4 or ipv6");
  if (probe.from.pod.empty()) return probe.from.address.v6;
  return probe.to.pod.empty() && probe.to.address.v6;
}

}  // namespace

Result<std::uint8_t> parse_protocol(std::string_view name, bool v6) {
  struct Known {
    std::string_view name;
    std::uint8_t number;
  };
  constexpr std::array<Known, 9> kKnown = {{{"TCP", kTcp},
                                            {"UDP", kUdp},
                                            {"SCTP", kSctp},
                                            {"ICMP", kIcmp},
                                            {"ICMPV6", kIcmpV6},
                                            {"IGMP", 2},
                                            {"GRE", 47},
                                            {"ESP", 50},
                                            {"AH", 51}}};
  std::string upper(name);
  std::ranges::transform(upper, upper.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  const auto* found = std::ranges::find(kKnown, upper, &Known::name);
  if (found != kKnown.end()) return found->number == kIcmp && v6 ? std::uint8_t{kIcmpV6} : found->number;
  std::uint8_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (!name.empty() && error == std::errc() && end == name.data() + name.size()) return number;
  return fail(Code::kInvalidConfig, "\"" + std::string(name) + "\" is no protocol",
              "TCP, UDP, SCTP, ICMP, ICMPv6, IGMP, GRE, ESP, AH or a number from 0 to 255");
}

Result<End> parse_end(const std::string& text) {
  if (const auto address = IpAddress::parse(text)) return End{.pod = {}, .address = *address};
  const auto slash = text.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == text.size() ||
      text.find('/', slash + 1) != std::string::npos)
    return fail(Code::kInvalidConfig, "\"" + text + "\" is neither namespace/pod nor an address");
  return End{.pod = text, .address = {}};
}

Result<Probe> parse_probe(const Json& json, const std::string& what) {
  if (!json.is_object()) return fail(Code::kInvalidConfig, what + " is no object");
  ObjectReader reader(json, what + ".", Code::kInvalidConfig);
  Probe probe;
  for (auto [key, end] : {std::pair("from", &probe.from), std::pair("to", &probe.to)}) {
    VMLANE_ASSIGN(const std::string text, reader.text(key));
    const auto parsed = parse_end(text);
    if (!parsed) return reader.wrong(key, "namespace/pod or an address");
    *end = *parsed;
  }
  VMLANE_ASSIGN(const std::string network, reader.text("network"));
  if (!network.empty()) probe.network = network;
  if (probe.network != kDefaultNetwork && probe.network.find('/') == std::string::npos)
    return reader.wrong("network", "default or namespace/name");
  VMLANE_ASSIGN(probe.v6, parse_family(reader, probe));
  for (auto [key, end] : {std::pair("from", &probe.from), std::pair("to", &probe.to)}) {
    if (end->pod.empty() && end->address.v6 != probe.v6)
      return reader.wrong(key, probe.v6 ? "an IPv6 address" : "an IPv4 address");
  }
  const Json* given = reader.find("protocol");
  const std::string name = given == nullptr     ? "TCP"
                           : given->is_string() ? given->get<std::string>()
                                                : to_text(*given);
  const auto protocol = parse_protocol(name, probe.v6);
  if (!protocol) return reader.wrong("protocol", protocol.error().details);
  probe.protocol = *protocol;
  VMLANE_ASSIGN(const auto port, reader.integer("port", 0, kMaxPort));
  if (has_ports(probe.protocol) && !port) return reader.wrong("port", "a number from 0 to 65535");
  if (has_ports(probe.protocol)) probe.port = static_cast<std::uint16_t>(*port);
  if (const auto unknown = reader.unknown(); !unknown.empty())
    return fail(Code::kInvalidConfig, what + " has the unknown key \"" + unknown[0] + "\"");
  return probe;
}

std::string reason_name(Reason reason) {
  switch (reason) {
    case Reason::kNoPod:
      return "no-pod";
    case Reason::kItself:
      return "itself";
    case Reason::kOwnNode:
      return "own-node";
    case Reason::kBroken:
      return "broken";
    case Reason::kUnreachable:
      return "unreachable";
    case Reason::kNotIsolated:
      return "not-isolated";
    case Reason::kIsolated:
      return "isolated";
    case Reason::kRule:
      return "rule";
    case Reason::kTooLarge:
      return "too-large";
  }
  return "?";
}

Json to_json(const Verdict& verdict) {
  return {{"verdict", verdict.allowed() ? "allow" : "deny"},
          {"egress", to_json(verdict.egress)},
          {"ingress", to_json(verdict.ingress)}};
}

}  // namespace vmlane::policy
