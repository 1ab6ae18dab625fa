// SPDX-License-Identifier: Apache-2.0
// `vmlanectl cloud-init`: what the plugins recorded, as a guest is told.
#include <filesystem>

#include "manifests/yaml.h"
#include "tests/conformance/lane_test.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

constexpr const char* kPod = "virt-launcher-vm1-abcde";

class CloudInitTest : public LaneTest {
 protected:
  Json dual_stack() const {
    Json conf = config({{"isGateway", true},
                        {"mtu", 1400},
                        {"dns", {{"nameservers", {"192.0.2.53"}}, {"search", {"blue.example"}}}}});
    conf["ipam"]["ranges"].push_back(Json::array({{{"subnet", "2001:db8::/64"}}}));
    conf["ipam"]["routes"] = {{{"dst", "0.0.0.0/0"}}, {{"dst", "::/0"}}};
    return conf;
  }
  CniOutcome add_to_vm(const Pod& pod, const Json& conf, const std::string& ifname) const {
    CniCall out = call("ADD", pod.path(), conf, "c1", ifname);
    out.args = std::string("IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=") + kPod;
    return run_call(out);
  }
  static RunResult cloud_init(std::vector<std::string> more, const std::filesystem::path& node_json) {
    more.insert(more.begin(),
                {built("vmlanectl"), "cloud-init", "--config", node_json.string(), "--ifname", "eth0"});
    return test::run(more);
  }
  static Json parsed(const std::string& text) {
    const auto documents = parse_yaml(text, "file");
    EXPECT_TRUE(documents && documents->size() == 1) << text;
    return documents && !documents->empty() ? documents->at(0).value : Json();
  }
};

TEST_P(CloudInitTest, GuestIsToldWhatAddGave) {
  const Pod& pod = make_pod("c1");
  const CniOutcome first = add_to_vm(pod, dual_stack(), "eth0");
  ASSERT_CNI_OK(first);
  const CniOutcome second =
      add_to_vm(pod, config({{"name", "red"}, {"bridge", "br2"}, {"ipam", nullptr}}), "net1");
  ASSERT_CNI_OK(second);
  const std::string seed = (directory() / "seed").string();
  const RunResult done =
      cloud_init({"--ifname", "net1", "--pod", std::string("blue/") + kPod, "--output", seed}, node_json());
  ASSERT_TRUE(done.ok()) << done.err;
  const Json nics = parsed(slurp(seed + "/network-config"))["ethernets"];
  ASSERT_EQ(nics.size(), 2U) << nics;

  const Json& eth0 = nics["eth0"];
  EXPECT_EQ(eth0["match"]["macaddress"], sandbox_interface(*first.document)["mac"]);
  EXPECT_EQ(eth0["set-name"], "eth0");
  EXPECT_EQ(eth0["dhcp4"], false);
  EXPECT_EQ(eth0["mtu"], 1400);
  Json addresses = Json::array();
  for (const Json& ip : (*first.document)["ips"]) addresses.push_back(ip["address"]);
  EXPECT_EQ(addresses.size(), 2U);
  EXPECT_EQ(eth0["addresses"], addresses);
  EXPECT_EQ(eth0["routes"], Json::array({{{"to", "0.0.0.0/0"}, {"via", "192.0.2.1"}},
                                         {{"to", "::/0"}, {"via", "2001:db8::1"}}}));
  EXPECT_EQ(eth0["nameservers"], Json({{"addresses", {"192.0.2.53"}}, {"search", {"blue.example"}}}));

  const Json& net1 = nics["net1"];
  EXPECT_EQ(net1["match"]["macaddress"], sandbox_interface(*second.document)["mac"]);
  EXPECT_EQ(net1["dhcp4"], true);
  EXPECT_EQ(net1["dhcp6"], true);
  EXPECT_FALSE(net1.contains("addresses"));
  EXPECT_EQ(parsed(slurp(seed + "/meta-data"))["local-hostname"], "vm1");
}

TEST_P(CloudInitTest, RecordServesElsewhereWithoutTheNode) {
  ASSERT_CNI_OK(add_to_vm(make_pod("c1"), config(), "eth0"));
  const RunResult here = cloud_init({"--vm", "blue/vm1"}, node_json());
  ASSERT_TRUE(here.ok()) << here.err;
  const auto copy = directory() / "copy.json";
  spit(copy, slurp(record_file(id_of())));
  const RunResult there = test::run({built("vmlanectl"), "cloud-init", "--record", copy.string()});
  EXPECT_TRUE(there.ok()) << there.err;
  EXPECT_EQ(there.out, here.out);
}

TEST_P(CloudInitTest, NicThatIsGoneIsNotTold) {
  const Pod& pod = make_pod("c1");
  ASSERT_CNI_OK(add_to_vm(pod, config(), "eth0"));
  ASSERT_CNI_OK(del(pod.path(), config()));
  const RunResult gone = cloud_init({"--vm", "vm1"}, node_json());
  EXPECT_EQ(gone.status, 1);
  EXPECT_NE(gone.err.find("vm1"), std::string::npos) << gone.err;
}

VMLANE_FOR_EACH_LANE(CloudInitTest);

}  // namespace
}  // namespace vmlane::test
