// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "answers/build.h"
#include "answers/plan.h"
#include "tests/support/guest_messages.h"
#include "tests/support/result.h"

// A guest with all that answers can tell it, and every kind of question it may ask.
namespace vmlane::test {

inline constexpr MacAddress kAskingGuest{{2, 0, 0, 0, 0, 0x0a}};
inline constexpr MacAddress kVirtualGateway{{2, 0, 0, 0, 0, 0x01}};

inline answers::AnswerPlan example_plan() {
  answers::AnswerPlan plan;
  plan.guest = kAskingGuest;
  plan.gateway = kVirtualGateway;
  plan.answered_addresses = {ip("192.0.2.1"), ip("2001:db8::1")};
  plan.ipv4.emplace();
  plan.ipv4->address = value_of(IpPrefix::parse("192.0.2.10/24"));
  plan.ipv4->gateway = ip("192.0.2.1");
  plan.ipv4->default_route = true;
  plan.ipv4->dns = {ip("198.51.100.53"), ip("198.51.100.54")};
  plan.ipv4->domain = "blue.example";
  plan.ipv4->hostname = "vm-a";
  plan.ipv6.emplace();
  plan.ipv6->address = value_of(IpPrefix::parse("2001:db8::10/64"));
  plan.ipv6->default_route = true;
  plan.ipv6->dns = {ip("2001:db8::53")};
  plan.search = {"blue.example", "example"};
  plan.mtu = 1400;
  return plan;
}

// Its DHCP replies are longer than a client must take without saying so.
inline answers::AnswerPlan talkative_plan() {
  answers::AnswerPlan plan = example_plan();
  plan.ipv4->routes.assign(30, {value_of(IpPrefix::parse("203.0.113.128/25")), ip("192.0.2.1")});
  for (std::uint8_t code = 224; code < 240; code++) plan.ipv4->options[code] = Bytes(7, code);
  return plan;
}

inline Bytes server_duid_of(const vmlane_answers& answers) {
  return {answers.server_duid, answers.server_duid + VMLANE_DUID_BYTES};
}

// Questions of every kind, answered and not, well formed and not.
inline std::vector<std::pair<std::string, Frame>> example_questions(const vmlane_answers& answers) {
  const MacAddress& guest = kAskingGuest;
  const Bytes duid = server_duid_of(answers);
  const Bytes long_id(255, 0x5a);
  std::vector<std::pair<std::string, Frame>> out;
  const auto dhcp = [&](const std::string& name, const DhcpQuestion& question) {
    out.emplace_back("dhcp " + name, make_dhcp(guest, question));
  };
  const auto dhcp6 = [&](const std::string& name, const Dhcp6Question& question) {
    out.emplace_back("dhcp6 " + name, make_dhcp6(guest, question));
  };
  dhcp("discover", {});
  dhcp("discover, broadcast", {.flags = 0x8000, .client_id = {1, 2, 0, 0, 0, 0, 0x0a}});
  dhcp("discover, odd identifier", {.client_id = {1, 2, 3, 4}});
  dhcp("discover, long identifier", {.client_id = long_id});
  dhcp("discover, long request", {.client_id = long_id, .more = Bytes(1000, 0)});
  dhcp("discover, more", {.more = joined_bytes({{60, 255}, Bytes(255, 'x'), {77, 255}, Bytes(255, 'y')})});
  dhcp("discover, room", {.more = {57, 2, 0x05, 0xdc}});
  dhcp("discover, little room", {.client_id = Bytes(40, 3), .more = {57, 2, 0x02, 0x58}});
  dhcp("discover, absurd room", {.more = {57, 2, 0, 9}});
  dhcp("request, selecting", {.type = 3, .requested = "192.0.2.10", .server = "192.0.2.1"});
  dhcp("request, other server", {.type = 3, .requested = "192.0.2.10", .server = "192.0.2.2"});
  dhcp("request, wrong address", {.type = 3, .requested = "192.0.2.77", .client_id = {0, 1, 2}});
  dhcp("request, init-reboot", {.type = 3, .requested = "192.0.2.10"});
  dhcp("request, renewing", {.type = 3, .client = "192.0.2.10", .destination = "192.0.2.1"});
  dhcp("request, rebinding", {.type = 3, .client = "192.0.2.10"});
  dhcp("request without address", {.type = 3});
  dhcp("inform", {.type = 8, .client = "192.0.2.10"});
  dhcp("release", {.type = 7, .client = "192.0.2.10", .server = "192.0.2.1"});
  dhcp("decline", {.type = 4, .requested = "192.0.2.10", .server = "192.0.2.1"});
  dhcp("bootp", {.type = 0});
  dhcp("no cookie", {.cookie = false});
  dhcp("relayed", {.relay = "192.0.2.200"});
  dhcp("cut option", {.more = {12, 200}});
  dhcp("many pads", {.more = Bytes(200, 0)});
  dhcp("server's message", {.type = 2});
  dhcp6("solicit", {});
  dhcp6("solicit, rapid", {.rapid_commit = true});
  dhcp6("solicit, odd identifier", {.client_duid = {0, 2, 1, 2, 3, 4, 5}});
  dhcp6("solicit, longest identifier", {.client_duid = Bytes(130, 7)});
  dhcp6("solicit, too long identifier", {.client_duid = Bytes(131, 7)});
  dhcp6("solicit, no identifier", {.client_duid = {}});
  dhcp6("solicit, no address wanted", {.iaid = std::nullopt});
  dhcp6("solicit with server", {.server_duid = duid});
  dhcp6("request", {.type = 3, .server_duid = duid, .address = "2001:db8::10"});
  dhcp6("request, other server", {.type = 3, .server_duid = Bytes(10, 1)});
  dhcp6("request, no server", {.type = 3});
  dhcp6("confirm", {.type = 4, .address = "2001:db8::10"});
  dhcp6("confirm, other link", {.type = 4, .address = "2001:db8:1::10"});
  dhcp6("confirm, nothing", {.type = 4});
  dhcp6("renew", {.type = 5, .server_duid = duid, .address = "2001:db8::10"});
  dhcp6("rebind", {.type = 6, .address = "2001:db8::10"});
  dhcp6("release", {.type = 8, .server_duid = duid, .address = "2001:db8::10"});
  dhcp6("decline", {.type = 9, .server_duid = duid, .address = "2001:db8::10"});
  dhcp6("information", {.type = 11, .iaid = std::nullopt});
  dhcp6("information, nameless", {.type = 11, .client_duid = {}, .iaid = std::nullopt});
  dhcp6("relayed", {.type = 12});
  dhcp6("two addresses", {.more = option6(3, Bytes(12, 9))});
  dhcp6("prefix", {.iaid = std::nullopt, .more = option6(25, Bytes(12, 8))});
  dhcp6("prefix, rapid", {.iaid = std::nullopt, .rapid_commit = true, .more = option6(25, Bytes(12, 8))});
  dhcp6("address and prefix", {.more = option6(25, Bytes(12, 8))});
  dhcp6("address, prefix, rapid", {.rapid_commit = true, .more = option6(25, Bytes(12, 8))});
  dhcp6("temporary address", {.iaid = std::nullopt, .more = option6(4, Bytes(4, 7))});
  dhcp6(
      "more than there is",
      {.more = joined_bytes({option6(4, Bytes(4, 7)), option6(25, Bytes(12, 8)), option6(3, Bytes(12, 6))})});
  dhcp6("renewed prefix", {.type = 5, .server_duid = duid, .more = option6(25, Bytes(12, 8))});
  dhcp6("short prefix", {.more = option6(25, Bytes(11, 8))});
  dhcp6("cut option", {.more = {0, 3, 0, 12, 1}});
  dhcp6("unicast", {.destination = "2001:db8::1"});
  dhcp6("unspecified source", {.source = "::"});
  out.emplace_back("rs", make_router_solicitation(guest, "fe80::ff:fe00:a"));
  out.emplace_back("rs, unspecified", make_router_solicitation(guest, "::"));
  out.emplace_back("ns", make_neighbour_solicitation(guest, "2001:db8::10", "2001:db8::1"));
  out.emplace_back("ns, router", make_neighbour_solicitation(guest, "2001:db8::10", "fe80::ff:fe00:1"));
  out.emplace_back("ns, duplicate", make_neighbour_solicitation(guest, "::", "2001:db8::1"));
  out.emplace_back("ns, other", make_neighbour_solicitation(guest, "2001:db8::10", "2001:db8::2"));
  out.emplace_back("arp", make_arp_request(guest, "192.0.2.10", "192.0.2.1"));
  out.emplace_back("arp probe", make_arp_request(guest, "0.0.0.0", "192.0.2.1"));
  out.emplace_back("arp, other", make_arp_request(guest, "192.0.2.10", "192.0.2.2"));
  out.emplace_back("arp, own", make_arp_request(guest, "192.0.2.10", "192.0.2.10"));
  out.emplace_back("foreign arp", make_arp_request({{2, 0, 0, 0, 0, 9}}, "192.0.2.10", "192.0.2.1"));
  out.emplace_back("foreign dhcp", make_dhcp({{2, 0, 0, 0, 0, 9}}, {}));
  out.emplace_back("test frame", make_test_frame(broadcast_mac(), guest, "hello"));
  return out;
}

}  // namespace vmlane::test
