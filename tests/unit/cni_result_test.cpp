// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cni/result.h"

namespace vmlane::cni {
namespace {

// A result with everything the newest version can say.
Json full_result() {
  return Json::parse(R"({"cniVersion":"1.1.0",
    "interfaces":[{"name":"br1","mac":"02:00:00:00:00:01"},
                  {"name":"net1","mac":"02:00:00:00:00:02","mtu":1450,"sandbox":"/run/netns/a","socketPath":"/run/s","pciID":"0000:09:10.2"}],
    "ips":[{"address":"192.0.2.5/24","gateway":"192.0.2.1","interface":1},{"address":"2001:db8::5/64","interface":1}],
    "routes":[{"dst":"198.51.100.0/24","gw":"192.0.2.1","mtu":1400,"advmss":1360,"priority":100,"table":7,"scope":0}],
    "dns":{"nameservers":["192.0.2.53"],"domain":"example.org","search":["a.example.org"],"options":["ndots:2"]}})");
}

CniResult decoded(const Json& json) {
  auto result = CniResult::from_json(json, kNewestVersion, "prevResult");
  EXPECT_TRUE(result) << (result ? "" : result.error().text());
  return result.value_or(CniResult());
}

TEST(CniResult, SurvivesARoundTripInTheNewestVersion) {
  EXPECT_EQ(decoded(full_result()).to_json(kNewestVersion), full_result());
}

TEST(CniResult, LeavesOutWhatOnePointZeroLacks) {
  const Json json = decoded(full_result()).to_json(Version{1, 0, 0});
  EXPECT_EQ(json["cniVersion"], "1.0.0");
  EXPECT_EQ(json["interfaces"][1],
            Json::parse(R"({"name":"net1","mac":"02:00:00:00:00:02","sandbox":"/run/netns/a"})"));
  EXPECT_EQ(json["routes"][0], Json::parse(R"({"dst":"198.51.100.0/24","gw":"192.0.2.1"})"));
  EXPECT_FALSE(json["ips"][0].contains("version"));
}

TEST(CniResult, NamesTheFamilyBeforeOnePointZero) {
  for (const Version version : {Version{0, 3, 0}, Version{0, 3, 1}, Version{0, 4, 0}}) {
    const Json json = decoded(full_result()).to_json(version);
    EXPECT_EQ(json["ips"][0]["version"], "4") << version.to_string();
    EXPECT_EQ(json["ips"][1]["version"], "6") << version.to_string();
  }
}

TEST(CniResult, ReadsTheOldestShape) {
  const CniResult result = decoded(Json::parse(
      R"({"cniVersion":"0.2.0","ip4":{"ip":"192.0.2.5/24","gateway":"192.0.2.1","routes":[{"dst":"0.0.0.0/0"}]},"ip6":{"ip":"2001:db8::5/64"}})"));
  ASSERT_EQ(result.ips.size(), 2U);
  EXPECT_EQ(result.ips[0].gateway->to_string(), "192.0.2.1");
  EXPECT_EQ(result.ips[1].address.to_string(), "2001:db8::5/64");
  EXPECT_EQ(result.routes.size(), 1U);
}

TEST(CniResult, ReadsItsVersionWhateverTheCaseOfTheKey) {
  const CniResult result = decoded(Json::parse(R"({"CNIVersion":"0.2.0","ip4":{"ip":"192.0.2.5/24"}})"));
  EXPECT_EQ(result.ips.size(), 1U);
}

TEST(CniResult, TakesMinusOneForAnUnknownInterface) {
  EXPECT_FALSE(
      decoded(Json::parse(R"({"ips":[{"address":"192.0.2.5/24","interface":-1}]})")).ips[0].interface);
}

TEST(CniResult, RefusesWithTheKeyAtFault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"ips":[{"address":"192.0.2.5"}]})", "prevResult.ips[0].address"},
      {R"({"ips":[{"address":"192.0.2.5/24","gateway":"x"}]})", "prevResult.ips[0].gateway"},
      {R"({"ips":[{"address":"192.0.2.5/24","interface":3}]})", "prevResult.ips[0].interface"},
      {R"({"routes":[{"dst":"nowhere"}]})", "prevResult.routes[0].dst"},
      {R"({"interfaces":[7]})", "prevResult.interfaces[0]"},
      {R"({"interfaces":{}})", "prevResult.interfaces"},
      {R"({"dns":[]})", "prevResult.dns"},
      {R"([])", "prevResult"},
  };
  for (const auto& [text, key] : cases) {
    const auto result = CniResult::from_json(Json::parse(text), kNewestVersion, "prevResult");
    ASSERT_FALSE(result) << text;
    EXPECT_NE(result.error().message.find(key), std::string::npos) << result.error().message;
    EXPECT_EQ(result.error().code, Code::kDecode);
  }
}

TEST(CniVersion, OrdersAndParses) {
  EXPECT_EQ(Version::parse("")->to_string(), "0.1.0");
  EXPECT_LT(*Version::parse("0.3.1"), *Version::parse("0.4.0"));
  EXPECT_LT(*Version::parse("0.10.0"), *Version::parse("1.0.0"));
  for (const char* text : {"1", "1.0", "1.0.", "1.0.0.0", "1.0.x", "-1.0.0", " 1.0.0", "1.0.0 "})
    EXPECT_FALSE(Version::parse(text)) << text;
}

}  // namespace
}  // namespace vmlane::cni
