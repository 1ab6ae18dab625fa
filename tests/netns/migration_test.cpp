// SPDX-License-Identifier: Apache-2.0
// A VM that moves from this node to another one, a namespace, over a switch that both are on: who is heard,
// and when, and what the guest is told at its new place. Field cases F006 and F039.
#include <filesystem>
#include <functional>

#include "tests/support/guest.h"
#include "tests/support/guest_messages.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kPatience{5000};

// up0 of each node ==== "switch": a bridge with the ports far-a and far-b.
class MigrationTest : public PluginFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  std::string plugin() const override { return GetParam(); }
  bool is_tap() const { return plugin() == "vmlane-tap"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    spread_macvtap_numbers(node());
    make_pod("node-b");
    make_pod("switch");
    in("switch", "ip link add sw type bridge");
    in("switch", "ip link set sw up");
    wire("", "far-a");
    wire("node-b", "far-b");
    for (const char* made : {"state", "run/pods"}) fs::create_directories(second() / made);
    spit(second() / "node.json",
         Json{{"stateDir", second() / "state"}, {"runDir", second() / "run"}, {"logFile", second() / "log"}}
             .dump());
    // The nodes share this machine's /dev: numbers that the first does not come to.
    if (fs::exists(node().ifindex_file()))
      spit(second() / "run/ifindex", std::to_string(std::stoi(slurp(node().ifindex_file())) + 64));
    watch_.emplace(pod("switch").path(), "sw");
  }
  void wire(const std::string& name, const std::string& far) {
    std::vector<std::string> command = {"ip", "link", "add", "up0"};
    if (!name.empty()) command.insert(command.end(), {"netns", pod(name).path()});
    command.insert(command.end(), {"type", "veth", "peer", "name", far, "netns", pod("switch").path()});
    must(command);
    in("switch", "ip link set " + far + " master sw up");
    if (is_tap()) on(name, "ip link add br1 type bridge");
    if (is_tap()) on(name, "ip link set br1 up");
    on(name, std::string("ip link set up0 ") + (is_tap() ? "master br1 " : "") + "up");
    ASSERT_TRUE(await_active(name.empty() ? "" : pod(name).path(), "up0"));
  }
  Pod& pod(const std::string& name) const { return *pods().at(name); }
  void in(const std::string& name, const std::string& command) const {
    const RunResult result = pod(name).run({"sh", "-c", command});
    EXPECT_TRUE(result.ok()) << command << ": " << result.err;
  }
  // On this node ("") or the other one.
  void on(const std::string& name, const std::string& command) const {
    name.empty() ? must({"sh", "-c", command}) : in(name, command);
  }
  fs::path second() const { return directory() / "node-b"; }
  // The network's addresses are the VM's, not a node's.
  Json conf() const {
    Json keys = {
        {"ipam",
         {{"type", "static"},
          {"addresses",
           {{{"address", "192.0.2.7/24"}, {"gateway", "192.0.2.1"}}, {{"address", "2001:db8::7/64"}}}},
          {"routes", {{{"dst", "0.0.0.0/0"}}}}}},
        {"gatewayMode", "virtual"}};
    if (!is_tap()) keys["lowerDevice"] = "up0";
    return config(keys);
  }
  CniCall call_for(const std::string& command, const std::string& uid, bool on_second) {
    CniCall request = call(command, pod(uid).path(), conf(), uid);
    request.args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + uid + ";K8S_POD_UID=" + uid;
    if (on_second) request.options.netns = pod("node-b").path();
    return request;
  }
  CniOutcome run_on(const CniCall& request, bool on_second) const {
    return run_plugin(plugin(), request, on_second ? second() / "node.json" : node_json());
  }
  // ADD for a pod of the VM; on the second node as the target of its migration.
  CniOutcome start(const std::string& uid, bool on_second) {
    Json facts = {{"schema", 1},
                  {"namespace", "blue"},
                  {"name", uid},
                  {"uid", uid},
                  {"vm", {{"name", "vm1"}, {"uid", "v1"}}}};
    if (on_second) facts["migration"] = {{"uid", "m1"}, {"role", "target"}};
    const fs::path facts_dir = on_second ? second() / "run/pods" : node().pods_dir();
    fs::create_directories(facts_dir);
    spit(facts_dir / (uid + ".json"), facts.dump());
    make_pod(uid);
    return run_on(call_for("ADD", uid, on_second), on_second);
  }
  static MacAddress mac_in(const CniOutcome& outcome) {
    for (const Json& interface : outcome.document->at("interfaces")) {
      if (!interface.value("sandbox", "").empty())
        return MacAddress::parse(interface.at("mac").get<std::string>()).value();
    }
    return {};
  }
  FakeGuest guest_in(const std::string& uid, const MacAddress& mac) const {
    return is_tap() ? FakeGuest(pod(uid).path(), "tap0", mac)
                    : FakeGuest::on_macvtap(pod(uid).path(), "eth0", mac);
  }
  // Behind which of its ports the switch has seen the MAC; empty when behind none.
  std::string port_of(const MacAddress& mac) const {
    for (const Json& entry :
         Json::parse(pod("switch").run({"bridge", "-j", "fdb", "show", "br", "sw"}).out)) {
      if (entry.value("mac", "") == mac.to_string()) return entry.value("ifname", "");
    }
    return "";
  }

  std::optional<PacketSocket> watch_;
};

TEST_P(MigrationTest, F006_TargetIsSilentUntilTheGuestIsThereThenOneMove) {
  const CniOutcome source = start("source", false);
  ASSERT_CNI_OK(source);
  const MacAddress mac = mac_in(source);
  std::optional<FakeGuest> on_source(guest_in("source", mac));
  ASSERT_TRUE(eventually([&] {
    on_source->send(make_arp_request(mac, "192.0.2.7", "192.0.2.200"));
    return port_of(mac) == "far-a";
  }));
  watch_->collect(std::chrono::milliseconds(0));
  const CniOutcome target = start("target", true);
  ASSERT_CNI_OK(target);
  EXPECT_EQ(mac_in(target), mac);
  std::optional<FakeGuest> on_target(guest_in("target", mac));
  // Past duplicate detection, multicast reports and what else a new link would say by itself.
  EXPECT_FALSE(
      watch_->receive([&](const Frame& got) { return source_of(got) == mac; }, std::chrono::seconds(3)))
      << "a frame with the VM's MAC came while neither guest sent";
  EXPECT_EQ(port_of(mac), "far-a");

  ASSERT_CNI_OK(run_on(call_for("DEL", "source", false), false));
  on_target->send(make_arp_request(mac, "192.0.2.7", "192.0.2.200"));
  EXPECT_TRUE(eventually([&] { return port_of(mac) == "far-b"; }));
  EXPECT_CNI_OK(run_on(call_for("DEL", "target", true), true));
}

TEST_P(MigrationTest, F039_GuestThatRebootsAfterItsMoveIsToldTheSame) {
  const CniOutcome source = start("source", false);
  ASSERT_CNI_OK(source);
  const MacAddress mac = mac_in(source);
  const auto lease = [&](const std::string& uid) {
    const FakeGuest guest = guest_in(uid, mac);
    std::optional<Frame> reply;
    EXPECT_TRUE(eventually([&] {
      guest.send(make_dhcp(mac, {.xid = 9}));
      reply = guest.receive([&](const Frame& got) { return destination_of(got) == mac; }, kPatience);
      return reply.has_value();
    }));
    return reply ? read_dhcp(read_reply(*reply).payload) : DhcpReply();
  };
  const DhcpReply before = lease("source");
  EXPECT_EQ(before.yours, "192.0.2.7");
  ASSERT_CNI_OK(start("target", true));
  ASSERT_CNI_OK(run_on(call_for("DEL", "source", false), false));
  // Each time by a new QEMU, as after a reboot that ends the old one.
  for (int boot = 0; boot < 2; boot++) {
    const DhcpReply after = lease("target");
    EXPECT_EQ(after.yours, before.yours);
    EXPECT_EQ(after.options, before.options);
  }
  EXPECT_CNI_OK(run_on(call_for("DEL", "target", true), true));
}

INSTANTIATE_TEST_SUITE_P(Lane, MigrationTest, ::testing::Values("vmlane-tap", "vmlane-macvtap"),
                         [](const ::testing::TestParamInfo<std::string>& lane) {
                           return lane.param.substr(7);
                         });

}  // namespace
}  // namespace vmlane::test
