// SPDX-License-Identifier: Apache-2.0
// ADD: all or nothing. What it takes is given back on every way out, and what is somebody else's is never
// touched.
#include <filesystem>
#include <set>

#include "tests/conformance/lane_test.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class AddTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }
  CniCall add_call(const Json& conf, const std::string& container = "c1",
                   const std::string& ifname = "eth0") {
    return call("ADD", pod().path(), conf, container, ifname);
  }
};

std::set<std::string> entries_of(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
  return names;
}

// What only the lanes on a Linux bridge have.
class BridgeAddTest : public AddTest {};

TEST_P(AddTest, F003a_FailingAddsDrainNoAddresses) {
  Json ipam = host_local("192.0.2.0/29");
  const Snapshot before = snapshot();
  const int count = rounds(30, 300);
  for (int i = 0; i < count; i++) {
    const CniOutcome outcome =
        run_call(add_call(config({{"ipam", ipam}, {"mtu", 70000}}), "c" + std::to_string(i)));
    EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  }
  // The same with an MTU that only bridge or lower device rules out, so that the failure comes after the
  // addresses were taken.
  must({"ip", "link", "add", "br2", "type", "bridge"});
  must({"ip", "link", "set", "br2", "mtu", "1400", "up"});
  must({"ip", "link", "add", "small0", "mtu", "1400", "type", "veth", "peer", "name", "small0-far"});
  must({"ip", "link", "set", "small0", "up"});
  const Json too_much = config({{"ipam", ipam},
                                {"mtu", 1500},
                                {is_macvtap() ? "lowerDevice" : "bridge", is_macvtap() ? "small0" : "br2"}});
  const Snapshot with_bridge = snapshot();
  for (int i = 0; i < count; i++) {
    const CniOutcome outcome = run_call(add_call(too_much, "d" + std::to_string(i)));
    EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  }
  EXPECT_SNAP_CLEAN(with_bridge, snapshot());
  must({"ip", "link", "del", "br2"});
  must({"ip", "link", "del", "small0"});
  EXPECT_SNAP_CLEAN(before, snapshot());
  fs::remove_all(ipam_dir() / "blue");  // with host-local's own mark of the last address it gave
  const CniOutcome good = run_call(add_call(config({{"ipam", ipam}})));
  ASSERT_CNI_OK(good);
  EXPECT_EQ((*good.document)["ips"][0]["address"], "192.0.2.2/29") << "the first address after the gateway's";
}

TEST_P(AddTest, F003b_F106_InterfaceThatIsThereIsAConflictAndStays) {
  ASSERT_TRUE(pod().run({"ip", "link", "add", "net1", "type", "veth", "peer", "name", "foreign"}).ok());
  ASSERT_TRUE(pod().run({"ip", "addr", "add", "203.0.113.9/24", "dev", "net1"}).ok());
  const Snapshot before = snapshot();
  expect_refused(add_call(config(), "c1", "net1"), Code::kConflict, {"net1"});
  EXPECT_TRUE(reserved_addresses().empty());
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(AddTest, F003c_SecondFamilyThatCannotBeHadGivesBackTheFirst) {
  Json ipam = host_local("192.0.2.0/29");
  const Json v6 = Json::array(
      {{{"subnet", "2001:db8:1::/64"}, {"rangeStart", "2001:db8:1::2"}, {"rangeEnd", "2001:db8:1::2"}}});
  ipam["ranges"].push_back(v6);
  Json only_v6 = host_local();
  only_v6["ranges"] = Json::array({v6});
  Pod& other = make_pod("b");
  ASSERT_CNI_OK(add(other, config({{"ipam", only_v6}}), "holder"));
  const Snapshot before = snapshot();
  const CniOutcome outcome = run_call(add_call(config({{"ipam", ipam}})));
  EXPECT_NE(outcome.process.status, 0) << outcome;
  EXPECT_GE(outcome.code(), 0) << outcome;
  EXPECT_SNAP_CLEAN(before, snapshot());
  EXPECT_EQ(reserved_addresses(), std::vector<std::string>{"2001:db8:1::2"});
}

TEST_P(AddTest, F106_SecondAddOfTheSameAttachmentIsAConflictAndTheFirstLives) {
  const CniOutcome first = run_call(add_call(config()));
  ASSERT_CNI_OK(first);
  expect_refused(add_call(config()), Code::kConflict, {"c1", "eth0"});
  EXPECT_CNI_OK(check(pod(), config(), *first.document));
}

TEST_P(AddTest, TwoInterfacesOfOneContainerAreTwoAttachments) {
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(run_call(add_call(config(), "c1", "net1")));
  const CniOutcome second = run_call(add_call(config(), "c1", "net2"));
  ASSERT_CNI_OK(second);
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  EXPECT_CNI_OK(check(pod(), config(), *second.document, "c1", "net2"));
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net2"));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(AddTest, RecordThatCannotBeReadIsReplacedWithAllThatItsAddMade) {
  ASSERT_CNI_OK(run_call(add_call(config())));
  spit(record_file(id_of()), "{ cut");
  ASSERT_CNI_OK(run_call(add_call(config())));
  EXPECT_EQ(nics(), 1U);
  EXPECT_EQ(reserved_addresses().size(), 1U);
  EXPECT_EQ(Json::parse(slurp(record_file(id_of())))["state"], "done");
}

TEST_P(AddTest, RecordOfAnEarlierBootIsReplacedAndItsAddressComesBack) {
  const std::string boot_id_file = (directory() / "boot_id").string();
  spit(boot_id_file, "11111111-1111-1111-1111-111111111111\n");
  configure_node({{"bootIdFile", boot_id_file}});
  ASSERT_CNI_OK(run_call(add_call(config())));
  ASSERT_EQ(reserved_addresses().size(), 1U);
  // The node restarts: links and namespaces are gone, record and IPAM directory are not.
  if (!is_macvtap()) {
    must({"ip", "link", "del", host_link_of(id_of())["ifname"].get<std::string>()});
    must({"ip", "link", "del", "br1"});
  }
  pod().remove();
  make_pod("a");
  spit(boot_id_file, "22222222-2222-2222-2222-222222222222\n");
  const CniOutcome again = run_call(add_call(config()));
  ASSERT_CNI_OK(again);
  EXPECT_EQ(reserved_addresses().size(), 1U);
  EXPECT_EQ(Json::parse(slurp(record_file(id_of())))["boot_id"], "22222222222222222222222222222222");
  EXPECT_CNI_OK(check(pod(), config(), *again.document));
}

TEST_P(AddTest, PodThatIsMadeAnewUnderTheSameIdReplacesTheOldAttachment) {
  ASSERT_CNI_OK(run_call(add_call(config())));
  pod().remove();
  make_pod("a");
  const CniOutcome again = run_call(add_call(config()));
  ASSERT_CNI_OK(again);
  EXPECT_EQ(reserved_addresses().size(), 1U);
  EXPECT_EQ(nics(), 1U);
}

TEST_P(AddTest, UnusableStateDirectoryIsNamedAndNothingIsMade) {
  fs::create_directories(node().state_dir);
  spit(node().attachments_dir(), "a file");
  const Snapshot before = snapshot();
  const CniOutcome outcome = run_call(add_call(config()));
  EXPECT_CNI_ERROR(outcome, Code::kIo);
  EXPECT_NE(outcome.message().find(node().attachments_dir().string()), std::string::npos) << outcome;
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(AddTest, DamagedNetworkTableFailsTheAddCleanly) {
  fs::create_directories(node().state_dir);
  spit(node().networks_file(), "{\"schema\":");
  const Snapshot before = snapshot();
  const CniOutcome outcome = run_call(add_call(config()));
  EXPECT_CNI_ERROR(outcome, Code::kDecode);
  EXPECT_NE(outcome.message().find(node().networks_file().string()), std::string::npos) << outcome;
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(AddTest, NothingIsMadeOutsideTheNodeConfigsDirectories) {
  // Empty here, whatever programs of this machine have there.
  const std::vector<std::string> hidden = {"/var/lib", "/var/log"};
  for (const std::string& path : hidden) must({"mount", "-t", "tmpfs", "tmpfs", path});
  const std::set<std::string> run = entries_of("/run");
  ASSERT_CNI_OK(run_call(add_call(config({{"isGateway", true}}))));
  for (const std::string& path : hidden) EXPECT_TRUE(fs::is_empty(path)) << path;
  EXPECT_EQ(entries_of(directory()),
            (std::set<std::string>{"ipam", "node.json", "run", "state", "vmlane.log"}));
  EXPECT_EQ(entries_of("/run"), run);
}

TEST_P(BridgeAddTest, BridgeMadeByUsKeepsMacAndMtuWhateverItsPortsHave) {
  const Json first = config({{"mtu", 1450}, {"isGateway", true}});
  ASSERT_CNI_OK(run_call(add_call(first, "c0", "net0")));
  const Json bridge = link_of("", "br1");
  EXPECT_EQ(bridge["mtu"], 1450);
  constexpr int kPorts = 20;
  for (int i = 0; i < kPorts; i++) {
    const std::string mac =
        i % 2 == 0 ? "02:00:00:00:00:" + std::to_string(10 + i) : "fe:ff:ff:ff:ff:" + std::to_string(10 + i);
    const std::string ifname = "net" + std::to_string(i + 1);
    ASSERT_CNI_OK(run_call(add_call(config({{"mtu", 1280 + i}, {"mac", mac}}), "c1", ifname)));
    const Json now = link_of("", "br1");
    ASSERT_EQ(now["address"], bridge["address"]) << ifname;
    ASSERT_EQ(now["mtu"], bridge["mtu"]) << ifname;
  }
  for (int i = 0; i < kPorts; i++) {
    EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net" + std::to_string(i + 1)));
    const Json now = link_of("", "br1");
    ASSERT_EQ(now["address"], bridge["address"]) << i;
    ASSERT_EQ(now["mtu"], bridge["mtu"]) << i;
  }
}

TEST_P(BridgeAddTest, F049_BridgeOfTheSameNameHasTheSameMacAgain) {
  ASSERT_CNI_OK(run_call(add_call(config())));
  const std::string mac = link_of("", "br1")["address"];
  ASSERT_CNI_OK(del(pod().path(), config()));
  ASSERT_TRUE(link_of("", "br1").is_null());
  ASSERT_CNI_OK(run_call(add_call(config())));
  EXPECT_EQ(link_of("", "br1")["address"], mac);
}

TEST_P(BridgeAddTest, F049_AdministratorsBridgeWithAnAutomaticMacIsWarnedOf) {
  must({"ip", "link", "add", "br1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  ASSERT_CNI_OK(run_call(add_call(config())));
  EXPECT_NE(slurp(log_file()).find("the bridge changes its MAC"), std::string::npos);
  spit(log_file(), "");
  must({"ip", "link", "add", "br2", "address", "02:00:00:00:00:b2", "type", "bridge"});
  must({"ip", "link", "set", "br2", "up"});
  ASSERT_CNI_OK(run_call(add_call(config({{"bridge", "br2"}}), "c1", "net2")));
  EXPECT_EQ(slurp(log_file()).find("the bridge changes its MAC"), std::string::npos);
}

TEST_P(BridgeAddTest, AdministratorsBridgeKeepsItsMtuWhenASmallPortJoins) {
  must({"ip", "link", "add", "br1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  ASSERT_CNI_OK(run_call(add_call(config({{"mtu", 1400}}))));
  EXPECT_EQ(link_of("", "br1")["mtu"], 1500);
  EXPECT_EQ(link_of(pod().path(), "eth0")["mtu"], 1400);
}

TEST_P(BridgeAddTest, HostEndIsNoEndPoint) {
  ASSERT_CNI_OK(run_call(add_call(config())));
  const Json link = owned_link_of(id_of());
  EXPECT_EQ(link["master"], "br1");
  EXPECT_EQ(link["inet6_addr_gen_mode"], "none");
  EXPECT_TRUE(addresses_of("", link["ifname"]).empty());
  EXPECT_EQ(
      test::run({"cat", "/proc/sys/net/ipv6/conf/" + link["ifname"].get<std::string>() + "/disable_ipv6"})
          .out,
      "1\n");
}

VMLANE_FOR_EACH_LANE(AddTest);
VMLANE_FOR_BRIDGE_LANES(BridgeAddTest);

class TapAddTest : public AddTest {};

TEST_P(TapAddTest, F106_ForeignTapIsAConflictAndStays) {
  ASSERT_TRUE(pod().run({"ip", "tuntap", "add", "tap0", "mode", "tap"}).ok());
  const Snapshot before = snapshot();
  expect_refused(add_call(config()), Code::kConflict, {"tap0"});
  EXPECT_CNI_OK(del(pod().path(), config()));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

VMLANE_FOR_TAP(TapAddTest);

}  // namespace
}  // namespace vmlane::test
