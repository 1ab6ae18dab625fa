// SPDX-License-Identifier: Apache-2.0
// DEL: success for what is gone, half made or never was; everything on the host goes, nothing of others is
// touched.
#include <sys/mount.h>

#include <filesystem>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class DelTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    before_ = snapshot();
  }
  Pod& pod() { return *pods().at("a"); }
  // DEL succeeds, says nothing, and the node is as it was before the first ADD.
  void expect_clean_del(const CniCall& call) {
    const CniOutcome outcome = run_call(call);
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
    EXPECT_SNAP_CLEAN(before_, snapshot());
  }
  CniCall del_call(const Json& conf) { return call("DEL", pod().path(), conf); }
  Snapshot before_;
};

// What only the lanes on a Linux bridge have.
class BridgeDelTest : public DelTest {};

TEST_P(DelTest, LeavesTheNodeAsBeforeTheAdd) {
  for (const Json& more :
       {Json::object(), Json({{"isGateway", true}, {"mtu", 1450}}), Json({{"isDefaultGateway", true}}),
        Json({{"ipam", nullptr}}), Json({{"hairpinMode", true}}), Json({{"promiscMode", true}})}) {
    const Json conf = config(more);
    ASSERT_CNI_OK(add(pod(), conf)) << conf;
    expect_clean_del(del_call(conf));
  }
}

TEST_P(BridgeDelTest, LeavesAnAdministratorsBridgeAsItWas) {
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "mtu", "1400", "up"});
  must({"ip", "addr", "add", "203.0.113.1/24", "dev", "br1"});
  before_ = snapshot();
  for (const Json& more :
       {Json::object(), Json({{"isGateway", true}}), Json({{"isDefaultGateway", true}, {"mtu", 1300}})}) {
    const Json conf = config(more);
    ASSERT_CNI_OK(add(pod(), conf)) << conf;
    expect_clean_del(del_call(conf));
  }
}

TEST_P(BridgeDelTest, LeavesTheGatewayAddressThatAnAdministratorGave) {
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  must({"ip", "addr", "add", "192.0.2.1/24", "dev", "br1"});
  before_ = snapshot();
  const Json conf = config({{"isGateway", true}});
  ASSERT_CNI_OK(add(pod(), conf));
  expect_clean_del(del_call(conf));
}

TEST_P(BridgeDelTest, OurGatewayAddressStaysUntilTheLastPodOfABridgeThatIsNotOurs) {
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  before_ = snapshot();
  Pod& other = make_pod("b");
  const Snapshot with_pods = snapshot();
  const Json conf = config({{"isGateway", true}});
  ASSERT_CNI_OK(add(pod(), conf, "c1"));
  ASSERT_CNI_OK(add(other, conf, "c2"));
  EXPECT_CNI_OK(del(pod().path(), conf, "c1"));
  EXPECT_EQ(addresses_of("", "br1"), std::vector<std::string>{"192.0.2.1/24"});
  EXPECT_CNI_OK(del(other.path(), conf, "c2"));
  EXPECT_SNAP_CLEAN(with_pods, snapshot());
}

TEST_P(DelTest, F001_TwiceIsSuccess) {
  ASSERT_CNI_OK(add(pod(), config()));
  expect_clean_del(del_call(config()));
  expect_clean_del(del_call(config()));
}

TEST_P(DelTest, F001_NamespaceGoneEmptyUnsetOrSomethingElse) {
  spit(directory() / "file", "");
  const std::vector<std::optional<std::string>> paths = {
      "/run/netns/a",       "", std::nullopt, (directory() / "file").string(), directory().string(),
      "/proc/999999/ns/net"};
  for (const auto& path : paths) {
    make_pod("a");
    ASSERT_CNI_OK(add(pod(), config()));
    pod().remove();
    CniCall call = del_call(config());
    call.netns = path;
    const CniOutcome outcome = run_call(call);
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
    EXPECT_EQ(link_names(""), idle_links()) << path.value_or("(unset)");
    EXPECT_TRUE(reserved_addresses().empty());
    EXPECT_FALSE(fs::exists(record_file(id_of())));
    EXPECT_CNI_OK(run_call(call)) << "twice";
  }
}

TEST_P(DelTest, NamespaceUnknownToTheCallerButAliveIsCleanedFromTheRecord) {
  for (const std::optional<std::string>& path :
       {std::optional<std::string>(""), std::optional<std::string>()}) {
    ASSERT_CNI_OK(add(pod(), config()));
    CniCall call = del_call(config());
    call.netns = path;
    expect_clean_del(call);
  }
}

TEST_P(DelTest, F001_ContainerThatWasNeverAdded) {
  for (const std::string& path : {pod().path(), std::string(), std::string("/nowhere")}) {
    CniCall call = del_call(config());
    call.container_id = "never-seen";
    call.netns = path;
    expect_clean_del(call);
  }
}

TEST_P(DelTest, F001_WhileTwentyOthersRun) {
  constexpr int kOthers = 20;
  std::vector<CniCall> calls;
  for (int i = 0; i < kOthers; i++) {
    const std::string name = "p" + std::to_string(i);
    const Pod& other = make_pod(name);
    ASSERT_CNI_OK(add(other, config(), name));
    calls.push_back(call("DEL", other.path(), config(), name));
  }
  for (int i = 0; i < kOthers; i += 2) pods().at("p" + std::to_string(i))->remove();
  for (const CniOutcome& outcome : run_at_once(calls)) {
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
  }
  EXPECT_EQ(link_names(""), idle_links());
  EXPECT_TRUE(reserved_addresses().empty());
}

TEST_P(DelTest, F062_WithAnyFormOfPrevResultOrConfigVersion) {
  const Json result = {{"cniVersion", "0.4.0"},
                       {"interfaces", Json::array()},
                       {"ips", {{{"version", "4"}, {"address", "192.0.2.2/24"}}}}};
  for (const char* version : {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", ""}) {
    ASSERT_CNI_OK(add(pod(), config({{"cniVersion", "0.4.0"}})));
    Json conf = config({{"cniVersion", version}});
    if (std::string(version) >= "0.4.0") conf["prevResult"] = result;
    expect_clean_del(del_call(conf));
  }
}

TEST_P(DelTest, ConfigThatChangedSinceTheAddDoesNotMatter) {
  ASSERT_CNI_OK(add(pod(), config()));
  Json changed = config(
      {{"bridge", "other"}, {"mtu", "now wrong"}, {"queues", 0}, {"ipam", {{"type", "no-such-ipam"}}}});
  expect_clean_del(del_call(changed));
}

TEST_P(DelTest, LostRecordIsReplacedByTheOwnerOnTheLinks) {
  for (const char* content : {"", "{\"schema\":1", "[]", "absent"}) {
    ASSERT_CNI_OK(add(pod(), config()));
    if (content == std::string("absent")) {
      fs::remove(record_file(id_of()));
    } else {
      spit(record_file(id_of()), content);
    }
    expect_clean_del(del_call(config()));
  }
}

TEST_P(DelTest, F021_SymlinkInThePlaceOfTheRecordIsNotFollowed) {
  ASSERT_CNI_OK(add(pod(), config()));
  const std::string good = slurp(record_file(id_of()));
  spit(directory() / "precious", good);
  fs::remove(record_file(id_of()));
  fs::create_symlink(directory() / "precious", record_file(id_of()));
  expect_clean_del(del_call(config()));
  EXPECT_EQ(slurp(directory() / "precious"), good);
}

TEST_P(DelTest, ForeignRecordsAreLeftAlone) {
  ASSERT_CNI_OK(add(pod(), config()));
  spit(node().attachments_dir() / "README", "notes of an administrator");
  fs::create_directory(node().attachments_dir() / (std::string(32, 'a') + ".json"));
  EXPECT_CNI_OK(del(pod().path(), config()));
  EXPECT_EQ(slurp(node().attachments_dir() / "README"), "notes of an administrator");
  EXPECT_TRUE(fs::exists(node().attachments_dir() / (std::string(32, 'a') + ".json")));
}

TEST_P(DelTest, F008_OwnNamespaceIsRefusedByAddAndHarmlessToDel) {
  spit("/run/netns/h", "");
  ASSERT_EQ(::mount("/proc/self/ns/net", "/run/netns/h", nullptr, MS_BIND, nullptr), 0);
  before_ = snapshot();
  expect_refused(call("ADD", "/run/netns/h", config()), Code::kInvalidNamespace, {"/run/netns/h"});
  EXPECT_TRUE(reserved_addresses().empty());
  expect_clean_del(call("DEL", "/run/netns/h", config()));
  ::umount("/run/netns/h");
}

TEST_P(DelTest, F008_PathThatLeadsToAnotherPodNowIsNotTouchedInside) {
  Pod& other = make_pod("b");
  const Json conf = config();
  ASSERT_CNI_OK(add(pod(), conf, "c1", "net1"));
  const CniOutcome second = add(other, conf, "c2", "net1");
  ASSERT_CNI_OK(second);
  const Json links = ip_json(other.path(), {"-d", "link"});
  const auto addresses = addresses_of(other.path(), "net1");
  ASSERT_EQ(::umount("/run/netns/a"), 0);
  ASSERT_EQ(::mount("/run/netns/b", "/run/netns/a", nullptr, MS_BIND, nullptr), 0);
  EXPECT_CNI_OK(del("/run/netns/a", conf, "c1", "net1"));
  EXPECT_EQ(ip_json(other.path(), {"-d", "link"}), links);
  EXPECT_EQ(addresses_of(other.path(), "net1"), addresses);
  EXPECT_TRUE(owned_link_of(id_of("c1", "net1")).is_null());
  EXPECT_FALSE(owned_link_of(id_of("c2", "net1")).is_null());
  EXPECT_EQ(reserved_addresses().size(), 1U);
  EXPECT_CNI_OK(check(other, conf, *second.document, "c2", "net1"));
}

TEST_P(BridgeDelTest, F059_ForeignLinkWithTheDerivedNameIsWalkedAround) {
  const std::string derived = names::host_link(id_of());
  must({"ip", "link", "add", derived, "type", "bridge"});
  before_ = snapshot();
  ASSERT_CNI_OK(add(pod(), config()));
  EXPECT_EQ(owned_link_of(id_of())["ifname"], names::host_link(id_of(), 1));
  expect_clean_del(del_call(config()));
}

TEST_P(DelTest, MissingIpamPluginKeepsTheRecordForTheNextDel) {
  ASSERT_CNI_OK(add(pod(), config()));
  Json record = Json::parse(slurp(record_file(id_of())));
  record["cni_path"] = directory().string();
  spit(record_file(id_of()), record.dump());
  CniCall call = del_call(config());
  call.path = directory().string();
  const CniOutcome failed = run_call(call);
  EXPECT_NE(failed.process.status, 0) << "the address would be lost for good";
  EXPECT_NE(failed.message().find("host-local"), std::string::npos) << failed;
  expect_clean_del(del_call(config()));
}

VMLANE_FOR_EACH_LANE(DelTest);
VMLANE_FOR_BRIDGE_LANES(BridgeDelTest);

}  // namespace
}  // namespace vmlane::test
