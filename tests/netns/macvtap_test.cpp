// SPDX-License-Identifier: Apache-2.0
// vmlane-macvtap with a stand-in for the guest at the device node: what is made, that frames pass in each
// mode, what a lower device may not be, and that nothing is left. Field cases F019, F051, F059, F089, F091,
// F092.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>

#include "core/names.h"
#include "tests/support/frames.h"
#include "tests/support/guest.h"
#include "tests/support/offload.h"
#include "tests/support/plugin.h"
#include "tests/support/snapshot.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMacvtapGuest = "02:00:00:00:01:07";
constexpr const char* kLowerMac = "02:00:00:00:00:10";
constexpr const char* kPeerMac = "02:00:00:00:00:11";
constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;

MacAddress mac_of(const std::string& text) {
  return *MacAddress::parse(text);
}

std::function<bool(const Frame&)> carrying(const std::string& text) {
  return [text](const Frame& frame) { return carries(frame, text); };
}

class MacvtapTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-macvtap"; }
  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    spread_macvtap_numbers(node());
    make_lower("up0", kLowerMac, kPeerMac);
  }
  // A veth pair: the lower device, and what is at the other end of its wire, <name>-far.
  void make_lower(const std::string& name, const std::string& mac, const std::string& peer_mac) {
    must({"ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", name + "-far", "address",
          peer_mac});
    must({"ip", "link", "set", name, "up"});
    must({"ip", "link", "set", name + "-far", "up"});
    ASSERT_TRUE(await_active("", name));
  }
  Json macvtap_config(const Json& more = Json::object()) const {
    return overlaid(config({{"lowerDevice", "up0"}, {"mac", kMacvtapGuest}}), more);
  }
  Json attach(const std::string& name, const Json& conf) {
    const CniOutcome outcome = add(make_pod(name), conf, name);
    EXPECT_CNI_OK(outcome);
    return outcome.document.value_or(Json::object());
  }
  const Pod& pod(const std::string& name) const { return *pods().at(name); }
  Json link(const std::string& name) const { return link_of(pod(name).path(), "eth0"); }
  static fs::path node_of(const Json& link) { return "/dev/tap" + std::to_string(link.value("ifindex", 0)); }
  Fd open_device(const std::string& name) const {
    Fd fd(::open(node_of(link(name)).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    EXPECT_TRUE(fd) << "errno " << errno;
    return fd;
  }
  Snapshot snapshot() const { return take_snapshot(node(), ipam_dir(), pods()); }
  void expect_refused(const Json& conf, Code code, const std::vector<std::string>& culprits) {
    const Snapshot before = snapshot();
    const CniOutcome outcome = add(pod("vm"), conf, "vm");
    EXPECT_CNI_ERROR(outcome, code);
    for (const std::string& culprit : culprits) {
      EXPECT_NE((outcome.message() + "\n" + outcome.details()).find(culprit), std::string::npos)
          << "the error does not name " << culprit << "\n"
          << outcome;
    }
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
  void expect_changed(const std::string& name, const Json& conf, const Json& result,
                      const std::string& culprit) {
    const CniOutcome outcome = check(pod(name), conf, result, name);
    EXPECT_CNI_ERROR(outcome, Code::kChanged);
    EXPECT_NE(outcome.message().find(culprit), std::string::npos) << outcome;
  }
};

TEST_F(MacvtapTest, LinkIsTheGuestsAndSilent) {
  const Json result = attach("vm", macvtap_config({{"mtu", 1450}}));
  const Json made = link("vm");
  ASSERT_FALSE(made.is_null());
  EXPECT_EQ(made["linkinfo"]["info_kind"], "macvtap");
  EXPECT_EQ(made["linkinfo"]["info_data"]["mode"], "bridge");
  EXPECT_EQ(made["address"], kMacvtapGuest);
  EXPECT_EQ(made["mtu"], 1450);
  EXPECT_EQ(made["ifalias"].get<std::string>().find("vmlane:"), 0U);
  EXPECT_EQ(made["inet6_addr_gen_mode"], "none");
  for (const char* flag : {"UP", "NOARP", "ALLMULTI"}) {
    EXPECT_NE(std::ranges::find(made["flags"], flag), made["flags"].end()) << flag;
  }
  EXPECT_EQ(std::ranges::find(made["flags"], "PROMISC"), made["flags"].end());
  EXPECT_EQ(pod("vm").run({"cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"}).out, "1\n");
  EXPECT_EQ(ip_json(pod("vm").path(), {"addr", "show", "dev", "eth0"})[0]["addr_info"], Json::array());
  EXPECT_TRUE(ip_json(pod("vm").path(), {"route"}).empty());
  ASSERT_EQ(result["interfaces"].size(), 1U);
  EXPECT_EQ(result["interfaces"][0]["mac"], kMacvtapGuest);
  EXPECT_EQ(result["interfaces"][0]["mtu"], 1450);
  EXPECT_EQ(result["ips"][0]["interface"], 0) << "addresses are in the result";
}

TEST_F(MacvtapTest, NothingWithTheGuestsMacIsHeardBeforeTheGuestSpeaks) {
  const PacketSocket wire("", "up0-far");
  attach("vm", macvtap_config());
  // Longer than duplicate address detection and the first router solicitations of a kernel.
  for (const Frame& frame : wire.collect(std::chrono::milliseconds(3500))) {
    EXPECT_NE(source_of(frame), mac_of(kMacvtapGuest));
  }
}

TEST_F(MacvtapTest, F051_DeviceNodeIsTheLinksAndItsOwners) {
  attach("vm", macvtap_config());
  struct stat status {};
  ASSERT_EQ(::stat(node_of(link("vm")).c_str(), &status), 0);
  const std::string index = std::to_string(link("vm")["ifindex"].get<int>());
  EXPECT_EQ(
      pod("vm").run({"sh", "-c", "mount -t sysfs s /sys; cat /sys/class/macvtap/tap" + index + "/dev"}).out,
      std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev)) + "\n");
  EXPECT_EQ(status.st_uid, 107U);
  EXPECT_EQ(status.st_gid, 107U);
  EXPECT_EQ(status.st_mode & 0777, 0660U);
  const std::vector<std::string> open = {"sh", "-c", "exec 3<>" + node_of(link("vm")).string()};
  EXPECT_TRUE(test::run(open, {.uid = 107}).ok());
  EXPECT_FALSE(test::run(open, {.uid = 1234}).ok());
}

TEST_F(MacvtapTest, OwnerAndQueuesOfTheConfigElseOfTheNode) {
  configure_node({{"ownerUid", 2000}, {"ownerGid", 2001}});
  struct stat status {};
  attach("a", macvtap_config({{"mac", nullptr}}));
  ASSERT_EQ(::stat(node_of(link("a")).c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 2000U);
  EXPECT_EQ(status.st_gid, 2001U);
  attach("b", macvtap_config({{"mac", nullptr}, {"owner", 1000}, {"group", 1001}, {"queues", 4}}));
  ASSERT_EQ(::stat(node_of(link("b")).c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 1000U);
  EXPECT_EQ(status.st_gid, 1001U);
  // Each opening is a queue.
  std::vector<Fd> queues;
  for (int i = 0; i < 4; i++) queues.push_back(open_device("b"));
}

TEST_F(MacvtapTest, FramesPassBothWaysWithTheirOffloads) {
  attach("vm", macvtap_config({{"spoofCheck", false}}));  // of frames, not of senders
  const TapPort guest(open_device("vm"));
  guest.accept_offloads(true);
  const PacketSocket far("", "up0-far");
  guest.send({.header = {}, .frame = make_test_frame(mac_of(kPeerMac), mac_of(kMacvtapGuest), "hello")});
  const auto heard = far.receive(carrying("hello"), std::chrono::seconds(5));
  ASSERT_TRUE(heard);
  EXPECT_EQ(source_of(*heard), mac_of(kMacvtapGuest));
  far.send(make_test_frame(mac_of(kMacvtapGuest), mac_of(kPeerMac), "answer"));
  EXPECT_TRUE(guest.receive(carrying("answer")));
  // A large segment stays whole, as on the tap lane.
  const WirePort wire("up0-far");
  constexpr std::size_t kPayload = 9000;
  constexpr std::uint16_t kSegment = 1400;
  guest.send(make_offloaded_tcp(mac_of(kPeerMac), mac_of(kMacvtapGuest), false, kPayload, kSegment));
  const auto large = wire.receive([](const Frame& frame) { return frame.size() > kPayload; });
  ASSERT_TRUE(large);
  EXPECT_EQ(large->header.gso_size, kSegment);
}

TEST_F(MacvtapTest, GuestHearsMulticastThatOnlyItHasJoined) {
  make_pod("vm");
  for (const char* mode : {"bridge", "passthru"}) {
    for (const bool promiscuous : {false, true}) {
      SCOPED_TRACE(std::string(mode) + (promiscuous ? ", promiscuous" : ""));
      const Snapshot before = snapshot();
      const Json conf = macvtap_config({{"mode", mode}, {"promiscMode", promiscuous}});
      ASSERT_CNI_OK(add(pod("vm"), conf, "vm"));
      const TapPort guest(open_device("vm"));
      const PacketSocket far("", "up0-far");
      // The solicited-node group of an IPv6 address, RFC 4291 and 2464.
      far.send(make_frame(mac_of("33:33:ff:00:01:07"), mac_of(kPeerMac), kEtherTypeIpv6,
                          std::vector<std::uint8_t>(64, 0x60)));
      EXPECT_TRUE(guest.receive([](const Frame& frame) { return ether_type_of(frame) == kEtherTypeIpv6; }));
      ASSERT_CNI_OK(del(pod("vm").path(), conf, "vm"));
      // What the lower device did for the link is taken back.
      EXPECT_SNAP_CLEAN(before, snapshot());
    }
  }
}

// Whether a frame from `a` reaches `b`, and whether it leaves by the wire.
TEST_F(MacvtapTest, ModesSayWhoHearsWhom) {
  struct Case {
    const char* mode;
    bool neighbour;
    bool wire;
  };
  for (const Case& c :
       {Case{"bridge", true, false}, Case{"private", false, true}, Case{"vepa", false, true}}) {
    SCOPED_TRACE(c.mode);
    const Json conf = macvtap_config({{"mode", c.mode}, {"mac", nullptr}});
    const std::string b_mac = (attach("a", conf), attach("b", conf))["interfaces"][0]["mac"];
    EXPECT_EQ(link("a")["linkinfo"]["info_data"]["mode"], c.mode);
    const TapPort a(open_device("a"));
    const TapPort b(open_device("b"));
    const PacketSocket wire("", "up0-far");
    a.send({.header = {}, .frame = make_test_frame(mac_of(b_mac), mac_of(link("a")["address"]), c.mode)});
    EXPECT_EQ(b.receive(carrying(c.mode), std::chrono::milliseconds(c.neighbour ? 5000 : 300)).has_value(),
              c.neighbour);
    EXPECT_EQ(wire.receive(carrying(c.mode), std::chrono::milliseconds(c.wire ? 5000 : 300)).has_value(),
              c.wire);
    for (const char* name : {"a", "b"}) {
      EXPECT_CNI_OK(del(pod(name).path(), conf, name));
    }
  }
}

TEST_F(MacvtapTest, F091_PassthruLendsTheLowerDeviceItsMac) {
  make_pod("vm");
  const Snapshot before = snapshot();
  const Json conf = macvtap_config({{"mode", "passthru"}});
  const CniOutcome added = add(pod("vm"), conf, "vm");
  ASSERT_CNI_OK(added);
  EXPECT_EQ((*added.document)["interfaces"][0]["mac"], kMacvtapGuest);
  EXPECT_EQ(link("vm")["address"], kMacvtapGuest);
  EXPECT_EQ(link_of("", "up0")["address"], kMacvtapGuest);
  EXPECT_CNI_OK(check(pod("vm"), conf, *added.document, "vm"));
  const TapPort guest(open_device("vm"));
  const PacketSocket far("", "up0-far");
  far.send(make_test_frame(mac_of(kMacvtapGuest), mac_of(kPeerMac), "through"));
  EXPECT_TRUE(guest.receive(carrying("through")));
  EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  EXPECT_EQ(link_of("", "up0")["address"], kLowerMac);
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_F(MacvtapTest, F091_PassthruIsForOneAndTheErrorNamesIt) {
  make_pod("vm");
  const Json first = macvtap_config({{"mode", "passthru"}, {"mac", nullptr}});
  attach("holder", first);
  for (const char* mode : {"passthru", "bridge"}) {
    expect_refused(macvtap_config({{"mode", mode}}), Code::kConflict, {"up0", "holder", "passthru"});
  }
  // One whose sandbox is gone without a DEL holds nothing.
  pods().at("holder")->remove();
  EXPECT_CNI_OK(add(pod("vm"), macvtap_config({{"mode", "passthru"}}), "vm"));
  EXPECT_CNI_OK(del(pod("vm").path(), first, "vm"));
  attach("other", macvtap_config({{"mac", nullptr}}));
  expect_refused(macvtap_config({{"mode", "passthru"}}), Code::kConflict, {"up0", "other", "passthru"});
}

TEST_F(MacvtapTest, LowerDeviceThatCannotCarryOneIsNamedWithTheReason) {
  make_pod("vm");
  make_lower("port0", "02:00:00:00:00:20", "02:00:00:00:00:21");
  must({"ip", "link", "add", "br1", "type", "bridge"});
  must({"ip", "link", "set", "port0", "master", "br1"});
  must({"ip", "link", "add", "mv0", "link", "up0", "type", "macvlan"});
  must({"ip", "link", "property", "add", "dev", "up0", "altname", "uplink-of-the-node"});
  make_pod("elsewhere");
  make_lower("moved0", "02:00:00:00:00:30", "02:00:00:00:00:31");
  must({"ip", "link", "set", "moved0", "netns", "elsewhere"});
  expect_refused(macvtap_config({{"lowerDevice", "none0"}}), Code::kNotFound, {"none0"});
  expect_refused(macvtap_config({{"lowerDevice", "moved0"}}), Code::kNotFound,
                 {"moved0", "moved into a pod"});
  expect_refused(macvtap_config({{"lowerDevice", "lo"}}), Code::kConflict, {"lo", "loopback"});
  expect_refused(macvtap_config({{"lowerDevice", "port0"}}), Code::kConflict, {"port0", "bridge br1"});
  expect_refused(macvtap_config({{"lowerDevice", "mv0"}}), Code::kConflict, {"mv0", "macvlan"});
  must({"ip", "link", "set", "up0", "down"});
  expect_refused(macvtap_config(), Code::kConflict, {"up0", "down", "ip link set up0 up"});
}

TEST_F(MacvtapTest, WrongValuesAreNamed) {
  make_pod("vm");
  expect_refused(macvtap_config({{"lowerDevice", nullptr}}), Code::kInvalidConfig,
                 {"lowerDevice", "deviceID"});
  expect_refused(macvtap_config({{"lowerDevice", "a/b"}}), Code::kInvalidConfig, {"lowerDevice", "a/b"});
  for (const Json& mode : {Json("Bridge"), Json("source"), Json(""), Json(1)}) {
    expect_refused(macvtap_config({{"mode", mode}}), Code::kInvalidConfig, {"mode", mode.dump()});
  }
  expect_refused(macvtap_config({{"mtu", 1501}}), Code::kInvalidConfig, {"mtu", "1501", "up0", "1500"});
  expect_refused(macvtap_config({{"mtu", 67}}), Code::kInvalidConfig, {"mtu", "67"});
  for (const int queues : {0, -1, 257}) {
    expect_refused(macvtap_config({{"queues", queues}}), Code::kInvalidConfig, {"queues"});
  }
  for (const char* mac : {"00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "02:00:00"}) {
    expect_refused(macvtap_config({{"mac", mac}}), Code::kInvalidConfig, {"mac", mac});
  }
  expect_refused(macvtap_config({{"mac", kLowerMac}}), Code::kConflict, {kLowerMac, "up0"});
  expect_refused(macvtap_config({{"ipam", {{"type", "dhcp"}}}}), Code::kUnsupportedField,
                 {"dhcp", "macvtap"});
}

TEST_F(MacvtapTest, MacOfAForeignMacvlanIsNotTakenOver) {
  make_pod("vm");
  must({"ip", "link", "add", "mv0", "link", "up0", "address", kMacvtapGuest, "type", "macvlan", "mode",
        "bridge"});
  must({"ip", "link", "set", "mv0", "up"});
  expect_refused(macvtap_config(), Code::kConflict, {"MAC", "in use"});
}

TEST_F(MacvtapTest, F066_MigrationWithinTheNodeIsRefusedWithTheReason) {
  fs::create_directories(node().pods_dir());
  for (const char* uid : {"u1", "u2"}) {
    Json facts = {{"schema", 1},
                  {"namespace", "blue"},
                  {"name", uid},
                  {"uid", uid},
                  {"vm", {{"name", "vm1"}, {"uid", "v1"}}}};
    if (uid == std::string("u2")) facts["migration"] = {{"uid", "m1"}, {"role", "target"}};
    spit(node().pods_dir() / (std::string(uid) + ".json"), facts.dump());
  }
  const auto start = [&](const std::string& uid) {
    CniCall request = call("ADD", make_pod(uid).path(), macvtap_config(), uid);
    request.args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + uid + ";K8S_POD_UID=" + uid;
    return run_call(request);
  };
  ASSERT_CNI_OK(start("u1"));
  const CniOutcome target = start("u2");
  EXPECT_CNI_ERROR(target, Code::kConflict);
  EXPECT_NE(target.details().find("another node"), std::string::npos) << target;
}

// The test's node and a second one, a namespace, on one switch.
class MacvtapNodesTest : public MacvtapTest {
 protected:
  static constexpr const char* kVm = "vm1";

  void SetUp() override {
    MacvtapTest::SetUp();
    if (IsSkipped()) return;
    const std::string other = make_pod("node-b").path();
    const std::string middle = make_pod("switch").path();
    must({"ip", "link", "set", "up0-far", "netns", middle});
    must({"ip", "link", "add", "up0", "netns", other, "type", "veth", "peer", "name", "b-far", "netns",
          middle});
    for (const char* command : {"link add sw type bridge", "link set sw up", "link set up0-far master sw",
                                "link set up0-far up", "link set b-far master sw", "link set b-far up"})
      must({"sh", "-c", std::string("ip -n switch ") + command});
    must({"ip", "-n", "node-b", "link", "set", "up0", "up"});
    ASSERT_TRUE(await_active("", "up0") && await_active(other, "up0"));
    for (const char* directory : {"state", "run/pods"}) fs::create_directories(second() / directory);
    spit(second() / "node.json",
         Json{{"stateDir", second() / "state"}, {"runDir", second() / "run"}, {"logFile", second() / "log"}}
             .dump());
    // The nodes share this machine's /dev: numbers that the first does not come to.
    const int first = std::stoi(slurp(node().ifindex_file()));
    spit(second() / "run/ifindex", std::to_string(first + 64));
  }
  fs::path second() const { return directory() / "node-b"; }
  // ADD for a pod of the VM on one of the nodes; as the target of a migration on the second.
  CniOutcome start(const std::string& uid, bool on_second) {
    Json facts = {{"schema", 1},
                  {"namespace", "blue"},
                  {"name", uid},
                  {"uid", uid},
                  {"vm", {{"name", kVm}, {"uid", "v1"}}}};
    if (on_second) facts["migration"] = {{"uid", "m1"}, {"role", "target"}};
    const fs::path pods = on_second ? second() / "run/pods" : node().pods_dir();
    fs::create_directories(pods);
    spit(pods / (uid + ".json"), facts.dump());
    CniCall request =
        call("ADD", make_pod(uid).path(), macvtap_config({{"mac", nullptr}, {"spoofCheck", false}}), uid);
    request.args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + uid + ";K8S_POD_UID=" + uid;
    if (on_second) request.options.netns = pod("node-b").path();
    return run_plugin(plugin(), request, on_second ? second() / "node.json" : node_json());
  }
  static std::string mac_in(const CniOutcome& outcome) {
    return outcome.document->at("interfaces").at(0).at("mac").get<std::string>();
  }
  // Behind which of its ports the switch has seen the MAC; empty when behind none.
  std::string port_of(const std::string& mac) const {
    for (const Json& entry :
         Json::parse(pod("switch").run({"bridge", "-j", "fdb", "show", "br", "sw"}).out)) {
      if (entry.value("mac", "") == mac) return entry.value("ifname", "");
    }
    return "";
  }
};

TEST_F(MacvtapNodesTest, F066_TargetHasTheMacAndGetsTheTrafficOnceTheSourceIsGone) {
  const CniOutcome source = start("source", false);
  ASSERT_CNI_OK(source);
  const std::string mac = mac_in(source);
  const MacAddress vm_mac = mac_of(mac);
  const MacAddress client_mac = mac_of("02:00:00:00:01:08");
  attach("client", macvtap_config({{"mac", client_mac.to_string()}, {"spoofCheck", false}}));
  const FakeGuest client = FakeGuest::on_macvtap(pod("client").path(), "eth0", client_mac);
  const FakeGuest on_source = FakeGuest::on_macvtap(pod("source").path(), "eth0", vm_mac);
  const auto gets = [&](const FakeGuest& guest, const std::string& text) {
    client.send(make_test_frame(vm_mac, client_mac, text));
    return guest.receive(carrying(text), std::chrono::milliseconds(200)).has_value();
  };
  on_source.send(make_test_frame(broadcast_mac(), vm_mac, "here"));
  ASSERT_TRUE(eventually([&] { return port_of(mac) == "up0-far"; }));
  ASSERT_TRUE(eventually([&] { return gets(on_source, "before"); }));

  // The target is there with the same MAC, and the switch has not heard of it.
  const CniOutcome target = start("target", true);
  ASSERT_CNI_OK(target);
  EXPECT_EQ(mac_in(target), mac);
  const FakeGuest on_target = FakeGuest::on_macvtap(pod("target").path(), "eth0", vm_mac);
  EXPECT_EQ(port_of(mac), "up0-far");
  EXPECT_TRUE(eventually([&] { return gets(on_source, "still"); }));

  // The hand-over: the source goes, although its pod's namespace lives on, and the guest speaks at the
  // target.
  const Json conf = macvtap_config({{"mac", nullptr}, {"spoofCheck", false}});
  ASSERT_CNI_OK(del(pod("source").path(), conf, "source"));
  on_target.send(make_test_frame(broadcast_mac(), vm_mac, "moved"));
  EXPECT_TRUE(eventually([&] { return port_of(mac) == "b-far"; }));
  EXPECT_TRUE(eventually([&] { return gets(on_target, "after"); }));

  CniCall end = call("DEL", pod("target").path(), conf, "target");
  end.options.netns = pod("node-b").path();
  EXPECT_CNI_OK(run_plugin(plugin(), end, second() / "node.json"));
}

TEST_F(MacvtapTest, RateFromTheWorkloadIsLimited) {
  attach("vm", macvtap_config({{"runtimeConfig", {{"bandwidth", {{"egressRate", 16000000}}}}}}));
  const std::string queues = pod("vm").run({"tc", "qdisc", "show", "dev", "eth0"}).out;
  EXPECT_NE(queues.find("rate 16Mbit"), std::string::npos) << queues;
}

TEST_F(MacvtapTest, RateToTheWorkloadIsHeld) {
  constexpr double kRate = 8e6;  // bit/s
  constexpr std::chrono::milliseconds kSettling{1000};
  constexpr std::chrono::milliseconds kMeasured{3000};
  make_pod("vm");
  const Snapshot before = snapshot();
  const Json bandwidth = {{"ingressRate", 8000000}, {"ingressBurst", 800000}};
  const Json conf = macvtap_config({{"runtimeConfig", {{"bandwidth", bandwidth}}}});
  const CniOutcome outcome = add(pod("vm"), conf, "vm");
  ASSERT_CNI_OK(outcome);
  EXPECT_CNI_OK(check(pod("vm"), conf, *outcome.document, "vm"));
  std::optional<Fd> device(open_device("vm"));
  std::atomic<bool> stop = false;
  std::thread flood([&] {
    const PacketSocket far("", "up0-far");
    const Frame frame =
        make_frame(mac_of(kMacvtapGuest), mac_of(kPeerMac), kEtherTypeTest, std::vector<std::uint8_t>(1486));
    for (; !stop; std::this_thread::sleep_for(std::chrono::milliseconds(2)))
      for (int i = 0; i < 4; i++) far.send(frame);  // some 24 Mbit/s
  });
  const auto bytes_within = [&](std::chrono::milliseconds time) {
    constexpr std::size_t kVnetHeader = 10;
    double bytes = 0;
    std::array<std::uint8_t, 4096> buffer{};
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      const ssize_t size = ::read(device->get(), buffer.data(), buffer.size());
      if (size > static_cast<ssize_t>(kVnetHeader)) bytes += static_cast<double>(size) - kVnetHeader;
      if (size < 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return bytes;
  };
  bytes_within(kSettling);
  const double rate = bytes_within(kMeasured) * 8 / std::chrono::duration<double>(kMeasured).count();
  stop = true;
  flood.join();
  EXPECT_NEAR(rate, kRate, 0.05 * kRate);
  device.reset();
  EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_F(MacvtapTest, StatusTellsALowerDeviceThatCannotBeUsed) {
  const auto status = [&](const Json& conf) { return run_call(call("STATUS", "", conf)); };
  EXPECT_CNI_OK(status(macvtap_config()));
  EXPECT_CNI_OK(status(macvtap_config({{"lowerDevice", nullptr}})));
  EXPECT_CNI_ERROR(status(macvtap_config({{"mtu", 9000}})), Code::kNotAvailable);
  must({"ip", "link", "set", "up0", "down"});
  const CniOutcome down = status(macvtap_config());
  EXPECT_CNI_ERROR(down, Code::kNotAvailable);
  EXPECT_NE(down.message().find("up0 is down"), std::string::npos) << down;
}

TEST_F(MacvtapTest, DeviceIdSaysLowerDeviceAndNumber) {
  make_pod("vm");
  make_lower("up-1", "02:00:00:00:00:40", "02:00:00:00:00:41");
  Json conf = macvtap_config({{"lowerDevice", nullptr}, {"deviceID", "up-1-1949999"}});
  const CniOutcome added = add(pod("vm"), conf, "vm");
  ASSERT_CNI_OK(added);
  EXPECT_EQ(link("vm")["ifindex"], 1949999);
  EXPECT_TRUE(fs::exists("/dev/tap1949999"));
  EXPECT_EQ(link("vm")["link_index"], link_of("", "up-1")["ifindex"]);
  EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  EXPECT_FALSE(fs::exists("/dev/tap1949999"));
  for (const char* id : {"up0", "up0-7", "up0-x", "up0-", "-1949999", "dataplaneMvp0", "up0-268435456"}) {
    expect_refused(overlaid(conf, {{"deviceID", id}}), Code::kInvalidConfig, {id});
  }
  expect_refused(overlaid(conf, {{"lowerDevice", "up0"}}), Code::kInvalidConfig, {"up0", "up-1"});
}

// macvtap-cni's definitions have nothing but this; the device plugin's id comes by Multus.
TEST_F(MacvtapTest, DefinitionOfMacvtapCniWorksWithOnlyTheTypeChanged) {
  make_pod("vm");
  const Json conf = {
      {"cniVersion", "0.3.1"}, {"name", "dataplane"}, {"type", "vmlane-macvtap"},  {"mtu", 1400},
      {"promiscMode", true},   {"owner", 0},          {"deviceID", "up0-1949998"}, {"group", 0}};
  CniCall request = call("ADD", pod("vm").path(), conf, "vm", "net1");
  request.args = "IgnoreUnknown=true;MAC=02:00:00:00:00:77";
  const CniOutcome added = run_call(request);
  ASSERT_CNI_OK(added);
  const Json made = link_of(pod("vm").path(), "net1");
  EXPECT_EQ(made["address"], "02:00:00:00:00:77");
  EXPECT_EQ(made["mtu"], 1400);
  EXPECT_NE(std::ranges::find(made["flags"], "PROMISC"), made["flags"].end());
  request.command = "DEL";
  EXPECT_CNI_OK(run_call(request));
}

TEST_F(MacvtapTest, F019_DeviceOfTheSameNumberElsewhereIsNeitherUsedNorTouched) {
  make_pod("vm");
  make_pod("foreign");
  must({"ip", "link", "add", "link", "up0", "name", "m", "index", "1949997", "netns", "foreign", "type",
        "macvtap", "mode", "bridge"});
  struct stat before {};
  ASSERT_EQ(::stat("/dev/tap1949997", &before), 0);
  expect_refused(macvtap_config({{"lowerDevice", nullptr}, {"deviceID", "up0-1949997"}}), Code::kConflict,
                 {"/dev/tap1949997"});
  struct stat after {};
  ASSERT_EQ(::stat("/dev/tap1949997", &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_uid, 0U);
}

TEST_F(MacvtapTest, F092_ParallelAddsHaveANumberAndADeviceEach) {
  constexpr int kTogether = 20;
  std::vector<std::future<CniOutcome>> running;
  for (int i = 0; i < kTogether; i++) make_pod("p" + std::to_string(i));
  for (int i = 0; i < kTogether; i++) {
    running.push_back(std::async(std::launch::async, [this, i] {
      const std::string name = "p" + std::to_string(i);
      return add(pod(name), macvtap_config({{"mac", nullptr}}), name);
    }));
  }
  for (auto& outcome : running) {
    EXPECT_CNI_OK(outcome.get());
  }
  std::set<int> numbers;
  for (int i = 0; i < kTogether; i++) {
    const Json made = link("p" + std::to_string(i));
    numbers.insert(made.value("ifindex", 0));
    EXPECT_TRUE(fs::exists(node_of(made)));
  }
  EXPECT_EQ(numbers.size(), static_cast<std::size_t>(kTogether));
  EXPECT_GE(*numbers.begin(), names::MacvtapSlot::kFirstIndex);
}

TEST_F(MacvtapTest, F091_CheckTellsWhatBecameOfTheLowerDevice) {
  const Json conf = macvtap_config();
  const Json result = attach("vm", conf);
  EXPECT_CNI_OK(check(pod("vm"), conf, result, "vm"));
  must({"ip", "link", "set", "up0", "down"});
  expect_changed("vm", conf, result, "lower device up0 is down");
  must({"ip", "link", "set", "up0", "name", "up9"});
  expect_changed("vm", conf, result, "up0 is called up9");
  must({"ip", "link", "set", "up9", "name", "up0"});
  must({"ip", "link", "set", "up0", "up"});
  EXPECT_CNI_OK(check(pod("vm"), conf, result, "vm"));
  make_pod("elsewhere");
  must({"ip", "link", "set", "up0", "netns", "elsewhere"});
  expect_changed("vm", conf, result, "lower device up0 is gone");
  EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  EXPECT_TRUE(link("vm").is_null());
}

TEST_F(MacvtapTest, CheckTellsWhatWasChanged) {
  const Json conf = macvtap_config({{"mtu", 1400}});
  const Json result = attach("vm", conf);
  const std::string node = node_of(link("vm")).string();
  const auto in_pod = [&](std::vector<std::string> argv) {
    argv.insert(argv.begin(), {"ip", "-n", "vm", "link", "set", "eth0"});
    must(argv);
  };
  in_pod({"mtu", "1300"});
  expect_changed("vm", conf, result, "MTU of eth0 is 1300");
  in_pod({"mtu", "1400"});
  in_pod({"promisc", "on"});
  expect_changed("vm", conf, result, "promiscuous");
  in_pod({"promisc", "off"});
  in_pod({"type", "macvtap", "mode", "private"});
  expect_changed("vm", conf, result, "mode of eth0 is private, ADD set bridge");
  in_pod({"type", "macvtap", "mode", "bridge"});
  must({"chown", "0:0", node});
  expect_changed("vm", conf, result, "owner of " + node + " is 0:0");
  must({"chown", "107:107", node});
  must({"chmod", "600", node});
  expect_changed("vm", conf, result, node);
  must({"chmod", "660", node});
  EXPECT_CNI_OK(check(pod("vm"), conf, result, "vm"));
  in_pod({"down"});
  expect_changed("vm", conf, result, "eth0 is down");
  must({"ip", "-n", "vm", "link", "del", "eth0"});
  expect_changed("vm", conf, result, "eth0 is gone");
}

TEST_F(MacvtapTest, DelWhileAProcessHoldsTheDevice) {
  make_pod("vm");
  const Snapshot before = snapshot();
  const Json conf = macvtap_config();
  ASSERT_CNI_OK(add(pod("vm"), conf, "vm"));
  const fs::path node = node_of(link("vm"));
  const Fd held = open_device("vm");
  EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  EXPECT_FALSE(fs::exists(node));
  EXPECT_SNAP_CLEAN(before, snapshot());
  // The next ADD does not mind that the old queue is still open.
  EXPECT_CNI_OK(add(pod("vm"), conf, "vm"));
}

TEST_F(MacvtapTest, RenamedLinkIsFoundWithAndWithoutItsRecord) {
  make_pod("vm");
  const Snapshot before = snapshot();
  for (const bool record : {true, false}) {
    const Json conf = macvtap_config();
    ASSERT_CNI_OK(add(pod("vm"), conf, "vm"));
    must({"ip", "-n", "vm", "link", "set", "eth0", "down"});
    must({"ip", "-n", "vm", "link", "set", "eth0", "name", "other7"});
    if (!record)
      fs::remove(node().attachments_dir() / (names::attachment_id("blue", "vm", "eth0") + ".json"));
    EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
}

// A node that is a container itself: its /dev is not the kernel's.
TEST_F(MacvtapTest, WhereTheKernelKeepsNoDevTheNodeIsMadeAndRemoved) {
  make_pod("vm");
  must({"mount", "-t", "tmpfs", "-o", "dev", "tmpfs", "/dev"});
  must({"mknod", "/dev/null", "c", "1", "3"});
  const Snapshot before = snapshot();
  const Json conf = macvtap_config();
  const CniOutcome added = add(pod("vm"), conf, "vm");
  EXPECT_CNI_OK(added);
  const fs::path node = node_of(link("vm"));
  struct stat status {};
  EXPECT_EQ(::stat(node.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 107U);
  { const Fd queue = open_device("vm"); }
  EXPECT_CNI_OK(check(pod("vm"), conf, added.document.value_or(Json()), "vm"));
  EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  EXPECT_FALSE(fs::exists(node));
  EXPECT_SNAP_CLEAN(before, snapshot());
  // Killed at whatever step, with the pod gone: the node is still known.
  for (int step = 1;; step++) {
    SCOPED_TRACE("kill-after:" + std::to_string(step));
    make_pod("vm");
    CniCall request = call("ADD", pod("vm").path(), conf, "vm");
    request.env["VMLANE_FAULT"] = "kill-after:" + std::to_string(step);
    const bool whole = run_call(request).ok();
    pods().at("vm")->remove();
    EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
    const auto left = test::run({"sh", "-c", "ls /dev/tap* 2>/dev/null"}).out;
    EXPECT_EQ(left, "");
    if (whole || HasFailure()) break;
  }
  must({"umount", "-l", "/dev"});
}

TEST_F(MacvtapTest, CounterFileOfAnotherHandIsBegunAnew) {
  for (const char* text : {"", "no number", "7\n", "999999999999999\n", "268435456\n"}) {
    SCOPED_TRACE(text);
    fs::create_directories(node().run_dir);
    spit(node().run_dir / "ifindex", text);
    const Json conf = macvtap_config();
    attach("vm", conf);
    EXPECT_GE(link("vm")["ifindex"], names::MacvtapSlot::kFirstIndex);
    EXPECT_LT(link("vm")["ifindex"], names::MacvtapSlot::kEndIndex);
    EXPECT_CNI_OK(del(pod("vm").path(), conf, "vm"));
  }
}

}  // namespace
}  // namespace vmlane::test
