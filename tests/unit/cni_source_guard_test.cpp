// SPDX-License-Identifier: Apache-2.0
// The keys of the source guard, and the rules they make.
#include <gtest/gtest.h>

#include "cni/source_guard.h"

namespace vmlane::cni {
namespace {

constexpr MacAddress kMac{{0x02, 0, 0, 0, 0, 0x0a}};

Result<SourceGuardConfig> parsed_guard(const std::string& text, bool on_by_default = true,
                                       bool has_ipam = false) {
  const Json json = parse_json(text, "test").value();
  ObjectReader reader(json, "", Code::kInvalidConfig);
  return parse_source_guard(reader, on_by_default, has_ipam);
}

ResultIp allocated(const std::string& text) {
  return {.address = IpPrefix::parse(text).value()};
}

TEST(SourceGuardKeys, GuestsAreCheckedUnlessAskedNotTo) {
  EXPECT_TRUE(parsed_guard("{}")->spoof_check);
  EXPECT_FALSE(parsed_guard(R"({"spoofCheck":false})")->spoof_check);
  EXPECT_FALSE(parsed_guard("{}", false)->spoof_check);
  EXPECT_FALSE(source_guard(*parsed_guard("{}", false), kMac, {}).has_value());
}

TEST(SourceGuardKeys, MacspoofchkChecksMacsAlone) {
  const auto rules =
      source_guard(*parsed_guard(R"({"macspoofchk":true})", false), kMac, {allocated("192.0.2.5/24")});
  ASSERT_TRUE(rules.has_value());
  EXPECT_TRUE(rules->macs_only);
  EXPECT_FALSE(rules->addresses.has_value());
  EXPECT_FALSE(parsed_guard(R"({"macspoofchk":true,"spoofCheck":true})", false)->macs_only);
}

TEST(SourceGuardKeys, AddressesAreThoseGivenAndThoseAllowed) {
  const auto config =
      parsed_guard(R"({"allowedAddresses":["198.51.100.0/24","2001:db8::7","00:00:5e:00:01:0a"]})");
  ASSERT_TRUE(config.has_value()) << config.error().text();
  const auto rules = source_guard(*config, kMac, {allocated("192.0.2.5/24")});
  ASSERT_TRUE(rules && rules->addresses);
  std::vector<std::string> addresses;
  for (const IpPrefix& prefix : *rules->addresses) addresses.push_back(prefix.to_string());
  EXPECT_EQ(addresses, (std::vector<std::string>{"192.0.2.5/32", "198.51.100.0/24", "2001:db8::7/128"}));
  ASSERT_EQ(rules->macs.size(), 2U);
  EXPECT_EQ(rules->macs[1].to_string(), "00:00:5e:00:01:0a");
}

TEST(SourceGuardKeys, WithoutAnAllocatorAddressesAreThoseNamedOrUnknown) {
  const auto unknown = source_guard(*parsed_guard("{}"), kMac, {});
  ASSERT_TRUE(unknown.has_value());
  EXPECT_FALSE(unknown->addresses.has_value());
  const auto named = source_guard(*parsed_guard(R"({"allowedAddresses":["192.0.2.9"]})"), kMac, {});
  ASSERT_TRUE(named && named->addresses);
  ASSERT_EQ(named->addresses->size(), 1U);
  EXPECT_EQ(named->addresses->front().to_string(), "192.0.2.9/32");
}

TEST(SourceGuardKeys, AddressesAreLearnedWhereNoneIsKnown) {
  using ebpf::Learning;
  const auto how = [](const std::string& text, const std::vector<ResultIp>& ips) {
    return source_guard(*parsed_guard(text), kMac, ips)->learning;
  };
  EXPECT_EQ(how("{}", {}), Learning::kLeases);
  EXPECT_EQ(how("{}", {allocated("192.0.2.5/24")}), Learning::kNone);
  EXPECT_EQ(how(R"({"allowedAddresses":["192.0.2.9"]})", {}), Learning::kNone);
  EXPECT_EQ(how(R"({"allowedAddresses":["192.0.2.9"],"learnAddresses":"dhcp"})", {}), Learning::kLeases);
  EXPECT_EQ(how(R"({"learnAddresses":"any"})", {}), Learning::kFirst);
  EXPECT_EQ(how(R"({"learnAddresses":"none"})", {}), Learning::kNone);
}

TEST(SourceGuardKeys, OwnAddressesAreClaimedAndAllowedOnesAreShared) {
  const auto rules = source_guard(*parsed_guard(R"({"allowedAddresses":["192.0.2.9"]})"), kMac,
                                  {allocated("192.0.2.5/24"), allocated("2001:db8::5/64")});
  EXPECT_EQ(rules->claimed, (std::vector<IpAddress>{IpAddress::parse("192.0.2.5").value(),
                                                    IpAddress::parse("2001:db8::5").value()}));
}

TEST(SourceGuardKeys, LearningNeedsACheckAndNoIpam) {
  for (const auto& refused : {parsed_guard(R"({"learnAddresses":"any"})", true, true),
                              parsed_guard(R"({"learnAddresses":"dhcp"})", false)}) {
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().text().find("learnAddresses"), std::string::npos);
  }
  EXPECT_TRUE(parsed_guard(R"({"learnAddresses":"none"})", true, true).has_value());
}

TEST(SourceGuardKeys, RulesOutliveTheRecord) {
  auto rules = source_guard(*parsed_guard(R"({"trusted":true,"allowedAddresses":["2001:db8::/64"]})"), kMac,
                            {allocated("192.0.2.5/24")});
  ASSERT_TRUE(rules.has_value());
  rules->tags = true;
  rules->gateway_link_local = kMac.link_local();
  rules->learning = ebpf::Learning::kFirst;
  rules->network = 7;
  const auto again = ebpf::source_guard_from_json(ebpf::source_guard_to_json(*rules));
  ASSERT_TRUE(again.has_value()) << again.error().text();
  EXPECT_EQ(ebpf::source_guard_to_json(*again), ebpf::source_guard_to_json(*rules));
  EXPECT_EQ(again->macs, rules->macs);
  EXPECT_EQ(again->learning, rules->learning);
  EXPECT_EQ(again->network, rules->network);
  EXPECT_EQ(again->addresses, rules->addresses);
}

TEST(SourceGuardKeys, BadValuesAreNamed) {
  std::string many = R"({"allowedAddresses":["192.0.2.1")";
  for (int i = 2; i < 40; i++) many += ",\"192.0.2." + std::to_string(i) + "\"";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"spoofCheck":"yes"})", "spoofCheck"},
      {R"({"macspoofchk":1})", "macspoofchk"},
      {R"({"learnAddresses":"arp"})", "learnAddresses"},
      {R"({"trusted":"no"})", "trusted"},
      {R"({"allowedAddresses":"192.0.2.1"})", "allowedAddresses"},
      {R"({"allowedAddresses":["192.0.2.1",7]})", "allowedAddresses[1]"},
      {R"({"allowedAddresses":["192.0.2.300"]})", "allowedAddresses[0]"},
      {R"({"allowedAddresses":["192.0.2.0/33"]})", "allowedAddresses[0]"},
      {R"({"allowedAddresses":["01:00:5e:00:00:01"]})", "allowedAddresses[0]"},
      {R"({"allowedAddresses":["00:00:00:00:00:00"]})", "allowedAddresses[0]"},
      {many + "]}", "allowedAddresses"},
      {R"({"spoofCheck":false,"trusted":true})", "trusted"},
      {R"({"spoofCheck":false,"allowedAddresses":["192.0.2.1"]})", "allowedAddresses"},
  };
  for (const auto& [text, culprit] : cases) {
    const auto config = parsed_guard(text);
    ASSERT_FALSE(config.has_value()) << text;
    EXPECT_EQ(config.error().code, Code::kInvalidConfig) << text;
    EXPECT_NE(config.error().message.find(culprit), std::string::npos) << config.error().text();
  }
}

}  // namespace
}  // namespace vmlane::cni
