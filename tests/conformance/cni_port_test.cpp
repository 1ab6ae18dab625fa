// SPDX-License-Identifier: Apache-2.0
// The bridge port's flags: portIsolation keeps workloads of a bridge apart and lets each reach the gateway;
// CHECK tells when somebody changed them.
#include "tests/conformance/lane_test.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

class PortTest : public LaneTest {
 protected:
  Json attach(const std::string& name, const Json& conf) {
    const CniOutcome outcome = add(make_pod(name), conf, name);
    EXPECT_CNI_OK(outcome);
    return outcome.document.value_or(Json::object());
  }
  const Pod& pod(const std::string& name) const { return *pods().at(name); }
  static std::string address_of(const Json& result) {
    const std::string text = result["ips"][0]["address"];
    return text.substr(0, text.find('/'));
  }
  static Json port_of(const std::string& name) {
    return host_link_of(id_of(name))["linkinfo"]["info_slave_data"];
  }
};

TEST_P(PortTest, FlagsAreThoseOfTheConfig) {
  const struct {
    const char* name;
    bool isolated;
    bool hairpin;
  } cases[] = {{"a", false, false}, {"b", true, false}, {"c", false, true}, {"d", true, true}};
  for (const auto& c : cases) {
    attach(c.name, config({{"portIsolation", c.isolated}, {"hairpinMode", c.hairpin}}));
    EXPECT_EQ(port_of(c.name)["isolated"], c.isolated) << c.name;
    EXPECT_EQ(port_of(c.name)["hairpin"], c.hairpin) << c.name;
  }
}

TEST_P(PortTest, CheckTellsAChangedFlag) {
  for (const auto& [key, flag] : {std::pair("portIsolation", "isolated"), {"hairpinMode", "hairpin"}}) {
    for (const bool on : {false, true}) {
      SCOPED_TRACE(std::string(flag) + (on ? " on" : " off"));
      const Json conf = config({{key, on}});
      const Json result = attach("a", conf);
      EXPECT_CNI_OK(check(pod("a"), conf, result, "a"));
      const std::string host = host_link_of(id_of("a"))["ifname"];
      must({"bridge", "link", "set", "dev", host, flag, on ? "off" : "on"});
      const CniOutcome outcome = check(pod("a"), conf, result, "a");
      EXPECT_CNI_ERROR(outcome, Code::kChanged);
      EXPECT_NE(outcome.message().find(host), std::string::npos) << outcome;
      EXPECT_CNI_OK(del(pod("a").path(), conf, "a"));
    }
  }
}

VMLANE_FOR_BRIDGE_LANES(PortTest);

class VethPortTest : public PortTest {};

TEST_P(VethPortTest, IsolatedPodsReachTheGatewayAndOthersButNotEachOther) {
  const Json isolated = config({{"portIsolation", true}, {"isGateway", true}});
  attach("a", isolated);
  const std::string b = address_of(attach("b", isolated));
  const std::string open = address_of(attach("open", config({{"isGateway", true}})));
  EXPECT_TRUE(reach(pod("a").path(), "192.0.2.1").all());
  EXPECT_TRUE(reach(pod("b").path(), "192.0.2.1").all());
  EXPECT_TRUE(reach(pod("a").path(), open).all());
  EXPECT_EQ(ping(pod("a").path(), b, {.count = 2}).received, 0);
}

INSTANTIATE_TEST_SUITE_P(Lane, VethPortTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

}  // namespace
}  // namespace vmlane::test
