// SPDX-License-Identifier: Apache-2.0
// CHECK tells what was altered since ADD, GC removes what the runtime does not list, STATUS says whether an
// ADD could work.
#include <filesystem>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class CheckTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    conf_ = config({{"isDefaultGateway", true}});
    const CniOutcome outcome = add(pod(), conf_);
    ASSERT_CNI_OK(outcome);
    result_ = *outcome.document;
  }
  Pod& pod() { return *pods().at("a"); }
  void in_pod(const std::vector<std::string>& argv) {
    const RunResult ran = pod().run(argv);
    ASSERT_TRUE(ran.ok()) << argv[0] << ": " << ran.err;
  }
  void expect_good() {
    const CniOutcome outcome = check(pod(), conf_, result_);
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
  }
  void expect_changed(const std::vector<std::string>& culprits) {
    const CniOutcome outcome = check(pod(), conf_, result_);
    EXPECT_CNI_ERROR(outcome, Code::kChanged);
    for (const std::string& culprit : culprits)
      EXPECT_NE(outcome.message().find(culprit), std::string::npos) << culprit << "\n" << outcome;
  }
  Json conf_;
  Json result_;
};

// What only the lanes on a Linux bridge have.
class BridgeCheckTest : public CheckTest {};

TEST_P(CheckTest, FindsAFreshAttachmentGood) {
  expect_good();
  expect_good();
}

TEST_P(CheckTest, ToleratesWhatLaterPluginsAdd) {
  in_pod({"ip", "addr", "add", "203.0.113.9/24", "dev", "eth0"});
  in_pod({"ip", "link", "add", "later0", "type", "veth", "peer", "name", "later1"});
  Json more = result_;
  more["interfaces"].push_back({{"name", "later0"}, {"sandbox", pod().path()}});
  const CniOutcome outcome = check(pod(), conf_, more);
  EXPECT_CNI_OK(outcome);
}

TEST_P(CheckTest, TellsATamperedMac) {
  in_pod({"ip", "link", "set", "eth0", "address", "02:00:00:00:00:66"});
  expect_changed({"MAC", "eth0", "02:00:00:00:00:66", sandbox_interface(result_)["mac"]});
}

TEST_P(CheckTest, TellsATamperedMtu) {
  in_pod({"ip", "link", "set", "eth0", "mtu", "1300"});
  expect_changed({"MTU", "eth0", "1300", "1500"});
}

TEST_P(CheckTest, TellsADeletedLink) {
  in_pod({"ip", "link", "del", "eth0"});
  expect_changed({"gone"});
}

TEST_P(BridgeCheckTest, TellsAPortTakenOutOfTheBridge) {
  const std::string host = owned_link_of(id_of())["ifname"];
  must({"ip", "link", "set", host, "nomaster"});
  expect_changed({host, "br1"});
}

TEST_P(BridgeCheckTest, TellsADownHostLink) {
  const std::string host = owned_link_of(id_of())["ifname"];
  must({"ip", "link", "set", host, "down"});
  expect_changed({host, "down"});
}

TEST_P(BridgeCheckTest, TellsADeletedBridge) {
  must({"ip", "link", "del", "br1"});
  expect_changed({"br1"});
}

TEST_P(CheckTest, TellsAnAddressThatIpamLost) {
  fs::remove_all(ipam_dir() / "blue");
  const CniOutcome outcome = check(pod(), conf_, result_);
  EXPECT_NE(outcome.process.status, 0);
  EXPECT_GE(outcome.code(), 0) << outcome;
}

TEST_P(CheckTest, TellsANamespaceThatIsAnotherOne) {
  make_pod("b");
  const CniOutcome outcome = check(*pods().at("b"), conf_, result_);
  EXPECT_CNI_ERROR(outcome, Code::kChanged);
  EXPECT_NE(outcome.message().find("/run/netns/b"), std::string::npos) << outcome;
}

TEST_P(CheckTest, TellsAContainerThatWasNeverAdded) {
  const CniOutcome outcome = check(pod(), conf_, result_, "c2");
  EXPECT_CNI_ERROR(outcome, Code::kUnknownContainer);
  EXPECT_NE(outcome.message().find("c2"), std::string::npos) << outcome;
}

TEST_P(CheckTest, ChangesNothing) {
  const Snapshot good = snapshot();
  expect_good();
  EXPECT_SNAP_CLEAN(good, snapshot());
  in_pod({"ip", "link", "set", "eth0", "mtu", "1300"});
  const Snapshot tampered = snapshot();
  expect_changed({"MTU"});
  EXPECT_SNAP_CLEAN(tampered, snapshot());
}

VMLANE_FOR_EACH_LANE(CheckTest);
VMLANE_FOR_BRIDGE_LANES(BridgeCheckTest);

class TapCheckTest : public CheckTest {};

TEST_P(TapCheckTest, TellsADeletedTap) {
  in_pod({"ip", "link", "del", "tap0"});
  expect_changed({"tap0"});
}

TEST_P(TapCheckTest, TellsATapOfAnotherOwner) {
  in_pod({"ip", "link", "del", "tap0"});
  in_pod({"ip", "tuntap", "add", "tap0", "mode", "tap", "user", "1000", "vnet_hdr"});
  expect_changed({"tap0", "1000"});
}

TEST_P(TapCheckTest, TellsATapThatIsNotSpliced) {
  in_pod({"ip", "link", "del", "tap0"});
  in_pod({"ip", "tuntap", "add", "tap0", "mode", "tap", "user", "107", "group", "107", "vnet_hdr"});
  in_pod({"ip", "link", "set", "tap0", "up"});
  expect_changed({"tap0"});
}

VMLANE_FOR_TAP(TapCheckTest);

class VethCheckTest : public CheckTest {};

TEST_P(VethCheckTest, TellsALostAddress) {
  in_pod({"ip", "addr", "flush", "dev", "eth0"});
  expect_changed({"address", result_["ips"][0]["address"], "eth0"});
}

TEST_P(VethCheckTest, TellsALostRoute) {
  in_pod({"ip", "route", "del", "default"});
  expect_changed({"route", "0.0.0.0/0", "eth0"});
}

// KubeVirt's bridge binding renames the pod's link and puts another of its name, MAC and MTU in its place,
// without the addresses.
TEST_P(VethCheckTest, AcceptsWhatKubeVirtMakesOfThePodLink) {
  const std::string mac = sandbox_interface(result_)["mac"];
  in_pod({"ip", "link", "set", "eth0", "down"});
  in_pod({"ip", "link", "set", "eth0", "name", "eth0-nic"});
  in_pod({"ip", "link", "add", "eth0", "address", mac, "mtu", "1500", "type", "bridge"});
  in_pod({"ip", "link", "set", "eth0-nic", "address", "02:00:00:00:00:99"});
  in_pod({"ip", "link", "set", "eth0-nic", "up"});
  expect_good();
  EXPECT_CNI_OK(del(pod().path(), conf_)) << "and DEL finds the renamed link";
  EXPECT_EQ(link_names(pod().path()), (std::vector<std::string>{"eth0", "lo"}));
}

INSTANTIATE_TEST_SUITE_P(Lane, VethCheckTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

class GcTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    for (const char* name : {"c1", "c2", "c3"}) {
      ASSERT_CNI_OK(add(make_pod(name), config(), name));
    }
  }
  CniOutcome gc(const Json& keys) {
    Json conf = config();
    conf.update(keys);
    return run_call(call("GC", "", conf));
  }
  bool attached(const std::string& container) {
    return fs::exists(record_file(id_of(container))) && !owned_link_of(id_of(container)).is_null();
  }
  static Json entry(const std::string& container) { return {{"containerID", container}, {"ifname", "eth0"}}; }
};

TEST_P(GcTest, RemovesWhatIsNotListed) {
  const CniOutcome outcome = gc({{"cni.dev/valid-attachments", {entry("c2"), entry("unknown")}}});
  EXPECT_CNI_OK(outcome);
  EXPECT_TRUE(outcome.silent()) << outcome;
  EXPECT_FALSE(attached("c1"));
  EXPECT_TRUE(attached("c2"));
  EXPECT_FALSE(attached("c3"));
  EXPECT_EQ(reserved_addresses().size(), 1U);
  EXPECT_EQ(nics(), 1U);
}

TEST_P(GcTest, EmptyListRemovesAllOfTheNetwork) {
  EXPECT_CNI_OK(gc({{"cni.dev/valid-attachments", Json::array()}}));
  EXPECT_EQ(link_names(""), idle_links());
  EXPECT_TRUE(reserved_addresses().empty());
}

TEST_P(GcTest, WithoutAListNothingIsRemoved) {
  const Snapshot before = snapshot();
  EXPECT_CNI_OK(gc(Json::object()));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(GcTest, OlderNameOfTheListIsRead) {
  EXPECT_CNI_OK(gc({{"cni.dev/attachments", {entry("c1")}}}));
  EXPECT_TRUE(attached("c1"));
  EXPECT_FALSE(attached("c2"));
}

TEST_P(GcTest, NewerNameWinsWhenBothAreThere) {
  EXPECT_CNI_OK(gc({{"cni.dev/attachments", Json::array()},
                    {"cni.dev/valid-attachments", {entry("c1"), entry("c2"), entry("c3")}}}));
  EXPECT_TRUE(attached("c1") && attached("c2") && attached("c3"));
}

TEST_P(GcTest, OtherNetworksAndPluginsAreNotItsBusiness) {
  EXPECT_CNI_OK(gc({{"name", "green"}, {"cni.dev/valid-attachments", Json::array()}}));
  const std::string other = is_tap() ? "vmlane-veth" : "vmlane-tap";
  Json conf = config();
  conf["type"] = other;
  conf["cni.dev/valid-attachments"] = Json::array();
  EXPECT_CNI_OK(run_plugin(other, call("GC", "", conf), node_json()));
  EXPECT_TRUE(attached("c1") && attached("c2") && attached("c3"));
}

TEST_P(GcTest, BrokenListRemovesNothing) {
  const Snapshot before = snapshot();
  for (const Json& list : {Json("all"), Json::array({7}), Json::array({{{"containerID", "c1"}}}),
                           Json::array({{{"containerID", 7}, {"ifname", "eth0"}}})}) {
    const CniOutcome outcome = gc({{"cni.dev/valid-attachments", list}});
    EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
    EXPECT_NE(outcome.message().find("cni.dev/valid-attachments"), std::string::npos) << outcome;
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
}

TEST_P(GcTest, PodsThatAreGoneAreRemoved) {
  for (const auto& [name, pod] : pods()) pod->remove();
  EXPECT_CNI_OK(gc({{"cni.dev/valid-attachments", Json::array()}}));
  EXPECT_EQ(link_names(""), idle_links());
  EXPECT_TRUE(reserved_addresses().empty());
}

TEST_P(GcTest, OneFailureDoesNotStopTheRest) {
  Json record = Json::parse(slurp(record_file(id_of("c1"))));
  record["netconf"]["ipam"]["type"] = "no-such-ipam";
  spit(record_file(id_of("c1")), record.dump());
  const CniOutcome outcome = gc({{"cni.dev/valid-attachments", Json::array()}});
  EXPECT_NE(outcome.process.status, 0);
  EXPECT_NE((outcome.message() + outcome.details()).find("no-such-ipam"), std::string::npos) << outcome;
  EXPECT_FALSE(attached("c2"));
  EXPECT_FALSE(attached("c3"));
}

VMLANE_FOR_EACH_LANE(GcTest);

class StatusTest : public LaneTest {
 protected:
  CniOutcome status(const Json& conf) { return run_call(call("STATUS", "", conf)); }
  void expect_not_available(const CniOutcome& outcome, const std::string& culprit) {
    EXPECT_CNI_ERROR(outcome, Code::kNotAvailable);
    EXPECT_NE((outcome.message() + outcome.details()).find(culprit), std::string::npos) << outcome;
  }
};

// What only the lanes on a Linux bridge have.
class BridgeStatusTest : public StatusTest {};

TEST_P(StatusTest, IsSilentWhenAnAddCouldWork) {
  const CniOutcome outcome = status(config());
  EXPECT_CNI_OK(outcome);
  EXPECT_TRUE(outcome.silent()) << outcome;
  EXPECT_EQ(link_names(""), idle_links()) << "it makes nothing";
}

TEST_P(StatusTest, TellsAMissingIpamPlugin) {
  expect_not_available(status(config({{"ipam", {{"type", "no-such-ipam"}}}})), "no-such-ipam");
}

TEST_P(BridgeStatusTest, TellsALinkInTheBridgesPlace) {
  must({"ip", "link", "add", "br1", "type", "veth", "peer", "name", "br1-peer"});
  expect_not_available(status(config()), "br1");
}

TEST_P(BridgeStatusTest, TellsThatPodsAreCutOffByABridgeThatIsDown) {
  ASSERT_CNI_OK(add(make_pod("living"), config(), "living"));
  must({"ip", "link", "set", "br1", "down"});
  const CniOutcome outcome = run_call(call("STATUS", "", config()));
  EXPECT_CNI_ERROR(outcome, Code::kLimitedConnectivity);
  EXPECT_NE(outcome.message().find("br1"), std::string::npos) << outcome;
  EXPECT_NE(outcome.details().find("ip link set br1 up"), std::string::npos) << outcome;
  must({"ip", "link", "set", "br1", "up"});
  EXPECT_CNI_OK(run_call(call("STATUS", "", config())));
}

TEST_P(StatusTest, TellsAStateDirectoryThatCannotBeUsed) {
  spit(node().state_dir, "a file");
  expect_not_available(status(config()), node().state_dir.string());
}

TEST_P(StatusTest, TellsAWrongConfig) {
  const CniOutcome outcome = status(config({{"mtu", "big"}}));
  EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
}

VMLANE_FOR_EACH_LANE(StatusTest);
VMLANE_FOR_BRIDGE_LANES(BridgeStatusTest);

}  // namespace
}  // namespace vmlane::test
