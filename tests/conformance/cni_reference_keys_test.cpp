// SPDX-License-Identifier: Apache-2.0
// Keys of the reference bridge plugin that say how addresses come to be and how the interface is left:
// "enabledad" (field case F085), "forceAddress", "disableContainerInterface" (F113); and definitions as they
// are published for `bridge` and `cnv-bridge`, with nothing but the type changed.
#include <algorithm>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

Json fixed_address(const std::string& address) {
  return {{"type", "static"}, {"addresses", {{{"address", address}}}}};
}

class ReferenceKeysTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }
  void make_bridge(const std::vector<std::string>& addresses) {
    must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
    must({"ip", "link", "set", "br1", "up"});
    for (const std::string& address : addresses) must({"ip", "addr", "add", address, "dev", "br1", "nodad"});
  }
};

TEST_P(ReferenceKeysTest, ForceAddressReplacesTheAddressAndGivesItBack) {
  make_bridge({"198.51.100.1/24", "192.0.2.77/24"});
  Pod& second = make_pod("b");
  const Snapshot before = snapshot();
  const Json conf = config({{"isGateway", true}, {"forceAddress", true}});
  ASSERT_CNI_OK(add(pod(), conf));
  EXPECT_EQ(addresses_of("", "br1"), (std::vector<std::string>{"198.51.100.1/24", "192.0.2.1/24"}));
  ASSERT_CNI_OK(add(second, conf, "c2"));
  ASSERT_CNI_OK(del(pod().path(), conf));
  EXPECT_EQ(addresses_of("", "br1"), (std::vector<std::string>{"198.51.100.1/24", "192.0.2.1/24"}))
      << "the second pod still needs it";
  ASSERT_CNI_OK(del(second.path(), conf, "c2"));
  EXPECT_EQ(addresses_of("", "br1"), (std::vector<std::string>{"198.51.100.1/24", "192.0.2.77/24"}));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ReferenceKeysTest, ForceAddressReplacesTheGatewayOfOurOwnBridge) {
  Json other = host_local();
  other["ranges"][0][0]["gateway"] = "192.0.2.254";
  ASSERT_CNI_OK(add(make_pod("b"), config({{"name", "green"}, {"isGateway", true}, {"ipam", other}}), "old"));
  EXPECT_EQ(addresses_of("", "br1"), std::vector<std::string>{"192.0.2.254/24"});
  expect_refused(call("ADD", pod().path(), config({{"isGateway", true}})), Code::kConflict,
                 {"192.0.2.254/24", "192.0.2.1/24", "forceAddress"});
  const Snapshot before = snapshot();
  const Json conf = config({{"isGateway", true}, {"forceAddress", true}});
  ASSERT_CNI_OK(add(pod(), conf));
  EXPECT_EQ(addresses_of("", "br1"), std::vector<std::string>{"192.0.2.1/24"});
  ASSERT_CNI_OK(del(pod().path(), conf));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ReferenceKeysTest, DisableContainerInterfaceWithIpamIsRefused) {
  expect_refused(call("ADD", pod().path(), config({{"disableContainerInterface", true}})),
                 Code::kInvalidConfig, {"disableContainerInterface", "ipam"});
}

TEST_P(ReferenceKeysTest, SysctlsOfTheNodesLinksStayAsTheyAre) {
  make_bridge({});
  must({"ip", "link", "add", "nic", "type", "veth", "peer", "name", "nic-peer"});
  must({"ip", "link", "set", "nic", "up"});
  const auto values = [] {
    std::string out;
    for (const char* link : {"all", "default", "lo", "br1", "nic", "nic-peer"}) {
      for (const char* key : {"accept_ra", "forwarding", "disable_ipv6"})
        out += std::string(link) + " " + key + " " +
               slurp("/proc/sys/net/ipv6/conf/" + std::string(link) + "/" + key);
      out += std::string(link) + " ip_forward " +
             slurp("/proc/sys/net/ipv4/conf/" + std::string(link) + "/forwarding");
    }
    return out;
  };
  const std::string before = values();
  const Json conf = config({{"isGateway", true}, {"ipam", host_local("2001:db8:1::/64")}});
  ASSERT_CNI_OK(add(pod(), conf));
  EXPECT_EQ(values(), before);
  ASSERT_CNI_OK(del(pod().path(), conf));
  EXPECT_EQ(values(), before);
}

TEST_P(ReferenceKeysTest, PublishedDefinitionsWorkWithOnlyTheTypeChanged) {
  // The reference documentation's forms and those of OpenShift Virtualization, with documentation addresses.
  const std::string range = R"({"type":"host-local","dataDir":")" + ipam_dir().string() + R"(",)";
  for (const std::string& text :
       {std::string(
            R"({"cniVersion":"0.3.1","name":"mynet","type":"bridge","bridge":"mynet0",)"
            R"("isDefaultGateway":true,"forceAddress":false,"ipMasq":false,"hairpinMode":true,"ipam":)") +
            range + R"("subnet":"192.0.2.0/24"}})",
        std::string(R"({"cniVersion":"0.3.1","name":"mynet","type":"bridge","bridge":"mynet0","ipam":{}})"),
        std::string(R"({"cniVersion":"1.0.0","name":"dual","type":"bridge","bridge":"cni0","isGateway":true,)"
                    R"("promiscMode":true,"enabledad":false,"ipam":)") +
            range + R"("ranges":[[{"subnet":"198.51.100.0/24"}],[{"subnet":"2001:db8:5::/64"}]],)" +
            R"("routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}})",
        std::string(R"({"cniVersion":"0.3.1","name":"bridge-net","type":"cnv-bridge","bridge":"br1",)"
                    R"("macspoofchk":false,"preserveDefaultVlan":false,"disableContainerInterface":false})"),
        std::string(R"({"cniVersion":"0.3.1","name":"bridge-net","type":"cnv-bridge","bridge":"br1",)"
                    R"("vlan":0,"vlanTrunk":null,"portIsolation":false,"ipam":{}})")}) {
    SCOPED_TRACE(text);
    Json conf = Json::parse(text);
    conf["type"] = plugin();
    const Snapshot before = snapshot();
    const CniOutcome added = add(pod(), conf);
    ASSERT_CNI_OK(added);
    if (conf["cniVersion"] != "0.3.1") {
      EXPECT_CNI_OK(check(pod(), conf, *added.document));
    }
    EXPECT_CNI_OK(del(pod().path(), conf));
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
}

VMLANE_FOR_BRIDGE_LANES(ReferenceKeysTest);

class VethReferenceKeysTest : public ReferenceKeysTest {};

TEST_P(VethReferenceKeysTest, F085_AddWaitsForDuplicateDetectionAlsoWithHairpin) {
  for (const bool hairpin : {false, true}) {
    SCOPED_TRACE(hairpin);
    const Json conf = config({{"enabledad", true},
                              {"hairpinMode", hairpin},
                              {"isGateway", true},
                              {"ipam", host_local("2001:db8:1::/64")}});
    const CniOutcome added = add(pod(), conf);
    ASSERT_CNI_OK(added);
    int global = 0;
    const Json link = ip_json(pod().path(), {"addr", "show", "dev", "eth0"}).at(0);
    for (const Json& address : link["addr_info"]) {
      if (address["family"] != "inet6" || address["scope"] != "global") continue;
      global++;
      EXPECT_FALSE(address.contains("tentative")) << address;
      EXPECT_FALSE(address.contains("dadfailed")) << address;
    }
    EXPECT_EQ(global, 1);
    EXPECT_TRUE(pod().run({"ping", "-6", "-c", "1", "-w", "30", "2001:db8:1::1"}).ok());
    EXPECT_CNI_OK(check(pod(), conf, *added.document));
    ASSERT_CNI_OK(del(pod().path(), conf));
  }
}

TEST_P(VethReferenceKeysTest, F085_DuplicateAddressIsNamedAndNothingStays) {
  const Json holder = config({{"ipam", fixed_address("2001:db8:1::5/64")}});
  ASSERT_CNI_OK(add(make_pod("b"), holder, "holder"));
  for (const bool hairpin : {false, true}) {
    Json conf = holder;
    conf["enabledad"] = true;
    conf["hairpinMode"] = hairpin;
    expect_refused(call("ADD", pod().path(), conf), Code::kConflict, {"2001:db8:1::5/64", "used by another"});
  }
  EXPECT_CNI_OK(add(pod(), holder)) << "without detection the newcomer takes the address over";
}

TEST_P(VethReferenceKeysTest, F085_Ipv6SwitchedOffInThePodIsAnErrorForItsAddresses) {
  ASSERT_TRUE(pod().run({"sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"}).ok());
  expect_refused(call("ADD", pod().path(), config({{"ipam", host_local("2001:db8:1::/64")}})),
                 Code::kConflict, {"2001:db8:1::", "net.ipv6.conf.all.disable_ipv6"});
  EXPECT_CNI_OK(add(pod(), config())) << "IPv4 has nothing to do with it";
}

TEST_P(VethReferenceKeysTest, F113_DisableContainerInterfaceLeavesTheLinkDown) {
  const Json conf = config({{"disableContainerInterface", true}, {"ipam", nullptr}});
  const Snapshot before = snapshot();
  const CniOutcome added = add(pod(), conf);
  ASSERT_CNI_OK(added);
  const Json flags = link_of(pod().path(), "eth0")["flags"];
  EXPECT_EQ(std::ranges::find(flags, Json("UP")), flags.end()) << flags;
  const std::string mac = sandbox_interface(*added.document)["mac"];
  EXPECT_EQ(test::run({"bridge", "fdb", "show"}).out.find(mac), std::string::npos)
      << "the bridge has learned of it";
  EXPECT_CNI_OK(check(pod(), conf, *added.document));
  ASSERT_TRUE(pod().run({"ip", "link", "set", "eth0", "up"}).ok());
  EXPECT_CNI_OK(check(pod(), conf, *added.document));
  EXPECT_CNI_OK(del(pod().path(), conf));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

INSTANTIATE_TEST_SUITE_P(Lane, VethReferenceKeysTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

class TapReferenceKeysTest : public ReferenceKeysTest {};

TEST_P(TapReferenceKeysTest, KeysThatOnlyAContainerHasAUseForAreRefusedByName) {
  expect_refused(call("ADD", pod().path(), config({{"enabledad", true}})), Code::kUnsupportedField,
                 {"enabledad", "guest"});
  expect_refused(call("ADD", pod().path(), config({{"disableContainerInterface", true}, {"ipam", nullptr}})),
                 Code::kUnsupportedField, {"disableContainerInterface"});
}

VMLANE_FOR_TAP(TapReferenceKeysTest);

}  // namespace
}  // namespace vmlane::test
