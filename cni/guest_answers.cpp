// SPDX-License-Identifier: Apache-2.0
#include "cni/guest_answers.h"

#include <algorithm>
#include <charconv>

#include "answers/dhcp4.h"

namespace vmlane::cni {
namespace {

// The largest is the protocols' "without end".
constexpr std::int64_t kMaxLease = 0xfffffffeLL;
// A router that is not heard of for 65,535 s is forgotten.
constexpr std::int64_t kMaxRaInterval = 21845;
constexpr std::int64_t kMinRaInterval = 4;
constexpr unsigned kMaxOption = 254;
constexpr std::uint32_t kLeastDhcpMtu = 576;  // RFC 2131, 2

Result<IpAddress> parse_address(const std::string& text, std::string_view key) {
  auto address = IpAddress::parse(text);
  if (!address) {
    return fail(Code::kInvalidConfig,
                "key \"guestAnswers." + std::string(key) + "\": " + address.error().message);
  }
  return *address;
}

Result<std::optional<IpAddress>> address(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto text, reader.string(key));
  if (!text || text->empty()) return std::nullopt;
  VMLANE_ASSIGN(const IpAddress parsed, parse_address(*text, key));
  return parsed;
}

Result<std::vector<std::uint8_t>> parse_hex(std::string_view digits, const std::string& key) {
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    std::uint8_t byte = 0;
    const char* first = digits.data() + i;
    if (const auto [end, error] = std::from_chars(first, first + 2, byte, 16);
        error != std::errc() || end != first + 2)
      break;
    out.push_back(byte);
  }
  if (out.size() * 2 != digits.size() || out.empty()) {
    return fail(Code::kInvalidConfig,
                key + " is \"0x" + std::string(digits.substr(0, 40)) + "\", which is not hex",
                "write pairs of hex digits after 0x, or text without 0x");
  }
  return out;
}

Result<> parse_option(const std::string& name, const Json& value, GuestAnswersConfig& config) {
  const std::string key = "key \"guestAnswers.options." + name.substr(0, 40) + "\"";
  unsigned number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number > kMaxOption)
    return fail(Code::kInvalidConfig, key + " is not the number of a DHCP option, 1 to 254");
  if (const std::string reason = answers::reserved_dhcp_option(number); !reason.empty())
    return fail(Code::kInvalidConfig, key + " cannot be set: " + reason);
  if (!value.is_string() || value.get_ref<const std::string&>().empty())
    return fail(Code::kInvalidConfig,
                key + " is " + to_text(value).substr(0, 40) + ", expected text or 0x with hex digits");
  const std::string& text = value.get_ref<const std::string&>();
  std::vector<std::uint8_t>& bytes = config.options[static_cast<std::uint8_t>(number)];
  bytes.assign(text.begin(), text.end());
  if (text.starts_with("0x")) {
    VMLANE_ASSIGN(bytes, parse_hex(std::string_view(text).substr(2), key));
  }
  constexpr std::size_t kLongest = 255;
  if (bytes.size() > kLongest)
    return fail(Code::kInvalidConfig,
                key + " is " + std::to_string(bytes.size()) + " bytes long, the limit is 255");
  return {};
}

Result<> parse_options(ObjectReader& reader, GuestAnswersConfig& config) {
  VMLANE_ASSIGN(const Json* options, reader.object("options"));
  if (options == nullptr) return {};
  for (const auto& [name, value] : options->items()) {
    VMLANE_TRY(parse_option(name, value, config));
  }
  return {};
}

Result<> parse_switches(ObjectReader& reader, GuestAnswersConfig& config) {
  VMLANE_ASSIGN(const auto dhcp4, reader.boolean("dhcp4"));
  config.dhcp4 = dhcp4.value_or(true);
  VMLANE_ASSIGN(const auto dhcp6, reader.boolean("dhcp6"));
  config.dhcp6 = dhcp6.value_or(true);
  VMLANE_ASSIGN(config.router_advertisements, reader.boolean("ra"));
  VMLANE_ASSIGN(const auto lease, reader.integer("leaseSeconds", 1, kMaxLease));
  config.lease_seconds = static_cast<std::uint32_t>(lease.value_or(0));
  VMLANE_ASSIGN(const auto interval, reader.integer("raInterval", kMinRaInterval, kMaxRaInterval));
  if (interval) config.ra_interval = static_cast<std::uint32_t>(*interval);
  return {};
}

Result<> parse_names(ObjectReader& reader, GuestAnswersConfig& config) {
  VMLANE_ASSIGN(const auto dns, reader.strings("dns"));
  if (dns) {
    config.dns.emplace();
    for (const std::string& server : *dns) {
      VMLANE_ASSIGN(const IpAddress parsed, parse_address(server, "dns"));
      config.dns->push_back(parsed);
    }
  }
  VMLANE_ASSIGN(config.domain, reader.string("domain"));
  VMLANE_ASSIGN(config.search, reader.strings("search"));
  VMLANE_ASSIGN(config.hostname, reader.text("hostname"));
  VMLANE_ASSIGN(config.filename, reader.text("filename"));
  VMLANE_ASSIGN(config.next_server, address(reader, "nextServer"));
  if (config.next_server && config.next_server->v6) return reader.wrong("nextServer", "an IPv4 address");
  VMLANE_ASSIGN(config.router, address(reader, "router"));
  const auto is_link_local = [](const IpAddress& a) {
    return a.v6 && a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80;
  };
  if (config.router && !is_link_local(*config.router))
    return reader.wrong("router", "a link-local IPv6 address, by which guests know a router");
  return {};
}

Result<> parse_object(const Json& json, GuestAnswersConfig& config) {
  ObjectReader reader(json, "guestAnswers.", Code::kInvalidConfig);
  VMLANE_TRY(parse_switches(reader, config));
  VMLANE_TRY(parse_names(reader, config));
  VMLANE_TRY(parse_options(reader, config));
  const auto unknown = reader.unknown();
  if (unknown.empty()) return {};
  return fail(Code::kInvalidConfig, "key \"guestAnswers." + unknown.front().substr(0, 80) + "\" is not known",
              "docs/plugins.md lists the keys; DHCP options go into \"options\" by number");
}

Result<bool> parse_gateway_mode(ObjectReader& reader) {
  VMLANE_ASSIGN(const auto mode, reader.string("gatewayMode"));
  if (!mode || *mode == "real") return false;
  if (*mode != "virtual") return reader.wrong("gatewayMode", "\"real\" or \"virtual\"");
  return true;
}

// Builds a plan from one result.
class Planner {
 public:
  Planner(const GuestAnswersConfig& config, const AttachmentFacts& facts, const CniResult& result)
      : config_(config), facts_(facts), result_(result) {}

  Result<std::optional<answers::AnswerPlan>> plan();

 private:
  // Those of one family, in the result's order.
  std::vector<const ResultIp*> addresses(bool v6) const;
  std::optional<IpAddress> gateway(const ResultIp& ip) const;
  bool is_default(const ResultRoute& route, bool v6) const {
    return route.destination.address.v6 == v6 && route.destination.length == 0;
  }
  bool has_default(bool v6) const {
    return std::ranges::any_of(result_.routes,
                               [&](const ResultRoute& route) { return is_default(route, v6); });
  }
  Result<std::vector<IpAddress>> dns_servers(bool v6) const;
  void plan_common();
  const std::string& domain() const;
  Result<> plan_ipv4(const ResultIp& ip);
  Result<> plan_ipv6(const std::vector<const ResultIp*>& ips);
  void answer_for_gateways(const std::vector<const ResultIp*>& ips);
  Result<> plan_router(const ResultIp& ip, answers::Ipv6Plan& own);

  const GuestAnswersConfig& config_;
  const AttachmentFacts& facts_;
  const CniResult& result_;
  answers::AnswerPlan plan_;
};

std::vector<const ResultIp*> Planner::addresses(bool v6) const {
  std::vector<const ResultIp*> found;
  for (const ResultIp& ip : result_.ips) {
    if (ip.address.address.v6 == v6) found.push_back(&ip);
  }
  return found;
}

// Routes without a gateway of their own go through that of the address.
void Planner::answer_for_gateways(const std::vector<const ResultIp*>& ips) {
  if (!config_.virtual_gateway) return;
  for (const ResultIp* ip : ips) {
    if (ip->gateway && std::ranges::count(plan_.answered_addresses, *ip->gateway) == 0)
      plan_.answered_addresses.push_back(*ip->gateway);
  }
}

// Of the address, else of the default route.
std::optional<IpAddress> Planner::gateway(const ResultIp& ip) const {
  const bool v6 = ip.address.address.v6;
  for (const ResultRoute& route : result_.routes) {
    if (is_default(route, v6) && route.gateway) return route.gateway;
  }
  return ip.gateway;
}

Result<std::vector<IpAddress>> Planner::dns_servers(bool v6) const {
  std::vector<IpAddress> servers;
  if (config_.dns) {
    servers = *config_.dns;
  } else {
    const auto& named =
        facts_.requested_dns.nameservers.empty() ? result_.dns.nameservers : facts_.requested_dns.nameservers;
    for (const std::string& server : named) {
      auto parsed = IpAddress::parse(server);
      if (!parsed) return fail(parsed.error().wrap("\"dns.nameservers\" cannot be told to the guest"));
      servers.push_back(*parsed);
    }
  }
  std::erase_if(servers, [v6](const IpAddress& server) { return server.v6 != v6; });
  return servers;
}

const std::string& Planner::domain() const {
  if (config_.domain) return *config_.domain;
  return facts_.requested_dns.domain.empty() ? result_.dns.domain : facts_.requested_dns.domain;
}

void Planner::plan_common() {
  plan_.guest = facts_.guest;
  plan_.gateway = virtual_gateway_mac(facts_.network);
  if (!config_.virtual_gateway && facts_.gateway_mac) plan_.gateway = *facts_.gateway_mac;
  if (facts_.mtu != 0) plan_.mtu = facts_.mtu;
  plan_.lease_seconds = config_.lease_seconds;
  plan_.ra_interval = config_.ra_interval;
  const auto& search = facts_.requested_dns.search.empty() ? result_.dns.search : facts_.requested_dns.search;
  plan_.search = config_.search.value_or(search);
  // IPv6 has no domain but the first to search.
  if (plan_.search.empty() && !config_.search && !domain().empty()) plan_.search.push_back(domain());
}

Result<> Planner::plan_ipv4(const ResultIp& ip) {
  answers::Dhcp4Plan own;
  own.address = ip.address;
  own.gateway = gateway(ip);
  own.default_route = has_default(false) && own.gateway;
  for (const ResultRoute& route : result_.routes) {
    if (route.destination.address.v6 || route.destination.length == 0) continue;
    // Without a gateway of its own a route goes through the address's, as the specification has it.
    const auto through = route.gateway ? route.gateway : ip.gateway;
    own.routes.push_back({route.destination, through.value_or(IpAddress{})});
  }
  VMLANE_ASSIGN(own.dns, dns_servers(false));
  own.domain = domain();
  own.hostname = config_.hostname;
  own.next_server = config_.next_server;
  own.filename = config_.filename;
  own.options = config_.options;
  if (config_.virtual_gateway && own.gateway) plan_.answered_addresses.push_back(*own.gateway);
  if (config_.dhcp4) plan_.ipv4 = std::move(own);
  return {};
}

// A guest knows its IPv6 router by a link-local address. Of a virtual gateway it is ours, of a real one it
// must be known, or its MAC; where neither is, that router tells of itself and we do not.
Result<> Planner::plan_router(const ResultIp& ip, answers::Ipv6Plan& own) {
  const auto through = gateway(ip);
  if (config_.router) own.router = config_.router;
  const bool known = config_.virtual_gateway || facts_.gateway_mac || own.router;
  own.default_route = has_default(true) && through && known;
  own.advertise_router = config_.router_advertisements.value_or(known || !through);
  if (!own.advertise_router) return {};
  if (has_default(true) && through && !known) {
    return fail(Code::kInvalidConfig,
                "key \"guestAnswers.ra\" is true, and nothing tells the router " + through->to_string(),
                "give its link-local address as \"router\", or set \"gatewayMode\": \"virtual\"");
  }
  for (const ResultRoute& route : result_.routes) {
    if (!route.destination.address.v6 || route.destination.length == 0) continue;
    const auto hop = route.gateway ? route.gateway : ip.gateway;
    if (!hop || !known || hop != through) {
      return fail(Code::kInvalidConfig,
                  "the route to " + route.destination.to_string() + " is not through the router " +
                      (through ? through->to_string() : std::string("(there is none)")) +
                      ", and an RA can tell of no other",
                  "remove the route, or set \"guestAnswers.ra\" to false");
    }
    own.routes.push_back(route.destination);
  }
  return {};
}

Result<> Planner::plan_ipv6(const std::vector<const ResultIp*>& ips) {
  const ResultIp& ip = *ips.front();
  answers::Ipv6Plan own;
  own.address = ip.address;
  for (std::size_t i = 1; i < ips.size(); i++) own.further_addresses.push_back(ips[i]->address);
  own.dhcp = config_.dhcp6;
  VMLANE_ASSIGN(own.dns, dns_servers(true));
  VMLANE_TRY(plan_router(ip, own));
  if (const auto through = gateway(ip); config_.virtual_gateway && through)
    plan_.answered_addresses.push_back(*through);
  if (own.dhcp || own.advertise_router) plan_.ipv6 = std::move(own);
  return {};
}

Result<std::optional<answers::AnswerPlan>> Planner::plan() {
  const auto v4 = addresses(false);
  const auto v6 = addresses(true);
  plan_common();
  if (!v4.empty()) {
    VMLANE_TRY(plan_ipv4(*v4.front()));
  }
  if (!v6.empty()) {
    VMLANE_TRY(plan_ipv6(v6));
  }
  answer_for_gateways(v4);
  answer_for_gateways(v6);
  if (!plan_.ipv4 && !plan_.ipv6 && plan_.answered_addresses.empty()) return std::nullopt;
  return plan_;
}

}  // namespace

Result<GuestAnswersConfig> parse_guest_answers(ObjectReader& reader, bool has_ipam) {
  GuestAnswersConfig config;
  config.enabled = has_ipam;
  VMLANE_ASSIGN(config.virtual_gateway, parse_gateway_mode(reader));
  const Json* value = reader.find("guestAnswers");
  if (value != nullptr && value->is_object()) {
    config.enabled = true;
    VMLANE_TRY(parse_object(*value, config));
  } else if (value != nullptr && value->is_boolean()) {
    config.enabled = value->get<bool>();
  } else if (value == nullptr) {
    config.by_default = true;
  } else {
    return reader.wrong("guestAnswers", "true, false or an object");
  }
  if (config.enabled && !has_ipam) {
    return fail(Code::kInvalidConfig, "key \"guestAnswers\" is on without \"ipam\"",
                "what guests are told comes from the IPAM result: add \"ipam\", or leave the key out");
  }
  if (config.virtual_gateway && !config.enabled) {
    return fail(Code::kInvalidConfig, "key \"gatewayMode\" is \"virtual\" while guests are not answered",
                "nobody else can answer for such a gateway: switch \"guestAnswers\" on");
  }
  return config;
}

Result<std::optional<answers::AnswerPlan>> make_answer_plan(const GuestAnswersConfig& config,
                                                            const AttachmentFacts& facts,
                                                            const CniResult& result) {
  if (!config.enabled) return std::nullopt;
  if (config.by_default && !config.virtual_gateway && facts.mtu != 0 && facts.mtu < kLeastDhcpMtu)
    return std::nullopt;
  return Planner(config, facts, result).plan();
}

MacAddress virtual_gateway_mac(std::string_view network) {
  return MacAddress::derived("gateway of network " + std::string(network));
}

}  // namespace vmlane::cni
