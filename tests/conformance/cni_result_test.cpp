// SPDX-License-Identifier: Apache-2.0
// The result of ADD: its shape in each version of the specification, chains, and what a runtime may ask of
// it.
#include <set>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class ResultTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }
  // The result of an ADD that must succeed.
  Json added(const Json& conf) {
    const CniOutcome outcome = add(pod(), conf);
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.document) << outcome;
    return outcome.document.value_or(Json::object());
  }
  static void expect_keys_within(const Json& object, const std::set<std::string>& allowed,
                                 const std::string& what) {
    for (const auto& [key, value] : object.items()) {
      EXPECT_TRUE(allowed.contains(key)) << what << " has key " << key;
      EXPECT_FALSE(value.is_null()) << what << "." << key;
      EXPECT_FALSE(value.is_string() && value.get_ref<const std::string&>().empty())
          << what << "." << key << " is empty";
    }
  }
};

// What only the lanes on a Linux bridge have.
class BridgeResultTest : public ResultTest {};

TEST_P(ResultTest, F062_ShapeFollowsTheConfigsVersion) {
  for (const std::string version : {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const bool extended = version == "1.1.0";
    const bool family = version < "1.0.0";
    Json ipam = host_local();
    ipam["routes"] = Json::array({{{"dst", "198.51.100.0/24"}}});
    const Json conf = config({{"cniVersion", version}, {"ipam", ipam}});
    const Json result = added(conf);
    EXPECT_EQ(result["cniVersion"], version);
    expect_keys_within(result, {"cniVersion", "interfaces", "ips", "routes", "dns"}, version);
    EXPECT_TRUE(result.contains("dns") && result["dns"].is_object())
        << "the specification has dns in every result";
    for (const Json& interface : result["interfaces"]) {
      expect_keys_within(interface,
                         extended ? std::set<std::string>{"name", "mac", "sandbox", "mtu"}
                                  : std::set<std::string>{"name", "mac", "sandbox"},
                         version + " interface");
    }
    const Json own = sandbox_interface(result);
    EXPECT_EQ(own["name"], "eth0");
    EXPECT_EQ(own["sandbox"], pod().path());
    EXPECT_EQ(own.contains("mtu"), extended);
    EXPECT_EQ(own.value("mtu", 0), extended ? 1500 : 0);
    ASSERT_EQ(result["ips"].size(), 1U);
    const Json& ip = result["ips"][0];
    expect_keys_within(ip,
                       family ? std::set<std::string>{"version", "address", "gateway", "interface"}
                              : std::set<std::string>{"address", "gateway", "interface"},
                       version + " ip");
    EXPECT_EQ(ip.value("version", ""), family ? "4" : "");
    EXPECT_TRUE(ip["address"].get<std::string>().ends_with("/24")) << ip;
    EXPECT_EQ(result["interfaces"][ip["interface"].get<std::size_t>()], own)
        << "the address is the container interface's";
    ASSERT_EQ(result["routes"].size(), 1U);
    EXPECT_EQ(result["routes"][0]["dst"], "198.51.100.0/24");
    EXPECT_CNI_OK(del(pod().path(), conf));
  }
}

TEST_P(ResultTest, SixAndFourTogether) {
  Json ipam = host_local();
  ipam["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
  const Json result = added(config({{"cniVersion", "0.4.0"}, {"ipam", ipam}}));
  ASSERT_EQ(result["ips"].size(), 2U);
  std::set<std::string> families;
  for (const Json& ip : result["ips"]) families.insert(ip["version"].get<std::string>());
  EXPECT_EQ(families, (std::set<std::string>{"4", "6"}));
}

TEST_P(ResultTest, WithoutIpamThereAreNoAddresses) {
  for (const Json& ipam : {Json(nullptr), Json::object()}) {
    Json conf = config({{"ipam", nullptr}});
    if (ipam.is_object()) conf["ipam"] = ipam;
    const Json result = added(conf);
    EXPECT_TRUE(result.value("ips", Json::array()).empty());
    EXPECT_EQ(sandbox_interface(result)["name"], "eth0");
    EXPECT_TRUE(addresses_of(pod().path(), "eth0").empty());
    EXPECT_CNI_OK(del(pod().path(), conf));
  }
}

TEST_P(ResultTest, ResultTellsTheMtuOfTheLink) {
  const Json result = added(config({{"mtu", 1450}}));
  EXPECT_EQ(sandbox_interface(result)["mtu"], 1450);
  EXPECT_EQ(link_of(pod().path(), "eth0")["mtu"], 1450);
}

TEST_P(BridgeResultTest, MtuZeroMeansTheBridges) {
  must({"ip", "link", "add", "br1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "mtu", "9000"});
  EXPECT_EQ(sandbox_interface(added(config({{"mtu", 0}})))["mtu"], 9000);
}

TEST_P(BridgeResultTest, GatewayModes) {
  const Json gateway = added(config({{"isGateway", true}}));
  EXPECT_EQ(gateway["ips"][0]["gateway"], "192.0.2.1");
  EXPECT_EQ(addresses_of("", "br1"), std::vector<std::string>{"192.0.2.1/24"});
  EXPECT_TRUE(gateway.value("routes", Json::array()).empty());
  EXPECT_CNI_OK(del(pod().path(), config({{"isGateway", true}})));

  const Json by_default = added(config({{"isDefaultGateway", true}}));
  ASSERT_EQ(by_default["routes"].size(), 1U);
  EXPECT_EQ(by_default["routes"][0]["dst"], "0.0.0.0/0");
  EXPECT_EQ(by_default["routes"][0]["gw"], "192.0.2.1");
}

TEST_P(ResultTest, ChainKeepsAndExtendsPrevResult) {
  const Json previous = {
      {"cniVersion", "1.1.0"},
      {"interfaces",
       {{{"name", "lo"}, {"mac", "00:00:00:00:00:00"}, {"sandbox", "/run/netns/other"}, {"mtu", 65536}},
        {{"name", "up0"}, {"mac", "02:00:00:00:00:77"}},
        {{"name", "vhost"},
         {"sandbox", "/run/netns/other"},
         {"socketPath", "/run/x.sock"},
         {"pciID", "0000:03:02.1"}}}},
      {"ips",
       {{{"address", "203.0.113.9/24"}, {"gateway", "203.0.113.1"}},
        {{"address", "2001:db8:9::9/64"}, {"interface", 0}}}},
      {"routes", {{{"dst", "203.0.113.0/25"}, {"gw", "203.0.113.1"}, {"mtu", 1400}, {"priority", 7}}}},
      {"dns", {{"nameservers", {"203.0.113.53"}}}}};
  const CniOutcome outcome = add(pod(), config({{"prevResult", previous}}));
  ASSERT_CNI_OK(outcome);
  const Json& result = *outcome.document;
  ASSERT_GE(result["interfaces"].size(), 4U);
  for (std::size_t i = 0; i < 3; i++) EXPECT_EQ(result["interfaces"][i], previous["interfaces"][i]);
  ASSERT_EQ(result["ips"].size(), 3U);
  for (std::size_t i = 0; i < 2; i++) EXPECT_EQ(result["ips"][i], previous["ips"][i]);
  EXPECT_EQ(result["routes"][0], previous["routes"][0]);
  EXPECT_EQ(result["dns"], previous["dns"]);
  const Json& own = result["interfaces"][result["ips"][2]["interface"].get<std::size_t>()];
  EXPECT_EQ(own["name"], "eth0");
  EXPECT_EQ(own["sandbox"], pod().path());
}

TEST_P(ResultTest, F062_PrevResultIsReadByItsOwnVersion) {
  const Json old_form = {{"cniVersion", "0.4.0"},
                         {"interfaces", {{{"name", "up0"}}}},
                         {"ips", {{{"version", "4"}, {"address", "203.0.113.9/24"}, {"interface", -1}}}},
                         {"dns", Json::object()}};
  const Json oldest_form = {{"cniVersion", "0.2.0"},
                            {"ip4", {{"ip", "203.0.113.9/24"}, {"gateway", "203.0.113.1"}}}};
  Json capital = old_form;
  capital.erase("cniVersion");
  capital["CNIVersion"] = "0.4.0";
  Json unnamed = old_form;
  unnamed.erase("cniVersion");
  for (const Json& previous : {old_form, oldest_form, capital, unnamed}) {
    const CniOutcome outcome = add(pod(), config({{"prevResult", previous}}));
    ASSERT_CNI_OK(outcome);
    EXPECT_EQ((*outcome.document)["ips"][0]["address"], "203.0.113.9/24");
    EXPECT_FALSE((*outcome.document)["ips"][0].contains("version"));
    EXPECT_CNI_OK(del(pod().path(), config({{"prevResult", previous}})));
  }
}

TEST_P(ResultTest, DnsComesFromTheRuntimeThenTheConfigThenIpam) {
  spit(directory() / "resolv.conf", "nameserver 203.0.113.3\n");
  Json ipam = host_local();
  ipam["resolvConf"] = (directory() / "resolv.conf").string();
  const Json from_config = {{"nameservers", {"203.0.113.2"}},
                            {"domain", "blue.example"},
                            {"search", {"a.example"}},
                            {"options", {"ndots:2"}}};
  const Json from_runtime = {
      {"servers", {"203.0.113.1"}}, {"searches", {"b.example"}}, {"options", {"ndots:5"}}};

  Json conf = config({{"ipam", ipam}});
  EXPECT_EQ(added(conf)["dns"]["nameservers"], Json({"203.0.113.3"}));
  EXPECT_CNI_OK(del(pod().path(), conf));
  conf["dns"] = from_config;
  EXPECT_EQ(added(conf)["dns"], from_config);
  EXPECT_CNI_OK(del(pod().path(), conf));
  conf["runtimeConfig"] = {{"dns", from_runtime}};
  const Json dns = added(conf)["dns"];
  EXPECT_EQ(dns["nameservers"], from_runtime["servers"]);
  EXPECT_EQ(dns["search"], from_runtime["searches"]);
  EXPECT_EQ(dns["options"], from_runtime["options"]);
}

TEST_P(ResultTest, AddressesAskedForByTheRuntimeReachIpam) {
  const Json result =
      added(config({{"capabilities", {{"ips", true}}}, {"runtimeConfig", {{"ips", {"192.0.2.77/24"}}}}}));
  EXPECT_EQ(result["ips"][0]["address"], "192.0.2.77/24");
  EXPECT_EQ(reserved_addresses(), std::vector<std::string>{"192.0.2.77"});
}

TEST_P(BridgeResultTest, BandwidthOfTheRuntimeLimitsBothDirections) {
  const Snapshot before = snapshot();
  const Json conf = config({{"runtimeConfig",
                             {{"bandwidth",
                               {{"ingressRate", 8000000},
                                {"ingressBurst", 8000000},
                                {"egressRate", 16000000},
                                {"egressBurst", 8000000}}}}}});
  const CniOutcome outcome = add(pod(), conf);
  ASSERT_CNI_OK(outcome);
  const std::string host = test::run({"tc", "qdisc", "show"}).out;
  EXPECT_NE(host.find("rate 8Mbit"), std::string::npos) << host;
  EXPECT_NE(host.find("rate 16Mbit"), std::string::npos) << host;
  EXPECT_CNI_OK(del(pod().path(), conf));
  EXPECT_SNAP_CLEAN(before, snapshot());
  expect_refused(
      call("ADD", pod().path(), config({{"runtimeConfig", {{"bandwidth", {{"ingressRate", "fast"}}}}}})),
      Code::kInvalidConfig, {"runtimeConfig.bandwidth.ingressRate", "fast"});
}

TEST_P(ResultTest, RecordHoldsTheWholeAttachment) {
  const Json conf = config({{"mtu", 1450}, {"nobodyKnowsThis", 1}});
  const Json result = added(conf);
  const Json record = Json::parse(slurp(record_file(id_of())));
  EXPECT_EQ(record["state"], "done");
  EXPECT_EQ(record["plugin"], plugin());
  EXPECT_EQ(record["netconf"], conf);
  EXPECT_EQ(record["result"], result);
  EXPECT_EQ(record["mac"], sandbox_interface(result)["mac"]);
  EXPECT_EQ(record["mtu"], 1450);
  EXPECT_EQ(record["netns"]["path"], pod().path());
  EXPECT_TRUE(record.contains("network_id"));
  EXPECT_EQ(owned_link_of(id_of())["ifalias"],
            "vmlane:" + id_of() + ":" + record["boot_id"].get<std::string>());
}

VMLANE_FOR_EACH_LANE(ResultTest);
VMLANE_FOR_BRIDGE_LANES(BridgeResultTest);

}  // namespace
}  // namespace vmlane::test
