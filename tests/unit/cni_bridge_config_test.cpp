// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cni/bridge/config.h"

namespace vmlane::cni {
namespace {

Result<BridgeConfig> parsed_bridge(const std::string& text, bool has_ipam = true) {
  const Json config = Json::parse(text);
  ObjectReader reader(config, "", Code::kInvalidConfig);
  return parse_bridge_config(reader, has_ipam);
}

TEST(BridgeConfig, HasTheDefaultsOfTheReferencePlugin) {
  const auto config = parsed_bridge("{}");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->bridge, "cni0");
  EXPECT_FALSE(config->is_gateway || config->is_default_gateway || config->hairpin_mode ||
               config->promisc_mode);
  EXPECT_FALSE(config->mtu);
  EXPECT_FALSE(parsed_bridge(R"({"mtu":0})")->mtu);
}

TEST(BridgeConfig, ADefaultGatewayIsAGateway) {
  EXPECT_TRUE(parsed_bridge(R"({"isDefaultGateway":true})")->is_gateway);
}

TEST(BridgeConfig, WrongValuesNameKeyAndValue) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"mtu":"1500"})", R"(key "mtu" is "1500")"},
      {R"({"mtu":70000})", R"(key "mtu" is 70000)"},
      {R"({"mtu":67})", R"(key "mtu" is 67)"},
      {R"({"mtu":-1})", R"(key "mtu" is -1)"},
      {R"({"mtu":1500.5})", R"(key "mtu" is 1500.5)"},
      {R"({"bridge":7})", R"(key "bridge" is 7)"},
      {R"({"bridge":"a/b"})", R"(key "bridge" "a/b")"},
      {R"({"bridge":"0123456789abcdef"})", "16 bytes long"},
      {R"({"isGateway":"yes"})", R"(key "isGateway" is "yes")"},
      {R"({"hairpinMode":1})", R"(key "hairpinMode" is 1)"},
      {R"({"hairpinMode":true,"promiscMode":true})", R"("hairpinMode" and "promiscMode")"}};
  for (const auto& [text, message] : cases) {
    const auto config = parsed_bridge(text);
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code, Code::kInvalidConfig);
    EXPECT_NE(config.error().message.find(message), std::string::npos) << config.error().message;
  }
}

TEST(BridgeConfig, AGatewayNeedsAnAllocator) {
  EXPECT_NE(parsed_bridge(R"({"isDefaultGateway":true})", false).error().message.find("isDefaultGateway"),
            std::string::npos);
}

TEST(BridgeConfig, MasqueradingIsByNftablesAndNeedsAnAllocator) {
  EXPECT_FALSE(parsed_bridge(R"({"ipMasqBackend":"iptables"})")->ip_masq);
  for (const char* text : {R"({"ipMasq":true})", R"({"ipMasq":true,"ipMasqBackend":""})",
                           R"({"ipMasq":true,"ipMasqBackend":"nftables"})"}) {
    const auto config = parsed_bridge(text);
    ASSERT_TRUE(config) << text;
    EXPECT_TRUE(config->ip_masq) << text;
  }
  EXPECT_EQ(parsed_bridge(R"({"ipMasq":true,"ipMasqBackend":"iptables"})").error().code,
            Code::kUnsupportedField);
  EXPECT_EQ(parsed_bridge(R"({"ipMasqBackend":"pf"})").error().code, Code::kInvalidConfig);
  EXPECT_EQ(parsed_bridge(R"({"ipMasq":true})", false).error().code, Code::kInvalidConfig);
}

TEST(BridgeConfig, FirewallThatDropsBridgedFramesFailsUnlessSaidOtherwise) {
  EXPECT_EQ(parsed_bridge("{}")->bridge_netfilter, BridgeNetfilter::kFail);
  EXPECT_EQ(parsed_bridge(R"({"bridgeNetfilter":""})")->bridge_netfilter, BridgeNetfilter::kFail);
  EXPECT_EQ(parsed_bridge(R"({"bridgeNetfilter":"accept"})")->bridge_netfilter, BridgeNetfilter::kAccept);
  EXPECT_EQ(parsed_bridge(R"({"bridgeNetfilter":"ignore"})")->bridge_netfilter, BridgeNetfilter::kIgnore);
  for (const char* text : {R"({"bridgeNetfilter":"Accept"})", R"({"bridgeNetfilter":true})"}) {
    const auto config = parsed_bridge(text);
    ASSERT_FALSE(config) << text;
    EXPECT_NE(config.error().message.find("bridgeNetfilter"), std::string::npos);
  }
}

TEST(BridgeConfig, IsolationIsOffByDefault) {
  EXPECT_FALSE(parsed_bridge("{}")->port_isolation);
  EXPECT_TRUE(parsed_bridge(R"({"portIsolation":true})")->port_isolation);
  EXPECT_NE(parsed_bridge(R"({"portIsolation":"on"})").error().message.find("portIsolation"),
            std::string::npos);
}

}  // namespace
}  // namespace vmlane::cni
