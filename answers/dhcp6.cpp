// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "answers/frame_writer.h"
#include "answers/ipv6.h"

namespace vmlane::answers {
namespace {

constexpr std::uint16_t kServerPort = 547;
constexpr std::uint16_t kClientPort = 546;

enum Option : std::uint16_t {
  kServerId = 2,
  kIaNa = 3,
  kIaAddress = 5,
  kStatus = 13,
  kDns = 23,
  kSearch = 24,
};

void put_option(Bytes& to, Option code, const Bytes& value) {
  put16(to, code);
  put16(to, value.size());
  put(to, value);
}

// A server's name must be the same on every node that the guest may be on, and its gateway's MAC need not be:
// it comes from the guest's own.
Bytes server_duid(const MacAddress& guest) {
  Bytes out;
  put16(out, 3);  // DUID-LL
  put16(out, 1);  // Ethernet
  put(out, MacAddress::derived("DHCPv6 server of " + guest.to_string()).bytes);
  return out;
}

// RFC 8415, 21.4: T1 and T2 at a half and four fifths of the preferred lifetime.
Bytes address_option(const Ipv6Plan& plan, std::uint32_t seconds) {
  const std::uint32_t lifetime = seconds == 0 ? kInfinite : seconds;
  Bytes ia;
  put32(ia, 0);  // IAID
  put32(ia, seconds == 0 ? kInfinite : seconds / 2);
  put32(ia, seconds == 0 ? kInfinite : static_cast<std::uint32_t>(std::uint64_t{seconds} * 4 / 5));
  for (const IpPrefix& given : plan.addresses()) {
    Bytes address;
    put(address, given.address);
    put32(address, lifetime);
    put32(address, lifetime);
    put_option(ia, kIaAddress, address);
  }
  Bytes out;
  put_option(out, kIaNa, ia);
  return out;
}

Result<Bytes> configuration(const AnswerPlan& plan) {
  Bytes out;
  Bytes dns;
  for (const IpAddress& server : plan.ipv6->dns) put(dns, server);
  if (!dns.empty()) put_option(out, kDns, dns);
  VMLANE_ASSIGN(const Bytes search, dns_names(plan.search, "key \"guestAnswers.search\""));
  if (!search.empty()) put_option(out, kSearch, search);
  return out;
}

Bytes message(std::initializer_list<const Bytes*> parts) {
  constexpr std::uint32_t kReply = 7;
  Bytes out;
  put32(out, kReply << 24);
  for (const Bytes* part : parts) put(out, *part);
  return out;
}

}  // namespace

Result<> build_dhcp6(const AnswerPlan& plan, vmlane_answers& answers) {
  if (plan.ipv6->addresses().size() > VMLANE_GUEST_ADDRESSES) {
    return fail(Code::kInvalidConfig,
                "\"guestAnswers\": " + std::to_string(plan.ipv6->addresses().size()) +
                    " IPv6 addresses, the limit of a DHCPv6 lease is " +
                    std::to_string(VMLANE_GUEST_ADDRESSES),
                "give the guest fewer, or set \"guestAnswers.dhcp6\" to false");
  }
  const Bytes duid = server_duid(plan.guest);
  Bytes server;
  put_option(server, kServerId, duid);
  Bytes status;
  put_option(status, kStatus, {0, 0});
  const Bytes address = address_option(*plan.ipv6, plan.lease_seconds);
  VMLANE_ASSIGN(const Bytes told, configuration(plan));
  // The guest's address is patched in; what stands here is as good as any.
  const Ends ends{plan.gateway, plan.guest, link_local(plan.gateway), link_local(plan.guest)};
  const auto set = [&](vmlane_template_kind kind, const Bytes& payload) {
    return set_template(answers, kind, udp_frame(ends, kServerPort, kClientPort, payload),
                        "the DHCPv6 reply");
  };
  VMLANE_TRY(set(VMLANE_TEMPLATE_LEASE6, message({&address, &server, &told})));
  VMLANE_TRY(set(VMLANE_TEMPLATE_INFORM6, message({&server, &told})));
  VMLANE_TRY(set(VMLANE_TEMPLATE_STATUS6, message({&status, &server})));
  std::size_t count = 0;
  for (const IpPrefix& given : plan.ipv6->addresses())
    std::memcpy(answers.addresses6[count++], given.address.bytes.data(), sizeof(answers.addresses6[0]));
  std::ranges::copy(duid, static_cast<std::uint8_t*>(answers.server_duid));
  answers.flags |= VMLANE_ANSWER_DHCP6;
  return {};
}

}  // namespace vmlane::answers
