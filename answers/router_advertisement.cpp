// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "answers/frame_writer.h"
#include "answers/ipv6.h"

namespace vmlane::answers {
namespace {

constexpr std::uint8_t kRouterAdvertisement = 134;
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint16_t kLongestRouter = 65535;  // seconds; 18 hours is all that the field holds
constexpr std::uint8_t kManaged = 0xc0;          // addresses and the rest by DHCPv6

enum Option : std::uint8_t {
  kSourceLinkLayer = 1,
  kPrefix = 3,
  kMtu = 5,
  kRoute = 24,
  kDns = 25,
  kSearch = 31
};

constexpr std::size_t kUnit = 8;  // what the lengths of options count

// `value` is what follows type and length, padded here.
void put_option(Bytes& to, Option type, Bytes value) {
  while ((value.size() + 2) % kUnit != 0) put8(value, 0);
  put8(to, type);
  put8(to, (value.size() + 2) / kUnit);
  put(to, value);
}

// On the link, and not for addresses of the guest's own making: the network knows only the one it gave.
Bytes prefix_option(const IpPrefix& address) {
  Bytes out;
  put8(out, address.length);
  put8(out, 0x80);
  put32(out, kInfinite);
  put32(out, kInfinite);
  put32(out, 0);
  put(out, address.network().address);
  return out;
}

// Each once. An address without others beside it has none.
void put_prefixes(Bytes& to, const Ipv6Plan& plan) {
  std::vector<IpPrefix> told;
  for (const IpPrefix& given : plan.addresses()) {
    if (given.length == given.address.bits() || std::ranges::count(told, given.network()) != 0) continue;
    told.push_back(given.network());
    put_option(to, kPrefix, prefix_option(given));
  }
}

// RFC 4191: as many bytes of the prefix as it needs, in units of 8. A default route by this has no end,
// unlike the router's.
Bytes route_option(const IpPrefix& destination) {
  Bytes out;
  put8(out, destination.length);
  put8(out, 0);
  put32(out, kInfinite);
  const std::size_t units = (destination.length + 63) / 64;
  const IpAddress network = destination.network().address;
  put(out, std::span(network.bytes).first(units * kUnit));
  return out;
}

Result<Bytes> search_option(const std::vector<std::string>& search) {
  Bytes out;
  put16(out, 0);
  put32(out, kInfinite);
  VMLANE_ASSIGN(const Bytes names, dns_names(search, "key \"guestAnswers.search\""));
  put(out, names);
  constexpr std::size_t kLongest = 255 * kUnit;
  if (out.size() + 2 > kLongest)
    return fail(Code::kInvalidConfig, "key \"guestAnswers.search\" is too long for a router advertisement");
  return out;
}

void put_routes(Bytes& to, const Ipv6Plan& plan) {
  if (plan.default_route) put_option(to, kRoute, route_option({IpAddress{.v6 = true}, 0}));
  for (const IpPrefix& route : plan.routes) put_option(to, kRoute, route_option(route));
}

// The RA behind a header of options for the destination (RFC 8200, 4.6), with one that is skipped by who does
// not know it, which is everybody (RFC 4727, 3). It is as long as a device reaches that completes the
// checksum of the TCP or UDP whose frame this stands in: what it writes there does no harm.
Bytes refresh_frame(const Bytes& advertisement) {
  constexpr std::size_t kIpHeader = 14;
  constexpr std::size_t kIpLength = kIpHeader + 4;
  constexpr std::size_t kNextHeader = kIpHeader + 6;
  constexpr std::size_t kUpperLayer = kIpHeader + 40;
  constexpr std::uint8_t kDestinationOptions = 60;
  constexpr std::uint8_t kSkipped = 0x1e;
  constexpr std::size_t kLength = 3 * kUnit;
  Bytes options{advertisement[kNextHeader], kLength / kUnit - 1, kSkipped, kLength - 4};
  options.resize(kLength);
  constexpr MacAddress kAllNodes{{0x33, 0x33, 0, 0, 0, 1}};  // RFC 2464, 7
  Bytes out = advertisement;
  std::ranges::copy(kAllNodes.bytes, out.begin());
  out[kNextHeader] = kDestinationOptions;
  const std::size_t length = advertisement.size() - kUpperLayer + kLength;
  out[kIpLength] = static_cast<std::uint8_t>(length >> 8);
  out[kIpLength + 1] = static_cast<std::uint8_t>(length);
  out.insert(out.begin() + kUpperLayer, options.begin(), options.end());
  return out;
}

}  // namespace

Result<> build_router_advertisement(const AnswerPlan& plan, vmlane_answers& answers) {
  const Ipv6Plan& own = *plan.ipv6;
  Bytes message{kRouterAdvertisement, 0, 0, 0, kHopLimit};
  put8(message, own.dhcp ? kManaged : 0);
  put16(message, own.default_route ? kLongestRouter : 0);
  put32(message, 0);
  put32(message, 0);
  // A router that answers for itself tells its MAC itself.
  if (!own.router)
    put_option(message, kSourceLinkLayer, {plan.gateway.bytes.begin(), plan.gateway.bytes.end()});
  if (plan.mtu) {
    Bytes mtu;
    put16(mtu, 0);
    put32(mtu, *plan.mtu);
    put_option(message, kMtu, mtu);
  }
  put_prefixes(message, own);
  put_routes(message, own);
  if (!own.dns.empty()) {
    Bytes dns;
    put16(dns, 0);
    put32(dns, kInfinite);
    for (const IpAddress& server : own.dns) put(dns, server);
    put_option(message, kDns, dns);
  }
  if (!plan.search.empty()) {
    VMLANE_ASSIGN(const Bytes search, search_option(plan.search));
    put_option(message, kSearch, search);
  }
  const Ends ends{plan.gateway, plan.guest, own.router.value_or(link_local(plan.gateway)), all_nodes()};
  const Bytes frame = icmp6_frame(ends, message);
  VMLANE_TRY(set_template(answers, VMLANE_TEMPLATE_RA, frame, "the router advertisement"));
  VMLANE_TRY(
      set_template(answers, VMLANE_TEMPLATE_REFRESH, refresh_frame(frame), "the router advertisement"));
  answers.ra_interval = plan.ra_interval;
  answers.flags |= VMLANE_ANSWER_RA;
  return {};
}

}  // namespace vmlane::answers
