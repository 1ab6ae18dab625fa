// SPDX-License-Identifier: Apache-2.0
// Many calls at once, as at the start of a node: one bridge, one gateway address, distinct addresses, and no
// pod ever without its bridge.
#include <csignal>
#include <filesystem>
#include <set>

#include "tests/conformance/lane_test.h"
#include "tests/support/long_run.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

class ConcurrencyTest : public LaneTest {
 protected:
  static std::string container(int i) { return "c" + std::to_string(i); }
  void make_pods(int count) {
    for (int i = 0; i < count; i++) make_pod(container(i));
  }
  CniCall call_of(const std::string& command, int i, const Json& conf) {
    return call(command, "/run/netns/" + container(i), conf, container(i));
  }
  std::vector<CniCall> calls_of(const std::string& command, int from, int to, const Json& conf) {
    std::vector<CniCall> calls;
    for (int i = from; i < to; i++) calls.push_back(call_of(command, i, conf));
    return calls;
  }
};

// What only the lanes on a Linux bridge have.
class BridgeConcurrencyTest : public ConcurrencyTest {};

TEST_P(ConcurrencyTest, F033_ConcurrentAddsMakeOneBridge) {
  constexpr int kPods = 32;
  make_pods(kPods);
  const Snapshot before = snapshot();
  const Json conf = config({{"isGateway", true}, {"mtu", 1450}});
  std::set<std::string> addresses;
  std::set<std::string> macs;
  for (const CniOutcome& outcome : run_at_once(calls_of("ADD", 0, kPods, conf))) {
    ASSERT_CNI_OK(outcome);
    addresses.insert((*outcome.document)["ips"][0]["address"].get<std::string>());
    macs.insert(sandbox_interface(*outcome.document)["mac"].get<std::string>());
    EXPECT_EQ((*outcome.document)["ips"][0]["gateway"], "192.0.2.1");
  }
  EXPECT_EQ(addresses.size(), static_cast<std::size_t>(kPods));
  EXPECT_EQ(macs.size(), static_cast<std::size_t>(kPods));
  if (!is_macvtap()) {
    EXPECT_EQ(addresses_of("", "br1"), std::vector<std::string>{"192.0.2.1/24"});
    EXPECT_EQ(link_of("", "br1")["mtu"], 1450);
  }
  EXPECT_EQ(nics(), static_cast<std::size_t>(kPods));
  std::set<Json> network_ids;
  for (int i = 0; i < kPods; i++)
    network_ids.insert(Json::parse(slurp(record_file(id_of(container(i)))))["network_id"]);
  EXPECT_EQ(network_ids.size(), 1U) << "one segment has one number";
  for (const CniOutcome& outcome : run_at_once(calls_of("DEL", 0, kPods, conf))) EXPECT_CNI_OK(outcome);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ConcurrencyTest, F033_LastPortsLeaveWhileOthersJoin) {
  constexpr int kHalf = 16;
  make_pods(2 * kHalf);
  const Snapshot before = snapshot();
  const Json conf = config({{"isGateway", true}});
  const int count = rounds(8, 200);
  for (const CniOutcome& outcome : run_at_once(calls_of("ADD", 0, kHalf, conf))) ASSERT_CNI_OK(outcome);
  for (int round = 0; round < count; round++) {
    const bool even = round % 2 == 0;
    const int leaving = even ? 0 : kHalf;
    const int joining = even ? kHalf : 0;
    auto calls = calls_of("DEL", leaving, leaving + kHalf, conf);
    const auto adds = calls_of("ADD", joining, joining + kHalf, conf);
    calls.insert(calls.end(), adds.begin(), adds.end());
    for (const CniOutcome& outcome : run_at_once(calls)) ASSERT_CNI_OK(outcome) << "round " << round;
    ASSERT_EQ(nics(), static_cast<std::size_t>(kHalf)) << "a pod without its bridge in round " << round;
    if (!is_macvtap()) {
      ASSERT_EQ(addresses_of("", "br1"), std::vector<std::string>{"192.0.2.1/24"}) << round;
    }
    ASSERT_EQ(reserved_addresses().size(), static_cast<std::size_t>(kHalf)) << round;
  }
  const int last = count % 2 == 0 ? 0 : kHalf;
  for (const CniOutcome& outcome : run_at_once(calls_of("DEL", last, last + kHalf, conf)))
    EXPECT_CNI_OK(outcome);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(BridgeConcurrencyTest, F033_LinkInTheBridgesPlaceFailsEveryAddAlike) {
  constexpr int kPods = 16;
  make_pods(kPods);
  must({"ip", "link", "add", "br1", "type", "veth", "peer", "name", "br1-peer"});
  const Snapshot before = snapshot();
  std::set<std::string> messages;
  for (const CniOutcome& outcome : run_at_once(calls_of("ADD", 0, kPods, config({{"isGateway", true}})))) {
    EXPECT_CNI_ERROR(outcome, Code::kConflict);
    messages.insert(outcome.message());
  }
  EXPECT_EQ(messages.size(), 1U);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ConcurrencyTest, F022_SixtyFourAddsAmongDelsAndGc) {
  constexpr int kOld = 16;
  const int fresh = rounds(16, 64);
  make_pods(kOld + fresh);
  const Snapshot before = snapshot();
  const Json conf = config({{"isGateway", true}});
  for (const CniOutcome& outcome : run_at_once(calls_of("ADD", 0, kOld, conf))) ASSERT_CNI_OK(outcome);
  auto calls = calls_of("ADD", kOld, kOld + fresh, conf);
  // Half of the old ones end by DEL; the runtime no longer lists the other half.
  const auto dels = calls_of("DEL", 0, kOld / 2, conf);
  calls.insert(calls.end(), dels.begin(), dels.end());
  Json gc_conf = conf;
  for (int i = kOld; i < kOld + fresh; i++)
    gc_conf["cni.dev/valid-attachments"].push_back({{"containerID", container(i)}, {"ifname", "eth0"}});
  constexpr int kCollectors = 4;
  for (int i = 0; i < kCollectors; i++) calls.push_back(call("GC", "", gc_conf));
  for (const CniOutcome& outcome : run_at_once(calls)) EXPECT_CNI_OK(outcome);

  std::set<std::string> addresses;
  for (int i = kOld; i < kOld + fresh; i++) {
    const Json record = Json::parse(slurp(record_file(id_of(container(i)))));
    EXPECT_EQ(record["state"], "done");
    const std::string address = record["result"]["ips"][0]["address"];
    addresses.insert(address.substr(0, address.find('/')));
  }
  EXPECT_EQ(addresses.size(), static_cast<std::size_t>(fresh));
  const auto reserved = reserved_addresses();
  EXPECT_EQ(std::set<std::string>(reserved.begin(), reserved.end()), addresses);
  EXPECT_EQ(nics(), static_cast<std::size_t>(fresh));
  for (const CniOutcome& outcome : run_at_once(calls_of("DEL", kOld, kOld + fresh, conf)))
    EXPECT_CNI_OK(outcome);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ConcurrencyTest, OneAttachmentAskedForManyTimesIsMadeOnce) {
  constexpr int kCalls = 12;
  make_pods(1);
  const Snapshot before = snapshot();
  int good = 0;
  for (const CniOutcome& outcome : run_at_once(std::vector<CniCall>(kCalls, call_of("ADD", 0, config())))) {
    if (outcome.ok()) {
      good++;
    } else {
      EXPECT_CNI_ERROR(outcome, Code::kConflict);
    }
  }
  EXPECT_EQ(good, 1);
  EXPECT_EQ(reserved_addresses().size(), 1U);
  for (const CniOutcome& outcome : run_at_once(std::vector<CniCall>(kCalls, call_of("DEL", 0, config()))))
    EXPECT_CNI_OK(outcome);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(ConcurrencyTest, AddAndDelOfOneAttachmentEndInOneOfBothStates) {
  make_pods(1);
  const Snapshot before = snapshot();
  const int count = rounds(10, 200);
  for (int round = 0; round < count; round++) {
    const auto outcomes = run_at_once({call_of("ADD", 0, config()), call_of("DEL", 0, config())});
    ASSERT_CNI_OK(outcomes[0]);
    ASSERT_CNI_OK(outcomes[1]);
    const std::size_t ports = nics();
    EXPECT_EQ(reserved_addresses().size(), ports);
    EXPECT_EQ(std::filesystem::exists(record_file(id_of("c0"))), ports == 1);
    ASSERT_CNI_OK(run_call(call_of("DEL", 0, config())));
    ASSERT_SNAP_CLEAN(before, snapshot()) << round;
  }
}

TEST_P(BridgeConcurrencyTest, BothLanesShareABridge) {
  constexpr int kPods = 8;
  make_pods(2 * kPods);
  const Snapshot before = snapshot();
  const Json conf = config({{"isGateway", true}});
  const auto ours = calls_of("ADD", 0, kPods, conf);
  const std::string other = is_tap() ? "vmlane-veth" : "vmlane-tap";
  Json other_conf = conf;
  other_conf["type"] = other;
  for (const CniOutcome& outcome : run_at_once(ours)) ASSERT_CNI_OK(outcome);
  for (int i = kPods; i < 2 * kPods; i++)
    ASSERT_CNI_OK(run_plugin(other, call_of("ADD", i, other_conf), node_json()));
  EXPECT_EQ(nics(), static_cast<std::size_t>(2 * kPods));
  for (const CniOutcome& outcome : run_at_once(calls_of("DEL", 0, kPods, conf))) EXPECT_CNI_OK(outcome);
  EXPECT_FALSE(link_of("", "br1").is_null());
  for (int i = kPods; i < 2 * kPods; i++)
    EXPECT_CNI_OK(run_plugin(other, call_of("DEL", i, other_conf), node_json()));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(BridgeConcurrencyTest, F049_GatewayAnswersThroughoutWhilePodsComeAndGo) {
  const Json conf = config({{"isGateway", true}});
  Json veth_conf = conf;
  veth_conf["type"] = "vmlane-veth";
  Pod& neighbour = make_pod("neighbour");
  ASSERT_CNI_OK(
      run_plugin("vmlane-veth", call("ADD", neighbour.path(), veth_conf, "neighbour"), node_json()));
  ASSERT_TRUE(reach(neighbour.path(), "192.0.2.1", {.count = 1}).all());
  make_pods(4);
  const std::string output = (directory() / "ping.txt").string();
  BackgroundProcess pinging({"ping", "-n", "-q", "-i", "0.02", "192.0.2.1"},
                            {.netns = neighbour.path(), .stdout_path = output});
  for (int i = 0; i < 4; i++) {
    Json with_mac = conf;
    with_mac["mac"] = "00:00:00:00:00:0" + std::to_string(i + 1);  // below every other port's
    ASSERT_CNI_OK(run_call(call_of("ADD", i, with_mac)));
  }
  for (int i = 0; i < 4; i++) ASSERT_CNI_OK(run_call(call_of("DEL", i, conf)));
  ::kill(pinging.pid(), SIGINT);  // ping prints its count
  ASSERT_TRUE(pinging.wait(std::chrono::seconds(5)));
  EXPECT_NE(slurp(output).find(" 0% packet loss"), std::string::npos) << slurp(output);
}

VMLANE_FOR_EACH_LANE(ConcurrencyTest);
VMLANE_FOR_BRIDGE_LANES(BridgeConcurrencyTest);

}  // namespace
}  // namespace vmlane::test
