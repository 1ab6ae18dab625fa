// SPDX-License-Identifier: Apache-2.0
// What the keys guestAnswers and gatewayMode and a result of the IPAM plugin make of a guest's answers.
#include <gtest/gtest.h>

#include "answers/build.h"
#include "cni/guest_answers.h"
#include "tests/support/guest_messages.h"
#include "tests/support/result.h"

namespace vmlane::cni {
namespace {

using test::Bytes;
using test::ip;
using test::value_of;

Result<GuestAnswersConfig> parsed_answers(const std::string& text, bool has_ipam = true) {
  const Json config = Json::parse(text);
  ObjectReader reader(config, "", Code::kInvalidConfig);
  return parse_guest_answers(reader, has_ipam);
}

constexpr auto kDualStack = R"({
  "cniVersion": "1.1.0",
  "ips": [{"address": "192.0.2.10/24", "gateway": "192.0.2.1"}, {"address": "2001:db8::10/64", "gateway": "2001:db8::1"}],
  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "203.0.113.0/24", "gw": "192.0.2.3"}],
  "dns": {"nameservers": ["198.51.100.53", "2001:db8::53"], "domain": "blue.example"}
})";

CniResult result_of(const std::string& text) {
  return value_of(CniResult::from_json(Json::parse(text), value_of(Version::parse("1.1.0")), "result"));
}

AttachmentFacts facts() {
  return {.guest = {{2, 0, 0, 0, 0, 0x0a}}, .network = "blue", .mtu = 1400};
}

Result<std::optional<answers::AnswerPlan>> planned(const std::string& config,
                                                   const std::string& result = kDualStack,
                                                   const AttachmentFacts& about = facts()) {
  return make_answer_plan(value_of(parsed_answers(config)), about, result_of(result));
}

answers::AnswerPlan plan(const std::string& config, const std::string& result = kDualStack,
                         const AttachmentFacts& about = facts()) {
  return value_of(planned(config, result, about)).value();
}

TEST(GuestAnswers, AreOnWithIpamAndOffWithout) {
  EXPECT_TRUE(value_of(parsed_answers("{}")).enabled);
  EXPECT_FALSE(value_of(parsed_answers("{}", false)).enabled);
  EXPECT_FALSE(value_of(parsed_answers(R"({"guestAnswers":false})")).enabled);
  EXPECT_FALSE(value_of(parsed_answers(R"({"guestAnswers":false})", false)).enabled);
  EXPECT_TRUE(value_of(parsed_answers(R"({"guestAnswers":{}})")).enabled);
  EXPECT_REFUSED(parsed_answers(R"({"guestAnswers":true})", false), Code::kInvalidConfig, "without \"ipam\"");
  EXPECT_FALSE(value_of(planned(R"({"guestAnswers":false})")).has_value());
  EXPECT_FALSE(value_of(planned("{}", R"({"cniVersion":"1.1.0"})")).has_value());
}

TEST(GuestAnswers, WrongValuesNameTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"guestAnswers":"yes"})", R"(key "guestAnswers" is "yes", expected true, false or an object)"},
      {R"({"guestAnswers":{"dhcp":true}})", R"(key "guestAnswers.dhcp" is not known)"},
      {R"({"guestAnswers":{"dhcp4":1}})", R"(key "guestAnswers.dhcp4" is 1)"},
      {R"({"guestAnswers":{"leaseSeconds":0}})", R"(key "guestAnswers.leaseSeconds" is 0)"},
      {R"({"guestAnswers":{"leaseSeconds":0.5}})", R"(key "guestAnswers.leaseSeconds" is 0.5)"},
      {R"({"guestAnswers":{"raInterval":1}})", R"(key "guestAnswers.raInterval" is 1)"},
      {R"({"guestAnswers":{"dns":["x"]}})", R"(key "guestAnswers.dns")"},
      {R"({"guestAnswers":{"nextServer":"2001:db8::1"}})", R"(key "guestAnswers.nextServer")"},
      {R"({"guestAnswers":{"router":"2001:db8::1"}})", R"(key "guestAnswers.router")"},
      {R"({"guestAnswers":{"options":{"x":"1"}}})", R"(key "guestAnswers.options.x")"},
      {R"({"guestAnswers":{"options":{"6":"0x01"}}})",
       R"(key "guestAnswers.options.6" cannot be set: use key "dns")"},
      {R"({"guestAnswers":{"options":{"42":"0x123"}}})",
       R"(key "guestAnswers.options.42" is "0x123", which is not hex)"},
      {R"({"guestAnswers":{"options":{"42":7}}})", R"(key "guestAnswers.options.42" is 7)"},
      {R"({"gatewayMode":"fake"})", R"(key "gatewayMode" is "fake", expected "real" or "virtual")"},
      {R"({"gatewayMode":"virtual","guestAnswers":false})", R"(key "gatewayMode" is "virtual")"},
  };
  for (const auto& [config, message] : cases)
    EXPECT_REFUSED(parsed_answers(config), Code::kInvalidConfig, message);
}

TEST(GuestAnswers, TellAddressRoutesAndDnsOfTheResult) {
  const answers::AnswerPlan made = plan(R"({"gatewayMode":"virtual"})");
  EXPECT_EQ(made.mtu, 1400U);
  EXPECT_EQ(made.lease_seconds, 0U);
  EXPECT_EQ(made.gateway, virtual_gateway_mac("blue"));
  EXPECT_EQ(made.search, std::vector<std::string>{"blue.example"});
  ASSERT_TRUE(made.ipv4);
  EXPECT_EQ(made.ipv4->address.to_string(), "192.0.2.10/24");
  EXPECT_EQ(made.ipv4->gateway, ip("192.0.2.1"));
  EXPECT_TRUE(made.ipv4->default_route);
  ASSERT_EQ(made.ipv4->routes.size(), 1U);
  EXPECT_EQ(made.ipv4->routes[0].gateway, ip("192.0.2.3"));
  EXPECT_EQ(made.ipv4->dns, std::vector{ip("198.51.100.53")});
  EXPECT_EQ(made.ipv4->domain, "blue.example");
  ASSERT_TRUE(made.ipv6);
  EXPECT_EQ(made.ipv6->address.to_string(), "2001:db8::10/64");
  EXPECT_TRUE(made.ipv6->default_route && made.ipv6->dhcp && made.ipv6->advertise_router);
  EXPECT_EQ(made.ipv6->dns, std::vector{ip("2001:db8::53")});
  EXPECT_EQ(made.answered_addresses, (std::vector{ip("192.0.2.1"), ip("2001:db8::1")}));
  EXPECT_OK(answers::build_answers(made));
}

TEST(GuestAnswers, KeysGoBeforeTheResult) {
  const answers::AnswerPlan made =
      plan(R"({"guestAnswers":{"dns":["198.51.100.9"],"domain":"red.example","search":[],
    "hostname":"vm","nextServer":"198.51.100.7","filename":"x","options":{"42":"0xc6336401","66":"tftp"},
    "leaseSeconds":60,"raInterval":30,"dhcp6":false,"ra":false}})");
  EXPECT_EQ(made.ipv4->dns, std::vector{ip("198.51.100.9")});
  EXPECT_EQ(made.ipv4->domain, "red.example");
  EXPECT_TRUE(made.search.empty());
  EXPECT_EQ(made.ipv4->hostname, "vm");
  EXPECT_EQ(made.ipv4->next_server, ip("198.51.100.7"));
  EXPECT_EQ(made.ipv4->filename, "x");
  EXPECT_EQ(made.ipv4->options.at(42), (Bytes{198, 51, 100, 1}));
  EXPECT_EQ(made.ipv4->options.at(66), (Bytes{'t', 'f', 't', 'p'}));
  EXPECT_EQ(made.lease_seconds, 60U);
  EXPECT_EQ(made.ra_interval, 30U);
  EXPECT_FALSE(made.ipv6);
}

TEST(GuestAnswers, RuntimesDnsGoesBeforeTheResults) {
  AttachmentFacts about = facts();
  about.requested_dns.nameservers = {"198.51.100.99"};
  about.requested_dns.search = {"pod.example"};
  const answers::AnswerPlan made = plan("{}", kDualStack, about);
  EXPECT_EQ(made.ipv4->dns, std::vector{ip("198.51.100.99")});
  EXPECT_TRUE(made.ipv6->dns.empty());
  EXPECT_EQ(made.search, std::vector<std::string>{"pod.example"});
}

TEST(GuestAnswers, RealGatewayIsAdvertisedOnlyWhenItIsKnown) {
  EXPECT_FALSE(plan("{}").ipv6->advertise_router);
  EXPECT_REFUSED(planned(R"({"guestAnswers":{"ra":true}})"), Code::kInvalidConfig, "guestAnswers.ra");
  AttachmentFacts about = facts();
  about.gateway_mac = MacAddress{{2, 0, 0, 0, 0, 0x77}};
  const answers::AnswerPlan made = plan("{}", kDualStack, about);
  EXPECT_EQ(made.gateway, *about.gateway_mac);
  EXPECT_TRUE(made.ipv6->advertise_router && made.ipv6->default_route);
  EXPECT_TRUE(made.answered_addresses.empty());
  const answers::AnswerPlan named = plan(R"({"guestAnswers":{"router":"fe80::1"}})");
  EXPECT_EQ(named.ipv6->router, ip("fe80::1"));
  EXPECT_TRUE(named.ipv6->advertise_router && named.ipv6->default_route);
}

TEST(GuestAnswers, F112_NetworkWithoutDefaultRouteHasNone) {
  const answers::AnswerPlan made = plan(
      "{}", R"({"cniVersion":"1.1.0","ips":[{"address":"192.0.2.10/24"},{"address":"2001:db8::10/64"}]})");
  EXPECT_FALSE(made.ipv4->default_route || made.ipv4->gateway);
  EXPECT_TRUE(made.ipv6->advertise_router);
  EXPECT_FALSE(made.ipv6->default_route);
}

TEST(GuestAnswers, SmallMtuIsAnErrorOnlyForWhoWantsAnswers) {
  AttachmentFacts about = facts();
  about.mtu = 300;
  EXPECT_FALSE(value_of(planned("{}", kDualStack, about)).has_value());
  EXPECT_REFUSED(answers::build_answers(plan(R"({"guestAnswers":true})", kDualStack, about)),
                 Code::kInvalidConfig, "MTU");
}

TEST(GuestAnswers, RouteThatAnAdvertisementCannotTellIsRefused) {
  const char* result = R"({"cniVersion":"1.1.0","ips":[{"address":"2001:db8::10/64","gateway":"2001:db8::1"}],
    "routes":[{"dst":"::/0"},{"dst":"2001:db8:1::/48","gw":"2001:db8::2"}]})";
  EXPECT_REFUSED(planned(R"({"gatewayMode":"virtual"})", result), Code::kInvalidConfig, "2001:db8:1::/48");
  EXPECT_OK(planned(R"({"gatewayMode":"virtual","guestAnswers":{"ra":false}})", result));
}

}  // namespace
}  // namespace vmlane::cni
