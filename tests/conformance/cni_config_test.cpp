// SPDX-License-Identifier: Apache-2.0
// The network config on standard input: what is refused, with which code, naming what; and that nothing is
// left behind.
#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class ConfigTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }
  CniCall add_call(const Json& conf) { return call("ADD", pod().path(), conf); }
  CniCall raw_call(const std::string& text) {
    CniCall out = call("ADD", pod().path(), Json());
    out.raw_config = text;
    return out;
  }
};

// What only the lanes on a Linux bridge have.
class BridgeConfigTest : public ConfigTest {};

TEST_P(ConfigTest, UnreadableStandardInputIsAnIoError) {
  CniCall call = add_call(config());
  call.options.close_stdin = true;
  expect_refused(call, Code::kIo, {"standard input"});
}

TEST_P(ConfigTest, BrokenJsonIsPlacedByLineAndColumn) {
  expect_refused(raw_call("{\n  \"cniVersion\": \"1.1.0\",\n  \"name\" \"blue\"\n}"), Code::kDecode,
                 {"line 3, column 15"});
  expect_refused(raw_call(""), Code::kDecode, {"empty"});
  expect_refused(raw_call("not json"), Code::kDecode, {"line 1"});
  expect_refused(raw_call("{} {}"), Code::kDecode, {"line 1, column 4"});
  expect_refused(raw_call("{\"name\":\"a\",\n\"name\":\"b\"}"), Code::kDecode, {"line 2", "\"name\""});
  expect_refused(raw_call("{\"name\":\"\xff\"}"), Code::kDecode, {"line 1"});
  expect_refused(raw_call(std::string(100'000, '[')), Code::kDecode, {"64 levels"});
  expect_refused(raw_call(config().dump().substr(0, 40)), Code::kDecode, {"line 1"});
}

TEST_P(ConfigTest, ConfigMustBeAnObject) {
  for (const char* text : {"[]", "7", "null", "\"x\""})
    expect_refused(raw_call(text), Code::kDecode, {"object"});
}

TEST_P(ConfigTest, NetworkNameIsRequired) {
  const CniOutcome missing = run_call(add_call(config({{"name", nullptr}})));
  EXPECT_CNI_ERROR(missing, Code::kInvalidConfig);
  EXPECT_EQ(missing.message(), "missing network name");
  EXPECT_EQ(run_call(add_call(config({{"name", ""}}))).message(), "missing network name");
  expect_refused(add_call(config({{"name", 7}})), Code::kInvalidConfig, {"name", "7"});
}

TEST_P(ConfigTest, F021_HostileNetworkNamesAreRefused) {
  for (const std::string& name :
       {std::string("."), std::string(".."), std::string("../../tmp/x"), std::string("/etc/passwd"),
        std::string("a/b"), std::string("a\0b", 3), std::string(300, 'a'), std::string("a\nb"),
        std::string("-rf"), std::string("a b"),
        std::string("\xd0\xb0"
                    "bc")}) {
    expect_refused(add_call(config({{"name", name}})), Code::kInvalidConfig, {"network name"});
  }
}

TEST_P(ConfigTest, NameIsJudgedBeforeTheVersion) {
  for (const char* version : {"9.9.9", "no version"}) {
    const CniOutcome outcome = run_call(add_call(config({{"name", nullptr}, {"cniVersion", version}})));
    EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  }
}

TEST_P(ConfigTest, F062_UnknownVersionsAreRefusedWithTheSupportedOnes) {
  for (const char* version : {"9.9.9", "0.1.0", "0.2.0", "1.1.1"}) {
    const CniOutcome outcome = run_call(add_call(config({{"cniVersion", version}})));
    EXPECT_CNI_ERROR(outcome, Code::kIncompatibleVersion);
    EXPECT_EQ(outcome.message(), "incompatible CNI versions");
    EXPECT_EQ(outcome.details(),
              std::string("config is \"") + version + "\", plugin supports [0.3.0 0.3.1 0.4.0 1.0.0 1.1.0]");
  }
  expect_refused(add_call(config({{"cniVersion", "one"}})), Code::kIncompatibleVersion, {"one"});
  expect_refused(add_call(config({{"cniVersion", 1.1}})), Code::kDecode, {"cniVersion"});
}

TEST_P(ConfigTest, F062_ConfigWithoutVersionCountsAs010) {
  const CniOutcome outcome = run_call(add_call(config({{"cniVersion", nullptr}})));
  EXPECT_CNI_ERROR(outcome, Code::kIncompatibleVersion);
  EXPECT_NE(outcome.details().find("\"0.1.0\""), std::string::npos) << outcome;
}

TEST_P(ConfigTest, OperationsNeedTheVersionThatBroughtThem) {
  struct Case {
    const char* command;
    const char* version;
    const char* message;
  };
  for (const Case& c : {Case{"CHECK", "0.3.1", "config version does not allow CHECK"},
                        Case{"GC", "1.0.0", "config version does not allow GC"},
                        Case{"STATUS", "1.0.0", "config version does not allow STATUS"},
                        Case{"CHECK", "9.9.9", "plugin version does not allow CHECK"},
                        Case{"GC", "9.9.9", "plugin version does not allow GC"},
                        Case{"STATUS", "9.9.9", "plugin version does not allow STATUS"}}) {
    const CniOutcome outcome = run_call(call(c.command, pod().path(), config({{"cniVersion", c.version}})));
    EXPECT_CNI_ERROR(outcome, Code::kIncompatibleVersion);
    EXPECT_EQ(outcome.message(), c.message);
  }
}

TEST_P(ConfigTest, CheckNeedsPrevResult) {
  const CniOutcome outcome = run_call(call("CHECK", pod().path(), config()));
  EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  EXPECT_EQ(outcome.message(), "missing prevResult");
}

TEST_P(ConfigTest, ErrorsCarryTheConfigsVersion) {
  for (const char* version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const CniOutcome outcome = run_call(add_call(config({{"cniVersion", version}, {"mtu", "x"}})));
    EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
    EXPECT_EQ((*outcome.document)["cniVersion"], version);
  }
}

TEST_P(ConfigTest, WrongValuesOfKnownKeysAreNamedWithKeyAndValue) {
  struct Case {
    const char* key;
    Json value;
  };
  // The key that names what the NIC is on.
  const char* ground = is_macvtap() ? "lowerDevice" : "bridge";
  std::vector<Case> cases = {{ground, 7},
                             {ground, "a/b"},
                             {ground, ".."},
                             {ground, "sixteen-bytes-xx"},
                             {ground, "a b"},
                             {ground, "br%d"},
                             {"mtu", "1500"},
                             {"mtu", 1.5},
                             {"mtu", -1},
                             {"mtu", 67},
                             {"mtu", 65536},
                             {"mtu", 70000},
                             {"mtu", 18446744073709551615ULL},
                             {"promiscMode", "no"},
                             {"mac", 7},
                             {"ipam", "host-local"},
                             {"dns", 7},
                             {"runtimeConfig", 7},
                             {"args", "x"}};
  const std::vector<Case> own = is_macvtap() ? std::vector<Case>{{"mode", "source"}, {"mode", 1}}
                                             : std::vector<Case>{{"isGateway", "yes"},
                                                                 {"isGateway", 1},
                                                                 {"hairpinMode", 0},
                                                                 {"isDefaultGateway", Json::array()}};
  cases.insert(cases.end(), own.begin(), own.end());
  if (is_guest_lane()) {
    for (const Case& c : std::initializer_list<Case>{{"queues", 0},
                                                     {"queues", 257},
                                                     {"queues", "2"},
                                                     {"owner", -1},
                                                     {"owner", "root"},
                                                     {"group", 4294967295}}) {
      cases.push_back(c);
    }
  }
  for (const Case& c : cases) {
    Json conf = config();
    conf[c.key] = c.value;
    const std::string value = conf[c.key].is_string() ? conf[c.key].get<std::string>() : conf[c.key].dump();
    expect_refused(add_call(conf), Code::kInvalidConfig, {c.key, value});
  }
}

TEST_P(BridgeConfigTest, ContradictionsAreRefused) {
  expect_refused(add_call(config({{"isGateway", true}, {"ipam", nullptr}})), Code::kInvalidConfig,
                 {"isGateway", "ipam"});
  expect_refused(add_call(config({{"isDefaultGateway", true}, {"ipam", Json::object()}})),
                 Code::kInvalidConfig, {"isDefaultGateway", "ipam"});
  expect_refused(add_call(config({{"hairpinMode", true}, {"promiscMode", true}})), Code::kInvalidConfig,
                 {"hairpinMode", "promiscMode"});
}

TEST_P(BridgeConfigTest, MtuAboveTheBridgeIsRefused) {
  must({"ip", "link", "add", "br1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "mtu", "1400", "up"});
  expect_refused(add_call(config({{"mtu", 1450}})), Code::kInvalidConfig, {"mtu", "1450", "br1", "1400"});
  EXPECT_TRUE(reserved_addresses().empty());
}

TEST_P(ConfigTest, MtuBelowWhatIpv6NeedsIsRefusedWhereThereAreSuchAddresses) {
  Json dual_stack = host_local();
  dual_stack["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
  expect_refused(add_call(config({{"mtu", 1279}, {"ipam", dual_stack}})), Code::kInvalidConfig,
                 {"key \"mtu\" is 1279", "2001:db8:1::", "1280"});
  EXPECT_TRUE(reserved_addresses().empty());
  const std::string below = is_macvtap() ? kLowerDevice : "br1";
  if (!is_macvtap()) must({"ip", "link", "add", below, "type", "bridge"});
  must({"ip", "link", "set", below, "mtu", "1200", "up"});
  expect_refused(add_call(config({{"ipam", dual_stack}})), Code::kInvalidConfig, {"\"mtu\"", "1200", "1280"});
  EXPECT_CNI_OK(add(pod(), config({{"mtu", 68}})));
  EXPECT_EQ(link_of(pod().path(), "eth0")["mtu"], 68);
}

TEST_P(ConfigTest, LeastMtuOfIpv6IsEnoughForIt) {
  Json dual_stack = host_local();
  dual_stack["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
  EXPECT_CNI_OK(add(pod(), config({{"mtu", 1280}, {"ipam", dual_stack}})));
}

TEST_P(ConfigTest, KeysOfTheReferencePluginSayingNothingAreAccepted) {
  EXPECT_CNI_OK(add(
      pod(),
      config(
          {{"forceAddress", false}, {"vlan", 0}, {"vlanTrunk", Json::array()}, {"portIsolation", false}})));
}

TEST_P(ConfigTest, UnknownKeysAreToleratedAndLogged) {
  EXPECT_CNI_OK(add(
      pod(),
      config({{"nobodyKnowsThis", {{"deep", true}}}, {"capabilities", {{"mac", true}}}, {"cni.dev/x", 1}})));
  const std::string log = slurp(log_file());
  EXPECT_NE(log.find("nobodyKnowsThis"), std::string::npos) << log;
  EXPECT_EQ(log.find("key=capabilities"), std::string::npos) << "a key of the specification is not unknown";
}

TEST_P(BridgeConfigTest, LinkOfTheBridgesNameThatIsNoBridgeIsAConflict) {
  must({"ip", "link", "add", "br1", "type", "veth", "peer", "name", "br1-peer"});
  expect_refused(add_call(config()), Code::kConflict, {"br1", "veth"});
  EXPECT_TRUE(reserved_addresses().empty());
}

TEST_P(BridgeConfigTest, GatewayThatClashesWithTheBridgesAddressIsAConflict) {
  must({"ip", "link", "add", "br1", "type", "bridge"});
  must({"ip", "addr", "add", "192.0.2.77/24", "dev", "br1"});
  must({"ip", "link", "set", "br1", "up"});
  expect_refused(add_call(config({{"isGateway", true}})), Code::kConflict,
                 {"br1", "192.0.2.77/24", "192.0.2.1"});
}

TEST_P(ConfigTest, MissingIpamPluginIsNamed) {
  const Snapshot before = snapshot();
  const CniOutcome outcome = run_call(add_call(config({{"ipam", {{"type", "no-such-ipam"}}}})));
  EXPECT_NE(outcome.process.status, 0);
  EXPECT_NE(outcome.message().find("no-such-ipam"), std::string::npos) << outcome;
  EXPECT_SNAP_CLEAN(before, snapshot());
  EXPECT_CNI_OK(del(pod().path(), config({{"ipam", {{"type", "no-such-ipam"}}}})))
      << "an ADD without that program took nothing";
}

TEST_P(ConfigTest, F021_HostilePluginTypesAreRefused) {
  for (const std::string& type : {std::string("../../bin/sh"), std::string("/bin/sh"), std::string(".."),
                                  std::string("."), std::string("a/b"), std::string("-rf"), std::string(""),
                                  std::string("a\nb"), std::string("a\0b", 3), std::string(300, 'a')}) {
    expect_refused(add_call(config({{"ipam", {{"type", type}}}})), Code::kInvalidConfig, {"ipam.type"});
  }
  expect_refused(add_call(config({{"ipam", {{"range", "x"}}}})), Code::kInvalidConfig, {"ipam.type"});
}

TEST_P(ConfigTest, F021_HostileDeviceIdsAreRefused) {
  for (const std::string& id :
       {std::string(".."), std::string("../../tmp/x"), std::string("/etc/passwd"), std::string("a/b"),
        std::string("a b"), std::string("a\nb"), std::string("a\0b", 3), std::string(300, 'a'),
        std::string("\xd0\xb0"
                    "bc")}) {
    expect_refused(add_call(config({{"deviceID", id}})), Code::kInvalidConfig, {"deviceID"});
    expect_refused(add_call(config({{"pciBusID", id}})), Code::kInvalidConfig, {"deviceID"});
    expect_refused(add_call(config({{"runtimeConfig", {{"deviceID", id}}}})), Code::kInvalidConfig,
                   {"deviceID"});
  }
}

TEST_P(BridgeConfigTest, DeviceIdOfMultusIsAccepted) {
  EXPECT_CNI_OK(add(pod(), config({{"deviceID", "0000:03:02.1"}, {"pciBusID", "0000:03:02.1"}})));
}

TEST_P(ConfigTest, ErrorOfTheIpamPluginComesThrough) {
  // The range is a host route: host-local itself says what is wrong with it.
  const Snapshot before = snapshot();
  const CniOutcome outcome = run_call(add_call(config({{"ipam", host_local("192.0.2.0/32")}})));
  EXPECT_NE(outcome.process.status, 0);
  EXPECT_GE(outcome.code(), 0) << outcome;
  EXPECT_NE((outcome.message() + outcome.details()).find("192.0.2.0"), std::string::npos) << outcome;
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ConfigTest, BrokenPrevResultIsRefusedForAddAndForgivenForDel) {
  for (const Json& broken :
       {Json(7), Json({{"interfaces", 7}}), Json({{"ips", {{{"address", "nonsense"}}}}}),
        Json({{"ips", {{{"address", "192.0.2.9/24"}, {"interface", 5}}}}}), Json({{"cniVersion", "x"}})}) {
    expect_refused(
        add_call(config({{"prevResult", broken}})),
        broken.is_object() && broken.contains("cniVersion") ? Code::kIncompatibleVersion : Code::kDecode,
        broken.is_object() && broken.contains("cniVersion") ? std::vector<std::string>{"x"}
                                                            : std::vector<std::string>{"prevResult"});
    EXPECT_CNI_OK(del(pod().path(), config({{"prevResult", broken}})));
  }
}

TEST_P(ConfigTest, NamespaceThatIsNotThereIsNamed) {
  expect_refused(call("ADD", "/run/netns/nowhere", config()), Code::kUnknownContainer,
                 {"/run/netns/nowhere"});
  spit(directory() / "file", "");
  expect_refused(call("ADD", (directory() / "file").string(), config()), Code::kUnknownContainer,
                 {(directory() / "file").string()});
  expect_refused(call("ADD", directory().string(), config()), Code::kUnknownContainer,
                 {directory().string()});
}

VMLANE_FOR_EACH_LANE(ConfigTest);
VMLANE_FOR_BRIDGE_LANES(BridgeConfigTest);

class GuestConfigTest : public LaneTest {};

TEST_P(GuestConfigTest, DhcpIsRefusedWhereItCannotWork) {
  Pod& pod = make_pod("a");
  expect_refused(call("ADD", pod.path(), config({{"ipam", {{"type", "dhcp"}}}})), Code::kUnsupportedField,
                 {"ipam.type", "dhcp"});
}

VMLANE_INSTANTIATE_FOR(GuestConfigTest, "vmlane-tap", "vmlane-macvtap");

}  // namespace
}  // namespace vmlane::test
