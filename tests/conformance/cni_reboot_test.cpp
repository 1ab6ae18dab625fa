// SPDX-License-Identifier: Apache-2.0
// What a node finds after it lost power: records and addresses on disk, nothing in the kernel, another boot
// id. Contracts 2.4; field cases F002, F008.
#include <filesystem>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class RebootTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) boot("11111111-1111-4111-8111-111111111111");
  }
  void boot(const std::string& id) {
    spit(directory() / "boot_id", id + "\n");
    configure_node({{"bootIdFile", (directory() / "boot_id").string()}});
  }
  // Namespaces, links and the run directory go, the disk stays.
  void lose_power() {
    for (const auto& [name, pod] : pods()) pod->remove();
    for (const std::string& link : link_names("")) {
      if (link != "lo") test::run({"ip", "link", "del", link});
    }
    if (is_macvtap()) make_lower(kLowerDevice);
    std::filesystem::remove_all(node().run_dir);
    boot("22222222-2222-4222-8222-222222222222");
  }
  static std::string container(int i) { return "c" + std::to_string(i); }
  Json small_range() {
    Json conf = config({{"isGateway", true}});
    conf["ipam"]["ranges"] = {{{{"subnet", "192.0.2.0/29"}}}};  // gateway .1 and five addresses
    return conf;
  }
  void fill(const Json& conf, int from) {
    for (int i = from; i < from + 5; i++) ASSERT_CNI_OK(add(make_pod(container(i)), conf, container(i)));
  }
};

TEST_P(RebootTest, F002_AddressesOfEarlierBootsAreFreeAtTheFirstAdd) {
  const Json conf = small_range();
  fill(conf, 1);
  EXPECT_EQ(reserved_addresses().size(), 5U);
  // Without a reboot a full range stays full.
  EXPECT_FALSE(add(make_pod("c7"), conf, "c7").ok());
  lose_power();
  ASSERT_CNI_OK(add(make_pod("c6"), conf, "c6"));
  EXPECT_EQ(reserved_addresses().size(), 1U);
  Json gc = conf;
  gc["cni.dev/valid-attachments"] = {{{"containerID", "c6"}, {"ifname", "eth0"}}};
  ASSERT_CNI_OK(run_call(call("GC", "", gc)));
  EXPECT_EQ(reserved_addresses().size(), 1U);
  ASSERT_CNI_OK(del("/run/netns/c6", conf, "c6"));
  EXPECT_TRUE(reserved_addresses().empty());
  EXPECT_TRUE(std::filesystem::is_empty(node().attachments_dir()));
}

TEST_P(RebootTest, F002_FromBootToBootNothingAddsUp) {
  const Json conf = small_range();
  for (int i = 0; i < 4; i++) {
    fill(conf, 10 * i);
    lose_power();
    boot("3333333" + std::to_string(i) + "-3333-4333-8333-333333333333");
  }
  EXPECT_EQ(reserved_addresses().size(), 5U);
}

TEST_P(RebootTest, F002_OtherPluginsAttachmentsAreRemovedByTheirOwnDel) {
  const Json conf = small_range();
  const std::string other = is_tap() ? "vmlane-veth" : "vmlane-tap";
  Json other_conf = conf;
  other_conf["type"] = other;
  other_conf["bridge"] = "br1";
  for (int i = 1; i <= 5; i++) {
    make_pod(container(i));
    const CniCall made = call("ADD", "/run/netns/" + container(i), other_conf, container(i));
    ASSERT_CNI_OK(run_plugin(other, made, node_json()));
  }
  lose_power();
  ASSERT_CNI_OK(add(make_pod("c6"), conf, "c6"));
  EXPECT_EQ(reserved_addresses().size(), 1U);
}

TEST_P(RebootTest, FirstAddsOfABootWaitForEachOther) {
  const Json conf = small_range();
  fill(conf, 1);
  lose_power();
  std::vector<CniCall> calls;
  for (int i = 6; i <= 10; i++) {
    make_pod(container(i));
    calls.push_back(call("ADD", "/run/netns/" + container(i), conf, container(i)));
  }
  for (const CniOutcome& outcome : run_at_once(calls)) EXPECT_CNI_OK(outcome);
  EXPECT_EQ(reserved_addresses().size(), 5U);
}

TEST_P(RebootTest, AttachmentOfThisBootIsNeverTakenForAnEarlierOnes) {
  const Json conf = small_range();
  ASSERT_CNI_OK(add(make_pod("c1"), conf, "c1"));
  std::filesystem::remove(node().boot_marker());
  ASSERT_CNI_OK(add(make_pod("c2"), conf, "c2"));
  EXPECT_EQ(reserved_addresses().size(), 2U);
  EXPECT_EQ(nics(), 2U);
}

TEST_P(RebootTest, WhatCannotBeRemovedIsLoggedAndDoesNotStopTheNode) {
  const Json conf = small_range();
  ASSERT_CNI_OK(add(make_pod("c1"), conf, "c1"));
  // Its allocator is no longer installed.
  Json record = Json::parse(slurp(record_file(id_of("c1"))));
  record["netconf"]["ipam"]["type"] = "no-such-ipam";
  spit(record_file(id_of("c1")), record.dump());
  lose_power();
  ASSERT_CNI_OK(add(make_pod("c2"), conf, "c2"));
  EXPECT_NE(slurp(log_file()).find("no-such-ipam"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(record_file(id_of("c1"))));
}

// Namespace inodes and cookies count anew after a boot: a record of an earlier one must not be believed when
// its namespace seems to be there.
TEST_P(RebootTest, F008_NamespaceOfAnEarlierBootIsNotTouched) {
  const Json conf = config({{"ipam", nullptr}});
  Pod& pod = make_pod("c1");
  ASSERT_CNI_OK(add(pod, conf, "c1"));
  const std::string tap = names::tap_link("eth0");
  Json record = Json::parse(slurp(record_file(id_of("c1"))));
  ASSERT_CNI_OK(del(pod.path(), conf, "c1"));
  // The record of the earlier boot, and in the same namespace a stranger's links of the same names.
  must({"ip", "-n", "c1", "link", "add", "eth0", "type", "veth", "peer", "name", "other0"});
  must({"ip", "-n", "c1", "tuntap", "add", tap, "mode", "tap"});
  spit(record_file(id_of("c1")), record.dump());
  boot("22222222-2222-4222-8222-222222222222");
  ASSERT_CNI_OK(del(pod.path(), conf, "c1"));
  EXPECT_FALSE(link_of(pod.path(), "eth0").is_null());
  EXPECT_FALSE(link_of(pod.path(), tap).is_null());
  EXPECT_FALSE(std::filesystem::exists(record_file(id_of("c1"))));
}

TEST_P(RebootTest, F002_KilledWhileItReclaimsAnotherAddGoesOn) {
  const Json conf = small_range();
  constexpr int kMaxSteps = 60;
  for (int step = 1; step < kMaxSteps; step++) {
    boot("11111111-1111-4111-8111-111111111111");
    fill(conf, 1);
    lose_power();
    make_pod("c6");
    CniCall dying = call("ADD", "/run/netns/c6", conf, "c6");
    dying.env["VMLANE_FAULT"] = "kill-after:" + std::to_string(step);
    const CniOutcome outcome = run_call(dying);
    ASSERT_CNI_OK(del("/run/netns/c6", conf, "c6"));
    ASSERT_CNI_OK(add(make_pod("c7"), conf, "c7"));
    EXPECT_EQ(reserved_addresses().size(), 1U) << "killed after step " << step;
    ASSERT_CNI_OK(del("/run/netns/c7", conf, "c7"));
    EXPECT_TRUE(reserved_addresses().empty());
    EXPECT_TRUE(std::filesystem::is_empty(node().attachments_dir())) << step;
    std::filesystem::remove(node().boot_marker());
    if (outcome.ok() || HasFailure()) break;
    step += 2;  // every third: the steps of five reclaims are alike
  }
}

VMLANE_FOR_EACH_LANE(RebootTest);

}  // namespace
}  // namespace vmlane::test
