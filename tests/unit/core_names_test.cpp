// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <unordered_set>

#include "core/hash.h"
#include "core/names.h"
#include "tests/support/long_run.h"

namespace vmlane::names {
namespace {

constexpr std::string_view kId = "b07fa601e514239343290bb9db375c8d";
constexpr std::string_view kBootId = "0123456789abcdef0123456789abcdef";

TEST(NamesTest, Sha256MatchesThePublishedVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(NamesTest, AttachmentIdIsTheStartOfTheHashOfItsThreeParts) {
  EXPECT_EQ(attachment_id("blue", "c1", "eth0"), kId);
}

TEST(NamesTest, AttachmentIdKeepsPartsApart) {
  EXPECT_NE(attachment_id("blue", "c1", "eth0"), attachment_id("bluec", "1", "eth0"));
  EXPECT_NE(attachment_id("blue", "c1", "eth0"), attachment_id("blue", "c1e", "th0"));
  EXPECT_NE(attachment_id("blue", "c1", "eth0"), attachment_id("blue", "c2", "eth0"));
}

TEST(NamesTest, HostLinkIsVmlAndTwelveDigitsOfTheId) {
  EXPECT_EQ(host_link(kId), "vml" + std::string(kId.substr(0, 12)));
  EXPECT_EQ(host_link(kId, 1), "vml42f2dd105f27");
  EXPECT_NE(host_link(kId, 1), host_link(kId, 2));
  EXPECT_EQ(host_link(kId, 7).size(), kMaxLinkName);
}

TEST(NamesTest, MacvtapDeviceIdIsLowerDeviceAndNumber) {
  for (const char* id : {"eth1-1048576", "br-lan-1048577", "eth1.7-268435455"}) {
    const auto slot = parse_macvtap_device_id(id);
    ASSERT_TRUE(slot) << id;
    EXPECT_EQ(macvtap_device_id(*slot), id);
  }
  EXPECT_EQ(parse_macvtap_device_id("br-lan-1048577")->lower, "br-lan");
  for (const char* id : {"", "-", "eth1", "eth1-", "-1048576", "eth1-1048575", "eth1-268435456",
                         "eth1-01048576", "eth1-1048576x", "eth1-+1048576", "eth1-99999999999999999999",
                         "a/b-1048576", "sixteen-bytes-xx-1048576", "dataplaneMvp0"}) {
    const auto slot = parse_macvtap_device_id(id);
    ASSERT_FALSE(slot) << id;
    EXPECT_EQ(slot.error().code, Code::kInvalidConfig);
  }
}

TEST(NamesTest, VlanLinkIsTheLinkAndTheVlanWhileThereIsRoom) {
  EXPECT_EQ(vlan_link("br1", 7), "br1.7");
  EXPECT_EQ(vlan_link("bridge-10b", 4094), "bridge-10b.4094");
  const std::string hashed = vlan_link("bridge-11by", 4094);
  EXPECT_EQ(hashed.size(), kMaxLinkName);
  EXPECT_TRUE(hashed.starts_with("vmv")) << hashed;
  EXPECT_NE(hashed, vlan_link("bridge-11by", 4093));
}

TEST(NamesTest, F059_HostLinksOfManyContainersDiffer) {
  const int count = test::rounds(100'000, 1'000'000);
  std::unordered_set<std::string> links;
  for (int i = 0; i < count; i++) {
    const std::string link = host_link(attachment_id("blue", "container-" + std::to_string(i), "eth0"));
    ASSERT_LE(link.size(), kMaxLinkName);
    ASSERT_TRUE(links.insert(link).second) << "container " << i << " takes " << link << " again";
  }
}

TEST(NamesTest, F059_LongNetworkNamesGiveShortLinks) {
  EXPECT_EQ(host_link(attachment_id(std::string(253, 'n'), "c1", "eth0")).size(), kMaxLinkName);
}

TEST(NamesTest, LinkAliasRoundTrip) {
  const std::string alias = link_alias(kId, kBootId);
  EXPECT_EQ(alias, "vmlane:" + std::string(kId) + ":" + std::string(kBootId));
  const auto owner = parse_link_alias(alias);
  ASSERT_TRUE(owner) << owner.error().text();
  EXPECT_EQ(owner->attachment_id, kId);
  EXPECT_EQ(owner->boot_id, kBootId);
}

TEST(NamesTest, ForeignAliasesAreNotOurs) {
  const std::string id(kId);
  for (const std::string& alias :
       {std::string(), std::string("vmlane:"), "vmlane:" + id, "vmlane:" + id.substr(1) + ":boot",
        "other:" + id + ":boot", "vmlane:" + std::string(32, 'G') + ":boot", "Vmlane:" + id + ":boot",
        std::string("uplink to the lab"), std::string(255, ':')}) {
    EXPECT_FALSE(parse_link_alias(alias)) << alias;
  }
}

TEST(NamesTest, TapLinkFollowsKubeVirt) {
  struct Case {
    const char* pod_ifname;
    const char* tap;
  };
  constexpr std::array kCases = {
      Case{"eth0", "tap0"},
      Case{"net1", "tap1"},
      Case{"net42", "tap42"},
      Case{"net123456789012", "tap123456789012"},
      Case{"pod37a8eec1ce1", "tap37a8eec1ce1"},
      Case{"net0", "tap9404eea3257"},
      Case{"net", "tapa08a0fcbdea"},
      Case{"net01", "tap87f7623c4be"},
      Case{"podABCDEF01234", "tap6bf02ca1669"},
      Case{"pod123", "tap1c139920e5c"},
      Case{"eth1", "tap980816f36b7"},
      Case{"x", "tap2d711642b72"},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(tap_link(c.pod_ifname), c.tap) << c.pod_ifname;
    EXPECT_LE(tap_link(c.pod_ifname).size(), kMaxLinkName) << c.pod_ifname;
  }
}

TEST(NamesTest, KubeVirtPodInterfaceName) {
  EXPECT_EQ(kubevirt_pod_ifname("blue"), "pod16477688c0e");
  EXPECT_EQ(tap_link(kubevirt_pod_ifname("blue")), "tap16477688c0e");
}

// Values that must never become part of a path, from field case F021.
const std::vector<std::string>& hostile_values() {
  static const std::vector<std::string> values = {"",
                                                  ".",
                                                  "..",
                                                  "../../tmp/x",
                                                  "/etc/passwd",
                                                  "a/b",
                                                  std::string("a\0b", 3),
                                                  "a\nb",
                                                  "\n",
                                                  "-rf",
                                                  "a b",
                                                  "\t",
                                                  std::string(300, 'a'),
                                                  "\xd0\xb0"
                                                  "bc",
                                                  "a%d",
                                                  "a\x7f",
                                                  "a\\..\\b",
                                                  "~root",
                                                  "$(id)",
                                                  "a:b"};
  return values;
}

TEST(NamesTest, F021_HostileValuesAreNoIdentifiers) {
  for (const std::string& value : hostile_values()) {
    const auto checked = check_identifier(value, "network name", Code::kInvalidConfig);
    ASSERT_FALSE(checked) << value;
    EXPECT_EQ(checked.error().code, Code::kInvalidConfig);
    EXPECT_NE(checked.error().message.find("network name"), std::string::npos);
    EXPECT_FALSE(check_plugin_type(value, "type", Code::kInvalidConfig)) << value;
  }
}

TEST(NamesTest, F021_HostileValuesAreNoLinkNames) {
  for (const std::string& value : hostile_values()) {
    if (value == "a\\..\\b" || value == "~root" || value == "$(id)")
      continue;  // odd, but harmless to the kernel and as a hash
    const auto checked = check_link_name(value, "CNI_IFNAME", Code::kBadEnvironment);
    ASSERT_FALSE(checked) << value;
    EXPECT_EQ(checked.error().code, Code::kBadEnvironment);
    EXPECT_NE(checked.error().message.find("CNI_IFNAME"), std::string::npos);
  }
}

TEST(NamesTest, ErrorsShowControlBytesAndLongValuesHarmlessly) {
  const auto control = check_identifier("a\x1b[2J\n", "container id", Code::kBadEnvironment);
  ASSERT_FALSE(control);
  for (const char c : control.error().message) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
  const auto longer = check_identifier("!" + std::string(10'000, 'a'), "container id", Code::kBadEnvironment);
  ASSERT_FALSE(longer);
  EXPECT_LT(longer.error().message.size(), 200U);
}

TEST(NamesTest, OrdinaryNamesPass) {
  for (const char* id : {"a", "Z9", "c1", "my-net_1.prod", "0123456789abcdef", "a..b"}) {
    EXPECT_TRUE(check_identifier(id, "id", Code::kInvalidConfig)) << id;
  }
  EXPECT_TRUE(check_identifier(std::string(255, 'a'), "id", Code::kInvalidConfig));
  EXPECT_FALSE(check_identifier(std::string(256, 'a'), "id", Code::kInvalidConfig));
  for (const char* name :
       {"eth0", "pod37a8eec1ce1", "br-lan", "bond0.100", "a@b", "...", "x", "abcdefghijklmno"}) {
    EXPECT_TRUE(check_link_name(name, "link", Code::kInvalidConfig)) << name;
  }
  EXPECT_FALSE(check_link_name("abcdefghijklmnop", "link", Code::kInvalidConfig));
}

}  // namespace
}  // namespace vmlane::names
