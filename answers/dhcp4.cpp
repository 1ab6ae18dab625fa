// SPDX-License-Identifier: Apache-2.0
#include "answers/dhcp4.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "answers/build.h"
#include "answers/frame_writer.h"

namespace vmlane::answers {
namespace {

constexpr std::uint16_t kServerPort = 67;
constexpr std::uint16_t kClientPort = 68;
constexpr std::size_t kSname = 64;
constexpr std::size_t kFile = 128;
constexpr std::size_t kMaxOption = 255;
constexpr std::size_t kMaxHostname = 63;
constexpr std::size_t kMaxDomain = 253;
// A BOOTP message, below which some clients and relays drop a reply (RFC 951), less the option that ends it.
constexpr std::size_t kLeastMessage = 299;

enum Option : std::uint8_t {
  kMask = 1,
  kRouter = 3,
  kDns = 6,
  kHostname = 12,
  kDomain = 15,
  kMtu = 26,
  kBroadcast = 28,
  kLeaseTime = 51,
  kType = 53,
  kServer = 54,
  kRenewal = 58,
  kRebinding = 59,
  kSearch = 119,
  kRoutes = 121,
};

// One longer than an option can be goes on in another of the same number (RFC 3396).
void put_option(Bytes& to, std::uint8_t code, std::span<const std::uint8_t> value) {
  while (!value.empty()) {
    const std::size_t part = std::min(value.size(), kMaxOption);
    put8(to, code);
    put8(to, part);
    put(to, value.first(part));
    value = value.subspan(part);
  }
}

void put_option32(Bytes& to, std::uint8_t code, std::uint32_t value) {
  Bytes bytes;
  put32(bytes, value);
  put_option(to, code, bytes);
}

void put_addresses(Bytes& to, std::uint8_t code, const std::vector<IpAddress>& addresses) {
  Bytes bytes;
  for (const IpAddress& address : addresses) put(bytes, address);
  put_option(to, code, bytes);
}

IpAddress mask_of(unsigned length) {
  IpPrefix all{{false, {0xff, 0xff, 0xff, 0xff}}, length};
  return all.network().address;
}

IpAddress broadcast_of(const IpPrefix& prefix) {
  IpAddress out = prefix.network().address;
  const IpAddress mask = mask_of(prefix.length);
  for (std::size_t i = 0; i < 4; i++) out.bytes[i] |= static_cast<std::uint8_t>(~mask.bytes[i]);
  return out;
}

void put_route(Bytes& to, const IpPrefix& destination, const IpAddress& gateway) {
  put8(to, destination.length);
  const IpAddress network = destination.network().address;
  put(to, std::span(network.bytes).first((destination.length + 7) / 8));
  put(to, gateway);
}

// Option 121. A client that takes it ignores the router option, so the default route is in it as well. A
// gateway outside the subnet is made reachable first, by a route that has 0.0.0.0 for its gateway: on the
// link.
Bytes classless_routes(const Dhcp4Plan& plan) {
  std::vector<PlanRoute> routes = plan.routes;
  if (plan.default_route && plan.gateway) routes.push_back({{IpAddress{}, 0}, *plan.gateway});
  std::vector<IpAddress> off_link;
  for (const PlanRoute& route : routes) {
    if (route.gateway == IpAddress{} || plan.address.contains(route.gateway)) continue;
    if (!std::ranges::count(off_link, route.gateway)) off_link.push_back(route.gateway);
  }
  Bytes out;
  if (plan.routes.empty() && off_link.empty()) return out;
  for (const IpAddress& gateway : off_link) put_route(out, {gateway, gateway.bits()}, IpAddress{});
  for (const PlanRoute& route : routes) put_route(out, route.destination, route.gateway);
  return out;
}

void put_lease(Bytes& to, std::uint32_t seconds) {
  if (seconds == 0) {
    put_option32(to, kLeaseTime, kInfinite);
    return;
  }
  put_option32(to, kLeaseTime, seconds);
  put_option32(to, kRenewal, seconds / 2);
  put_option32(to, kRebinding, static_cast<std::uint32_t>(std::uint64_t{seconds} * 7 / 8));
}

// What a guest learns of its network, the most needed first: a client that takes only 576 bytes loses the
// end.
Result<Bytes> configuration(const AnswerPlan& all) {
  const Dhcp4Plan& plan = *all.ipv4;
  Bytes out;
  put_addresses(out, kMask, {mask_of(plan.address.length)});
  if (plan.default_route && plan.gateway) put_addresses(out, kRouter, {*plan.gateway});
  put_option(out, kRoutes, classless_routes(plan));
  put_addresses(out, kDns, plan.dns);
  if (all.mtu) {
    Bytes mtu;
    put16(mtu, *all.mtu);
    put_option(out, kMtu, mtu);
  }
  if (plan.address.length < 31) put_addresses(out, kBroadcast, {broadcast_of(plan.address)});
  put_option(out, kHostname, text_bytes(plan.hostname));
  put_option(out, kDomain, text_bytes(plan.domain));
  for (const auto& [code, value] : plan.options) put_option(out, code, value);
  VMLANE_ASSIGN(const Bytes search, dns_names(all.search, "key \"guestAnswers.search\""));
  put_option(out, kSearch, search);
  return out;
}

Bytes fixed_part(const AnswerPlan& all, const IpAddress& yours) {
  const Dhcp4Plan& plan = *all.ipv4;
  Bytes out{2, 1, 6, 0};  // a reply over Ethernet
  put32(out, 0);          // xid
  put32(out, 0);          // seconds, flags
  put32(out, 0);          // ciaddr
  put(out, yours);
  put(out, plan.next_server.value_or(IpAddress{}));
  put32(out, 0);  // giaddr
  put(out, all.guest.bytes);
  out.resize(out.size() + 10 + kSname);
  put_text(out, plan.filename);
  out.resize(out.size() + kFile - plan.filename.size());
  put32(out, 0x63825363);
  return out;
}

Bytes message(const AnswerPlan& all, const IpAddress& yours, std::uint8_t type, const Bytes& options) {
  Bytes out = fixed_part(all, yours);
  put_option(out, kType, std::span(&type, 1));
  put_addresses(out, kServer, {all.ipv4->gateway.value_or(nameless_server())});
  put(out, options);
  if (out.size() < kLeastMessage) out.resize(kLeastMessage);
  return out;
}

constexpr std::size_t kOptionsAt = 282;       // in a frame
constexpr std::size_t kLeastRoom = 14 + 576;  // of a frame that each client takes

// Ends of options at which a reply may end as well, the longest first: some for clients with a long
// identifier, which stands behind, too. Parts of one option stay together.
void set_cuts(const Bytes& frame, vmlane_template& to) {
  // The longest identifier is 257 bytes, and the option that ends the message one.
  constexpr std::size_t kStep = 258 / (VMLANE_TEMPLATE_CUTS - 1) + 1;
  std::array<std::size_t, VMLANE_TEMPLATE_CUTS> ends{};
  for (std::size_t at = kOptionsAt; at + 1 < frame.size() && frame[at] != 0;) {
    const std::size_t next = at + 2 + frame[at + 1];
    const bool goes_on = next < frame.size() && frame[next] == frame[at];
    for (std::size_t i = 0; i < ends.size() && !goes_on; i++) {
      if (next < kLeastRoom - i * kStep) ends[i] = next;
    }
    at = next;
  }
  std::ranges::copy(ends, static_cast<std::uint16_t*>(to.cuts));
}

Result<> check_texts(const Dhcp4Plan& plan) {
  if (plan.hostname.size() > kMaxHostname) {
    return fail(Code::kInvalidConfig, "key \"guestAnswers.hostname\" is " +
                                          std::to_string(plan.hostname.size()) +
                                          " characters long, the limit is " + std::to_string(kMaxHostname));
  }
  if (!plan.hostname.empty()) {
    VMLANE_TRY(dns_name(plan.hostname, "key \"guestAnswers.hostname\""));
  }
  if (plan.domain.size() > kMaxDomain) {
    return fail(Code::kInvalidConfig, "key \"guestAnswers.domain\" is " + std::to_string(plan.domain.size()) +
                                          " characters long, the limit is " + std::to_string(kMaxDomain));
  }
  if (!plan.domain.empty()) {
    VMLANE_TRY(dns_name(plan.domain, "key \"guestAnswers.domain\""));
  }
  if (plan.filename.size() >= kFile || plan.filename.find('\0') != std::string::npos) {
    return fail(Code::kInvalidConfig,
                "key \"guestAnswers.filename\" is " + std::to_string(plan.filename.size()) +
                    " bytes long, the limit is " + std::to_string(kFile - 1) + " without NUL");
  }
  return {};
}

Result<> check_options(const Dhcp4Plan& plan) {
  for (const auto& [code, value] : plan.options) {
    const std::string key = "key \"guestAnswers.options." + std::to_string(code) + "\"";
    if (const std::string reason = reserved_dhcp_option(code); !reason.empty())
      return fail(Code::kInvalidConfig, key + " cannot be set: " + reason);
    if (value.empty() || value.size() > kMaxOption) {
      return fail(Code::kInvalidConfig, key + " is " + std::to_string(value.size()) +
                                            " bytes long, expected 1 to " + std::to_string(kMaxOption));
    }
  }
  return {};
}

std::uint32_t as_word(const IpAddress& address) {
  std::uint32_t word = 0;
  std::memcpy(&word, address.bytes.data(), sizeof(word));
  return word;
}

}  // namespace

std::string reserved_dhcp_option(unsigned number) {
  static const std::map<unsigned, std::string> reserved{
      {0, "it is padding"},
      {kMask, "the address's prefix sets it"},
      {kRouter, "the default route sets it"},
      {kDns, "use key \"dns\""},
      {kHostname, "use key \"hostname\""},
      {kDomain, "use key \"domain\""},
      {kMtu, "the attachment's MTU sets it"},
      {kBroadcast, "the address's prefix sets it"},
      {50, "only clients send it"},
      {kLeaseTime, "use key \"leaseSeconds\""},
      {52, "the protocol uses it"},
      {kType, "the protocol uses it"},
      {kServer, "the gateway sets it"},
      {55, "only clients send it"},
      {57, "only clients send it"},
      {kRenewal, "key \"leaseSeconds\" sets it"},
      {kRebinding, "key \"leaseSeconds\" sets it"},
      {61, "it is the client's own"},
      {82, "only relays send it"},
      {kSearch, "use key \"search\""},
      {kRoutes, "the attachment's routes set it"},
      {255, "it ends the options"},
  };
  const auto found = reserved.find(number);
  return found == reserved.end() ? std::string() : found->second;
}

Result<> build_dhcp4(const AnswerPlan& plan, vmlane_answers& answers) {
  const Dhcp4Plan& own = *plan.ipv4;
  VMLANE_TRY(check_texts(own));
  VMLANE_TRY(check_options(own));
  VMLANE_ASSIGN(const Bytes told, configuration(plan));
  Bytes lease;
  put_lease(lease, plan.lease_seconds);
  put(lease, told);
  const IpAddress server = own.gateway.value_or(nameless_server());
  const Ends ends{plan.gateway, plan.guest, server, own.address.address};
  const auto set = [&](vmlane_template_kind kind, const IpAddress& yours, std::uint8_t type,
                       const Bytes& options) {
    const Bytes frame = udp_frame(ends, kServerPort, kClientPort, message(plan, yours, type, options));
    set_cuts(frame, answers.templates[kind]);
    return set_template(answers, kind, frame, "the DHCP reply");
  };
  constexpr std::uint8_t kOffer = 2;
  constexpr std::uint8_t kAck = 5;
  constexpr std::uint8_t kNak = 6;
  VMLANE_TRY(set(VMLANE_TEMPLATE_LEASE4, own.address.address, kOffer, lease));
  VMLANE_TRY(set(VMLANE_TEMPLATE_INFORM4, IpAddress{}, kAck, told));
  VMLANE_TRY(set(VMLANE_TEMPLATE_NAK4, IpAddress{}, kNak, {}));
  answers.address4 = as_word(own.address.address);
  answers.server4 = as_word(server);
  answers.flags |= VMLANE_ANSWER_DHCP4;
  return {};
}

}  // namespace vmlane::answers
