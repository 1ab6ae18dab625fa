// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/address.h"

namespace vmlane {
namespace {

TEST(AddressTest, MacIsReadInAnyCaseAndWrittenInLower) {
  for (const char* text : {"02:00:00:ab:cd:ef", "02:00:00:AB:CD:EF", "02-00-00-Ab-cD-eF"}) {
    const auto mac = MacAddress::parse(text);
    ASSERT_TRUE(mac) << text;
    EXPECT_EQ(mac->to_string(), "02:00:00:ab:cd:ef");
  }
}

TEST(AddressTest, BadMacsAreRefused) {
  for (const std::string& text :
       {std::string(), std::string("02:00:00:ab:cd"), std::string("02:00:00:ab:cd:ef:01"),
        std::string("02:00:00:ab:cd:eg"), std::string("020000abcdef"), std::string("02:00:00:ab:cd:ef "),
        std::string(" 02:00:00:ab:cd:e"), std::string("2:0:0:ab:cd:ef"),
        std::string("02:00:00:ab:cd:e\0", 17)}) {
    const auto mac = MacAddress::parse(text);
    ASSERT_FALSE(mac) << text;
    EXPECT_FALSE(mac.error().message.empty());
  }
}

TEST(AddressTest, MulticastBroadcastAndZeroAreNoNicAddresses) {
  for (const char* text :
       {"01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "33:33:00:00:00:01"}) {
    const auto mac = MacAddress::parse_usable(text, "key \"mac\"", Code::kInvalidConfig);
    ASSERT_FALSE(mac) << text;
    EXPECT_EQ(mac.error().code, Code::kInvalidConfig);
    EXPECT_NE(mac.error().message.find("key \"mac\""), std::string::npos);
    EXPECT_NE(mac.error().message.find(text), std::string::npos);
  }
  EXPECT_TRUE(MacAddress::parse_usable("02:00:00:00:00:01", "mac", Code::kInvalidConfig));
  const auto garbage = MacAddress::parse_usable("garbage", "key \"mac\"", Code::kBadEnvironment);
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code, Code::kBadEnvironment);
  EXPECT_NE(garbage.error().message.find("garbage"), std::string::npos);
}

TEST(AddressTest, DerivedMacIsStableLocalAndUnicast) {
  const MacAddress mac = MacAddress::derived("seed");
  EXPECT_EQ(mac, MacAddress::derived("seed"));
  EXPECT_NE(mac, MacAddress::derived("seed2"));
  EXPECT_EQ(mac.bytes[0], 0x02);
  EXPECT_TRUE(mac.usable());
}

TEST(AddressTest, AddressesRoundTrip) {
  for (const char* text : {"192.0.2.5", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "fe80::1"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
    EXPECT_EQ(address->bits(), address->v6 ? 128U : 32U);
  }
  EXPECT_EQ(IpAddress::parse("2001:DB8:0:0::1")->to_string(), "2001:db8::1");
}

TEST(AddressTest, BadAddressesAreRefused) {
  for (const std::string& text :
       {std::string(), std::string("192.0.2"), std::string("192.0.2.256"), std::string("192.0.2.5/24"),
        std::string("192.0.2.05"), std::string("2001:db8::g"), std::string("2001:db8::1%eth0"),
        std::string("192.0.2.5 "), std::string("host.example"), std::string("192.0.2.5\0x", 11),
        std::string("2001:db8::1\0", 12)}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(AddressTest, PrefixesKeepTheirHostBits) {
  const auto prefix = IpPrefix::parse("192.0.2.5/24");
  ASSERT_TRUE(prefix);
  EXPECT_EQ(prefix->to_string(), "192.0.2.5/24");
  EXPECT_EQ(prefix->network().to_string(), "192.0.2.0/24");
  EXPECT_EQ(IpPrefix::parse("2001:db8::ff/64")->network().to_string(), "2001:db8::/64");
  EXPECT_EQ(IpPrefix::parse("192.0.2.255/25")->network().to_string(), "192.0.2.128/25");
  EXPECT_EQ(IpPrefix::parse("192.0.2.5/0")->network().to_string(), "0.0.0.0/0");
  EXPECT_EQ(IpPrefix::parse("192.0.2.5/32")->network().to_string(), "192.0.2.5/32");
}

TEST(AddressTest, PrefixContainment) {
  const IpPrefix prefix = *IpPrefix::parse("192.0.2.130/25");
  EXPECT_TRUE(prefix.contains(*IpAddress::parse("192.0.2.128")));
  EXPECT_TRUE(prefix.contains(*IpAddress::parse("192.0.2.255")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("192.0.2.127")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("2001:db8::1")));
  EXPECT_TRUE(IpPrefix::parse("::/0")->contains(*IpAddress::parse("2001:db8::1")));
  EXPECT_FALSE(IpPrefix::parse("::/0")->contains(*IpAddress::parse("192.0.2.1")));
}

TEST(AddressTest, BadPrefixesAreRefused) {
  for (const char* text :
       {"", "192.0.2.5", "192.0.2.5/", "192.0.2.5/33", "2001:db8::1/129", "192.0.2.5/-1", "192.0.2.5/+24",
        "192.0.2.5/2 4", "/24", "192.0.2.5/24/24", "192.0.2.5/99999999999"}) {
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
  }
}

}  // namespace
}  // namespace vmlane
