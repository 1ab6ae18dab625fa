// SPDX-License-Identifier: Apache-2.0
// Whose NIC it is: pod facts, MACs that stay with the workload, one owner of a MAC on a segment, and what a
// new sandbox of a pod takes over from one that is gone. Contracts 2.2 to 2.4; field cases F002, F022, F052.
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/conformance/lane_test.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

constexpr const char* kMac = "02:00:00:00:00:42";

class IdentityTest : public LaneTest {
 protected:
  // ADD by a container whose CNI_ARGS say that it is that pod.
  CniCall call_of(const std::string& container, const std::string& pod_name, const Json& conf,
                  const std::string& uid = "") {
    CniCall out = call("ADD", "/run/netns/" + container, conf, container);
    out.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + pod_name;
    if (!uid.empty()) *out.args += ";K8S_POD_UID=" + uid;
    return out;
  }
  CniOutcome add_as(const std::string& container, const std::string& pod_name, const Json& conf,
                    const std::string& uid = "") {
    if (!pods().contains(container)) make_pod(container);
    return run_call(call_of(container, pod_name, conf, uid));
  }
  CniOutcome del_of(const std::string& container, const Json& conf) {
    return del("/run/netns/" + container, conf, container);
  }
  Json record_of(const std::string& container) {
    return Json::parse(slurp(record_file(id_of(container))), nullptr, false);
  }
  static std::string mac_in(const CniOutcome& outcome) {
    return outcome.document ? sandbox_interface(*outcome.document).value("mac", "") : "";
  }
  void write_facts(const std::string& uid, const Json& more) {
    std::filesystem::create_directories(node().pods_dir());
    Json facts = {{"schema", 1}, {"namespace", "blue"}, {"name", "virt-launcher-vm1-abcde"}, {"uid", uid}};
    facts.update(more);
    spit(node().pods_dir() / (uid + ".json"), facts.dump());
  }
};

// What only the lanes on a Linux bridge have.
class BridgeIdentityTest : public IdentityTest {};

TEST_P(IdentityTest, F052_MacStaysWithTheVmAndNotWithItsPod) {
  const std::string first = mac_in(add_as("c1", "virt-launcher-vm1-abcde", config()));
  EXPECT_TRUE(first.starts_with("02:"));
  ASSERT_CNI_OK(del_of("c1", config()));
  const std::string other_vm = mac_in(add_as("c2", "virt-launcher-vm2-abcde", config()));
  EXPECT_NE(other_vm, first);
  EXPECT_EQ(mac_in(add_as("c3", "virt-launcher-vm1-fghij", config())), first);
  EXPECT_EQ(record_of("c3")["pod"]["vm"], "vm1");
  ASSERT_CNI_OK(del_of("c3", config()));
  // Another network, another interface: another NIC.
  Json red = config({{"name", "red"}, {"bridge", "br2"}});
  EXPECT_NE(mac_in(add_as("c4", "virt-launcher-vm1-klmno", red)), first);
  CniCall net1 = call_of("c5", "virt-launcher-vm1-pqrst", config());
  make_pod("c5");
  net1.ifname = "net1";
  EXPECT_NE(mac_in(run_call(net1)), first);
}

TEST_P(IdentityTest, F052_MacOfAPodStaysWithItsName) {
  const std::string first = mac_in(add_as("c1", "web-0", config()));
  ASSERT_CNI_OK(del_of("c1", config()));
  EXPECT_EQ(mac_in(add_as("c2", "web-0", config())), first);
  EXPECT_NE(mac_in(add_as("c3", "web-1", config())), first);
}

TEST_P(IdentityTest, F052_MacInUseOnTheSegmentIsRefusedWithItsOwner) {
  const Json conf = config({{"mac", kMac}});
  ASSERT_CNI_OK(add_as("c1", "db-0", conf));
  make_pod("c2");
  expect_refused(call_of("c2", "web-0", conf), Code::kConflict,
                 {kMac, "pod blue/db-0", "c1", "eth0", is_macvtap() ? kLowerDevice : "br1"});
  // Another config on the same bridge or device is the same segment; another bridge or device is not.
  expect_refused(call_of("c2", "web-0", config({{"mac", kMac}, {"name", "green"}})), Code::kConflict,
                 {kMac, "blue/db-0"});
  if (is_macvtap()) make_lower("lower2");
  const Json elsewhere = is_macvtap() ? Json({{"lowerDevice", "lower2"}}) : Json({{"bridge", "br2"}});
  EXPECT_CNI_OK(add_as("c2", "web-0", overlaid(config({{"mac", kMac}, {"name", "red"}}), elsewhere)));
  // Free again with its owner's end.
  ASSERT_CNI_OK(del_of("c1", conf));
  EXPECT_CNI_OK(add_as("c3", "web-1", conf));
}

TEST_P(BridgeIdentityTest, F052_BothLanesKnowOfEachOthersMacs) {
  const std::string other = is_tap() ? "vmlane-veth" : "vmlane-tap";
  Json conf = config({{"mac", kMac}, {"type", other}});
  make_pod("c1");
  ASSERT_CNI_OK(run_plugin(other, call_of("c1", "db-0", conf), node_json()));
  make_pod("c2");
  expect_refused(call_of("c2", "web-0", config({{"mac", kMac}})), Code::kConflict, {kMac, "blue/db-0"});
}

TEST_P(BridgeIdentityTest, F052_MacOfTheBridgeIsRefused) {
  must({"ip", "link", "add", "br1", "address", kMac, "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  make_pod("c1");
  expect_refused(call_of("c1", "web-0", config({{"mac", kMac}})), Code::kConflict, {kMac, "bridge br1"});
}

TEST_P(IdentityTest, F052_TwoNicsOfOnePodDoNotShareAMac) {
  const Json conf = config({{"mac", kMac}});
  ASSERT_CNI_OK(add_as("c1", "web-0", conf));
  CniCall second = call_of("c1", "web-0", conf);
  second.ifname = "net1";
  expect_refused(second, Code::kConflict, {kMac, "eth0"});
}

TEST_P(BridgeIdentityTest, F052_MigrationTargetSharesItsSourcesMacAndGivesItBack) {
  const Json conf = config({{"mac", kMac}, {"ipam", nullptr}});
  write_facts("u1", {{"vm", {{"name", "vm1"}, {"uid", "v1"}}}});
  write_facts("u2",
              {{"vm", {{"name", "vm1"}, {"uid", "v1"}}}, {"migration", {{"uid", "m1"}, {"role", "target"}}}});
  write_facts("u3",
              {{"vm", {{"name", "vm2"}, {"uid", "v2"}}}, {"migration", {{"uid", "m2"}, {"role", "target"}}}});
  ASSERT_CNI_OK(add_as("c1", "virt-launcher-vm1-abcde", conf, "u1"));
  // Of another VM, migration or not.
  const auto expect_owner = [&](const std::string& container) {
    const CniOutcome outcome = add_as("c3", "virt-launcher-vm2-abcde", conf, "u3");
    EXPECT_CNI_ERROR(outcome, Code::kConflict);
    EXPECT_NE(outcome.message().find("VM blue/vm1 (container " + container), std::string::npos) << outcome;
  };
  expect_owner("c1");
  ASSERT_CNI_OK(add_as("c2", "virt-launcher-vm1-fghij", conf, "u2"));
  EXPECT_EQ(record_of("c2")["pod"]["migration"], "m1");
  // The migration is aborted: the source is the owner again.
  ASSERT_CNI_OK(del_of("c2", conf));
  expect_owner("c1");
  // It succeeds: the target is.
  ASSERT_CNI_OK(add_as("c2", "virt-launcher-vm1-fghij", conf, "u2"));
  ASSERT_CNI_OK(del_of("c1", conf));
  expect_owner("c2");
  ASSERT_CNI_OK(del_of("c2", conf));
  EXPECT_CNI_OK(add_as("c3", "virt-launcher-vm2-abcde", conf, "u3"));
}

TEST_P(IdentityTest, SecondSandboxOfAVmWaitsForTheFirstAndSaysWhatIsMissingForAMigration) {
  ASSERT_CNI_OK(add_as("c1", "virt-launcher-vm1-abcde", config()));
  make_pod("c2");
  expect_refused(call_of("c2", "virt-launcher-vm1-fghij", config()), Code::kTryAgain,
                 {"VM blue/vm1", "c1", "still runs", "migration", node().pods_dir().string()});
}

TEST_P(IdentityTest, SandboxesOfPodsWithOneNameLiveSideBySide) {
  constexpr int kCount = 6;
  std::vector<CniCall> calls;
  for (int i = 0; i < kCount; i++) {
    make_pod("c" + std::to_string(i));
    calls.push_back(call_of("c" + std::to_string(i), "web-0", config()));
  }
  std::set<std::string> macs;
  for (const CniOutcome& outcome : run_at_once(calls)) {
    ASSERT_CNI_OK(outcome);
    macs.insert(mac_in(outcome));
  }
  EXPECT_EQ(macs.size(), static_cast<std::size_t>(kCount));
}

TEST_P(IdentityTest, F002_StaticAddressAndMacAreTakenOverOnlyWhenTheOldSandboxIsGone) {
  Json conf = config({{"mac", kMac}, {"runtimeConfig", {{"ips", {"192.0.2.77/24"}}}}});
  conf["ipam"] = {{"type", "static"}, {"addresses", {{{"address", "192.0.2.77/24"}}}}};
  ASSERT_CNI_OK(add_as("c1", "virt-launcher-vm1-abcde", conf));
  make_pod("c2");
  expect_refused(call_of("c2", "virt-launcher-vm1-fghij", conf), Code::kTryAgain, {kMac, "c1"});
  pods().at("c1")->remove();
  ASSERT_CNI_OK(add_as("c2", "virt-launcher-vm1-fghij", conf));
  EXPECT_FALSE(std::filesystem::exists(record_file(id_of("c1")))) << "the attachment of the lost DEL is gone";
  // The runtime's late DEL of the old sandbox takes nothing from the new one.
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(del_of("c1", conf));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(IdentityTest, F022_OldReservationOfAPodIsFreedOnceItsSandboxIsGone) {
  Json conf = config();
  conf["ipam"]["ranges"] = {{{{"subnet", "192.0.2.0/30"}}}};  // gateway and one address
  ASSERT_CNI_OK(add_as("c1", "web-0", conf));
  EXPECT_EQ(reserved_addresses(), std::vector<std::string>{"192.0.2.2"});
  // The same pod under a new container id, while the old sandbox is there: not freed.
  EXPECT_FALSE(add_as("c2", "web-0", conf).ok());
  EXPECT_EQ(reserved_addresses(), std::vector<std::string>{"192.0.2.2"});
  pods().at("c1")->remove();
  // Another pod does not get what a lost DEL left: the runtime may still send it.
  EXPECT_FALSE(add_as("c3", "web-1", conf).ok());
  ASSERT_CNI_OK(add_as("c2", "web-0", conf));
  EXPECT_EQ(reserved_addresses(), std::vector<std::string>{"192.0.2.2"});
  EXPECT_TRUE(slurp(ipam_dir() / "blue" / "192.0.2.2").starts_with("c2"));
}

TEST_P(IdentityTest, FactsGoBeforeTheNameOfThePod) {
  write_facts("u1", {{"name", "any-name"}, {"vm", {{"name", "vm1"}}}});
  ASSERT_CNI_OK(add_as("c1", "any-name", config(), "u1"));
  const Json pod = record_of("c1")["pod"];
  EXPECT_EQ(pod["vm"], "vm1");
  EXPECT_EQ(pod["uid"], "u1");
  EXPECT_EQ(pod["namespace"], "blue");
}

TEST_P(IdentityTest, UnreadableFactsAreLoggedAndDoneWithout) {
  std::filesystem::create_directories(node().pods_dir());
  for (const char* bad : {"", "{", "[]", R"({"schema":2})", R"({"schema":1,"vm":7})"}) {
    spit(node().pods_dir() / "u1.json", bad);
    ASSERT_CNI_OK(add_as("c1", "virt-launcher-vm1-abcde", config(), "u1")) << bad;
    EXPECT_EQ(record_of("c1")["pod"]["vm"], "vm1") << bad;
    ASSERT_CNI_OK(del_of("c1", config()));
  }
  EXPECT_NE(slurp(log_file()).find("facts about the pod cannot be used"), std::string::npos);
}

TEST_P(IdentityTest, F021_UidThatIsNoFileNameIsRefused) {
  make_pod("c1");
  for (const char* bad : {"../../etc/passwd", "..", "a/b", "-rf"}) {
    expect_refused(call_of("c1", "web-0", config(), bad), Code::kBadEnvironment, {"K8S_POD_UID"});
  }
}

// A socket in the agent's place that accepts connections as long as it lives.
class Listener {
 public:
  explicit Listener(const std::filesystem::path& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    std::filesystem::create_directories(path.parent_path());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(path.string(), address.sun_path);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(fd_.get(), 8), 0);
  }

 private:
  Fd fd_;
};

TEST_P(IdentityTest, FactsAreWaitedForOnlyWhileAnAgentListens) {
  using Clock = std::chrono::steady_clock;
  configure_node({{"podFactsTimeout", 1500}});
  auto start = Clock::now();
  ASSERT_CNI_OK(add_as("c1", "web-0", config(), "u1"));
  EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(1400)) << "no agent, no waiting";
  {
    const Listener agent(node().agent_socket());
    std::thread writer([&] {
      sleep_ms(300);
      write_facts("u2", {{"name", "web-1"}, {"vm", {{"name", "vm7"}}}});
    });
    ASSERT_CNI_OK(add_as("c2", "web-1", config(), "u2"));
    writer.join();
    EXPECT_EQ(record_of("c2")["pod"]["vm"], "vm7");
    start = Clock::now();
    ASSERT_CNI_OK(add_as("c3", "web-2", config(), "u3")) << "an agent that never answers delays, no more";
    EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(1500));
  }
  // The agent is gone, its socket's file is not.
  start = Clock::now();
  ASSERT_CNI_OK(add_as("c4", "web-3", config(), "u4"));
  EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(1400));
}

VMLANE_FOR_EACH_LANE(IdentityTest);
VMLANE_FOR_BRIDGE_LANES(BridgeIdentityTest);

}  // namespace
}  // namespace vmlane::test
