// SPDX-License-Identifier: Apache-2.0
// Cases from the field that belong to no single operation: a pod that changes under us, a host full of other
// people's names, a node with a part missing, and versions that change between ADD and DEL.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>

#include "tests/conformance/lane_test.h"
#include "tests/support/guest.h"
#include "tests/support/long_run.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class FieldTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    before_ = snapshot();
  }
  Pod& pod() { return *pods().at("a"); }
  void in_pod(const std::vector<std::string>& argv) {
    const RunResult ran = pod().run(argv);
    ASSERT_TRUE(ran.ok()) << argv[0] << " " << argv[1] << ": " << ran.err;
  }
  static std::string address_of(const Json& result) {
    const std::string text = result["ips"][0]["address"];
    return text.substr(0, text.find('/'));
  }
  Snapshot before_;
};

// What only the lanes on a Linux bridge have.
class BridgeFieldTest : public FieldTest {};

// ---- the pod changes under us ----

TEST_P(FieldTest, F069_LinkRenamedAndAltered) {
  ASSERT_CNI_OK(add(pod(), config(), "c1", "net1"));
  in_pod({"ip", "link", "set", "net1", "down"});
  in_pod({"ip", "link", "set", "net1", "name", "data0"});
  in_pod({"ip", "link", "set", "data0", "address", "02:00:00:00:00:77"});
  in_pod({"ip", "link", "set", "data0", "alias", "mine"});
  in_pod({"ip", "link", "set", "data0", "up"});
  in_pod({"ip", "addr", "add", "203.0.113.7/24", "dev", "data0"});
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

// The kernel lets no link have a name that another has, be it only as a further one.
TEST_P(FieldTest, F038_FurtherNamesOfOtherLinks) {
  must({"ip", "link", "property", "add", "dev", "lo", "altname", "net1"});
  const Snapshot before = snapshot();
  ASSERT_CNI_OK(add(pod(), config(), "c1", "net1")) << "a link of the node is in nobody's way";
  ASSERT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  EXPECT_SNAP_CLEAN(before, snapshot());

  in_pod({"ip", "link", "property", "add", "dev", "lo", "altname", "net1"});
  const CniOutcome refused = add(pod(), config(), "c1", "net1");
  EXPECT_CNI_ERROR(refused, Code::kConflict);
  EXPECT_NE(refused.message().find("net1"), std::string::npos) << refused;
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  in_pod({"ip", "link", "property", "del", "dev", "lo", "altname", "net1"});
  EXPECT_SNAP_CLEAN(before, snapshot());
  must({"ip", "link", "property", "del", "dev", "lo", "altname", "net1"});
}

TEST_P(FieldTest, F038_LinkThatIsRenamedAndKeepsItsOldNameAsAFurtherOne) {
  for (int round = 0; round < 2; round++) {
    ASSERT_CNI_OK(add(pod(), config(), "c1", "net1")) << round;
    in_pod({"ip", "link", "set", "net1", "down"});
    in_pod({"ip", "link", "set", "net1", "name", "data0"});
    in_pod({"ip", "link", "property", "add", "dev", "data0", "altname", "net1"});
    ASSERT_CNI_OK(del(pod().path(), config(), "c1", "net1")) << round;
    EXPECT_SNAP_CLEAN(before_, snapshot());
  }
}

TEST_P(BridgeFieldTest, F069_LinkMovedOnToAThirdNamespace) {
  Pod& third = make_pod("third");
  before_ = snapshot();
  ASSERT_CNI_OK(add(pod(), config(), "c1", "net1"));
  in_pod({"ip", "link", "set", "net1", "netns", "third"});
  ASSERT_TRUE(third.run({"ip", "link", "set", "net1", "name", "data0"}).ok());
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

TEST_P(FieldTest, F069_LinkMovedBackToTheHost) {
  ASSERT_CNI_OK(add(pod(), config(), "c1", "net1"));
  in_pod({"ip", "link", "set", "net1", "netns", std::to_string(::getpid()), "name", "stray0"});
  ASSERT_FALSE(link_of("", "stray0").is_null());
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1"));
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

TEST_P(BridgeFieldTest, F111_OneOfThreeNicsGoesAndTheOthersDoNotNotice) {
  const Json conf = config({{"isGateway", true}});
  std::map<std::string, Json> results;
  for (const char* ifname : {"net1", "net2", "net3"}) {
    const CniOutcome outcome = add(pod(), conf, "c1", ifname);
    ASSERT_CNI_OK(outcome);
    results[ifname] = *outcome.document;
  }
  // vmlane-tap: the VM holds its taps open.
  std::map<std::string, std::unique_ptr<FakeGuest>> guests;
  if (is_tap()) {
    for (const auto& [ifname, result] : results) {
      const std::string mac = sandbox_interface(result)["mac"];
      auto& guest = guests[ifname] =
          std::make_unique<FakeGuest>(pod().path(), names::tap_link(ifname), *MacAddress::parse(mac));
      guest->serve(*IpAddress::parse(address_of(result)));
    }
  }
  // Three NICs of one network in one pod: the replies of a veth pod leave by one of them, which is enough
  // here.
  const std::vector<std::string> kept =
      is_tap() ? std::vector<std::string>{"net1", "net3"} : std::vector<std::string>{"net1"};
  const auto reachable = [&](const std::string& ifname) {
    return reach("", address_of(results[ifname]), {.count = 1}).all();
  };
  for (const std::string& ifname : kept) ASSERT_TRUE(reachable(ifname)) << ifname;

  std::vector<std::unique_ptr<BackgroundProcess>> pinging;
  for (const std::string& ifname : kept) {
    pinging.push_back(std::make_unique<BackgroundProcess>(
        std::vector<std::string>{"ping", "-n", "-q", "-i", "0.02", address_of(results[ifname])},
        RunOptions{.stdout_path = (directory() / (ifname + ".txt")).string()}));
  }
  const CniOutcome gone = del(pod().path(), conf, "c1", "net2");
  EXPECT_CNI_OK(gone);
  EXPECT_LT(gone.process.duration, std::chrono::seconds(10)) << "a tap in use must not hold it up";
  EXPECT_TRUE(link_of(pod().path(), "net2").is_null());
  EXPECT_TRUE(link_of(pod().path(), names::tap_link("net2")).is_null());
  EXPECT_TRUE(owned_link_of(id_of("c1", "net2")).is_null());
  EXPECT_FALSE(fs::exists(record_file(id_of("c1", "net2"))));
  EXPECT_EQ(reserved_addresses().size(), 2U);
  EXPECT_EQ(nics(), 2U);
  for (std::size_t i = 0; i < kept.size(); i++) {
    ::kill(pinging[i]->pid(), SIGINT);  // ping prints its count
    ASSERT_TRUE(pinging[i]->wait(std::chrono::seconds(5)));
    const std::string output = slurp(directory() / (kept[i] + ".txt"));
    EXPECT_NE(output.find(" 0% packet loss"), std::string::npos) << output;
  }
  for (const char* ifname : {"net1", "net3"})
    EXPECT_CNI_OK(check(pod(), conf, results[ifname], "c1", ifname));

  guests.erase("net2");
  Json other_mac = conf;
  other_mac["mac"] = "02:00:00:00:02:22";
  const CniOutcome again = add(pod(), other_mac, "c1", "net2");
  ASSERT_CNI_OK(again);
  EXPECT_EQ(sandbox_interface(*again.document)["mac"], "02:00:00:00:02:22");
  for (const char* ifname : {"net1", "net2", "net3"}) EXPECT_CNI_OK(del(pod().path(), conf, "c1", ifname));
  guests.clear();
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

// ---- names ----

TEST_P(FieldTest, F092_F093_ManyPodsAndTheHostHaveALinkOfTheSameName) {
  constexpr int kPods = 30;
  must({"ip", "link", "add", "net1", "address", "02:00:00:00:00:11", "type", "bridge"});
  if (is_tap()) must({"ip", "tuntap", "add", "tap1", "mode", "tap"});
  std::vector<CniCall> adds;
  std::vector<CniCall> dels;
  for (int i = 0; i < kPods; i++) {
    const std::string name = "p" + std::to_string(i);
    const Pod& each = make_pod(name);
    // A link that a tool might use on the way, and one of the name that the host end gets.
    if (i == 0)
      must({"ip", "-n", name, "link", "add", names::host_link(id_of(name, "net1")), "type", "bridge"});
    adds.push_back(call("ADD", each.path(), config(), name, "net1"));
    dels.push_back(call("DEL", each.path(), config(), name, "net1"));
  }
  before_ = snapshot();
  const Json net1 = link_of("", "net1");
  for (const CniOutcome& outcome : run_at_once(adds)) ASSERT_CNI_OK(outcome);
  EXPECT_EQ(link_of("", "net1"), net1);
  EXPECT_EQ(nics(), static_cast<std::size_t>(kPods));
  for (const CniOutcome& outcome : run_at_once(dels)) EXPECT_CNI_OK(outcome);
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

TEST_P(FieldTest, F109_KeysThatLookAlikeWhenCutOrJoinedAreDifferentAttachments) {
  const std::string longest(252, 'n');
  struct Key {
    std::string network;
    std::string container;
    std::string ifname;
  };
  const std::vector<Key> keys = {{longest + "1", "c", "net1"}, {longest + "2", "c", "net2"},
                                 {"a-b", "c", "net3"},         {"a", "b-c", "net4"},
                                 {"a.b", "c", "net5"},         {"a", "b.c", "net6"},
                                 {"a", longest + "x", "net7"}, {"a", longest + "y", "net8"}};
  std::set<std::string> hosts;
  for (const Key& key : keys) {
    const Json conf = config({{"name", key.network}});
    ASSERT_CNI_OK(add(pod(), conf, key.container, key.ifname)) << key.ifname;
    const Json host = owned_link_of(id_of(key.container, key.ifname, key.network));
    ASSERT_FALSE(host.is_null());
    hosts.insert(host["ifname"]);
  }
  EXPECT_EQ(hosts.size(), keys.size());
  for (const Key& key : keys)
    EXPECT_CNI_OK(del(pod().path(), config({{"name", key.network}}), key.container, key.ifname));
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

// ---- MTU ----

TEST_P(BridgeFieldTest, F026_MtuOfTheBridgeIsTheNicsAndASmallerPodShrinksNobody) {
  must({"ip", "link", "add", "uplink", "mtu", "1450", "type", "veth", "peer", "name", "wire"});
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
  must({"ip", "link", "set", "uplink", "master", "br1", "up"});
  must({"ip", "link", "set", "br1", "up"});
  ASSERT_EQ(link_of("", "br1")["mtu"], 1450);
  const Json conf = config({{"isGateway", true}});
  const CniOutcome first = add(pod(), conf);
  ASSERT_CNI_OK(first);
  EXPECT_EQ(sandbox_interface(*first.document)["mtu"], 1450);
  std::vector<std::string> links = {"eth0"};
  if (is_tap()) links.emplace_back("tap0");
  const auto expect_1450 = [&] {
    for (const std::string& link : links) EXPECT_EQ(link_of(pod().path(), link)["mtu"], 1450) << link;
    EXPECT_EQ(owned_link_of(id_of())["mtu"], 1450);
    EXPECT_EQ(link_of("", "br1")["mtu"], 1450);
  };
  expect_1450();
  const CniOutcome refused = add(make_pod("big"), config({{"mtu", 9000}}), "big");
  EXPECT_CNI_ERROR(refused, Code::kInvalidConfig);
  EXPECT_NE(refused.message().find("1450"), std::string::npos) << refused;
  ASSERT_CNI_OK(add(make_pod("small"), config({{"mtu", 1300}}), "small"));
  expect_1450();
  if (!is_tap()) {
    EXPECT_TRUE(reach(pod().path(), "192.0.2.1", {.count = 1, .payload = 1422, .dont_fragment = true}).all());
    EXPECT_EQ(ping(pod().path(), "192.0.2.1", {.count = 1, .payload = 1423, .dont_fragment = true}).received,
              0);
  }
  EXPECT_CNI_OK(del(pods().at("small")->path(), conf, "small"));
  expect_1450();
}

// ---- versions ----

TEST_P(FieldTest, F062_EveryVersionFromAddToDel) {
  struct Row {
    const char* version;
    bool add;
    bool check;
    bool del;
  };
  for (const Row& row :
       {Row{"", false, false, true}, Row{"0.1.0", false, false, true}, Row{"0.2.0", false, false, true},
        Row{"0.3.0", true, false, true}, Row{"0.3.1", true, false, true}, Row{"0.4.0", true, true, true},
        Row{"1.0.0", true, true, true}, Row{"1.1.0", true, true, true}, Row{"9.9.9", false, false, false}}) {
    SCOPED_TRACE(row.version);
    const Json conf = config({{"cniVersion", row.version}});
    const CniOutcome added = add(pod(), conf);
    if (row.add) {
      ASSERT_CNI_OK(added);
      EXPECT_EQ((*added.document)["cniVersion"], row.version);
    } else {
      EXPECT_CNI_ERROR(added, Code::kIncompatibleVersion);
      EXPECT_FALSE(added.details().empty());
      ASSERT_CNI_OK(add(pod(), config())) << "one for the DEL";
    }
    const CniOutcome checked =
        check(pod(), conf, row.add ? *added.document : Json({{"cniVersion", "1.1.0"}}));
    if (row.check) {
      EXPECT_CNI_OK(checked);
    } else {
      EXPECT_CNI_ERROR(checked, Code::kIncompatibleVersion);
    }
    const CniOutcome deleted = del(pod().path(), conf);
    if (row.del) {
      EXPECT_CNI_OK(deleted);
    } else {
      EXPECT_CNI_ERROR(deleted, Code::kIncompatibleVersion);
      EXPECT_CNI_OK(del(pod().path(), config()));
    }
    EXPECT_SNAP_CLEAN(before_, snapshot());
  }
}

TEST_P(FieldTest, F062_UpgradeBetweenAddAndDel) {
  for (const char* old : {"0.3.0", "0.4.0", "1.0.0"}) {
    const CniOutcome added = add(pod(), config({{"cniVersion", old}}));
    ASSERT_CNI_OK(added);
    Json conf = config({{"cniVersion", "1.1.0"}});
    conf["prevResult"] = *added.document;  // in the old form, as it was cached
    EXPECT_CNI_OK(check(pod(), conf, *added.document));
    EXPECT_CNI_OK(run_call(call("DEL", pod().path(), conf)));
    EXPECT_SNAP_CLEAN(before_, snapshot());
  }
}

TEST_P(FieldTest, F062_PrevResultOfThreeInterfacesAndAddressesWithoutIndex) {
  const Json earlier = {{"cniVersion", "1.0.0"},
                        {"interfaces",
                         {{{"name", "x0"}},
                          {{"name", "x1"}, {"mac", "02:00:00:00:00:01"}},
                          {{"name", "x2"}, {"sandbox", pod().path()}}}},
                        {"ips", {{{"address", "203.0.113.5/24"}}, {{"address", "2001:db8::5/64"}}}}};
  const Json conf = config({{"prevResult", earlier}});
  const CniOutcome added = add(pod(), conf);
  ASSERT_CNI_OK(added);
  const Json& result = *added.document;
  const std::size_t own = is_macvtap() ? 1 : 3;
  ASSERT_EQ(result["interfaces"].size(), 3 + own);
  ASSERT_EQ(result["ips"].size(), 3U);
  EXPECT_FALSE(result["ips"][0].contains("interface"));
  EXPECT_FALSE(result["ips"][1].contains("interface"));
  EXPECT_EQ(result["ips"][2]["interface"], 2 + own) << "its own, counted behind the earlier ones";
  EXPECT_CNI_OK(check(pod(), config(), result));
  Json del_conf = config({{"prevResult", result}});
  EXPECT_CNI_OK(run_call(call("DEL", pod().path(), del_conf)));
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

// ---- GC ----

TEST_P(FieldTest, F063_EachFormOfTheListOnTwoNetworks) {
  const Json net_a = config({{"name", "net-a"}});
  const Json net_b = config({{"name", "net-b"}});
  const auto entry = [](const std::string& container) {
    return Json({{"containerID", container}, {"ifname", "eth0"}});
  };
  const Json a1 = Json::array({entry("a1")});
  const Json a2 = Json::array({entry("a2"), entry("never-seen")});
  struct Row {
    std::string name;
    Json keys;
    std::set<std::string> left;
  };
  const std::vector<Row> rows = {
      {"the newer key", {{"cni.dev/valid-attachments", a1}}, {"a1"}},
      {"the older key", {{"cni.dev/attachments", a1}}, {"a1"}},
      {"both agreeing", {{"cni.dev/valid-attachments", a1}, {"cni.dev/attachments", a1}}, {"a1"}},
      {"both differing", {{"cni.dev/valid-attachments", a2}, {"cni.dev/attachments", a1}}, {"a2"}},
      {"neither", Json::object(), {"a1", "a2", "a3"}},
      {"null", {{"cni.dev/valid-attachments", nullptr}}, {"a1", "a2", "a3"}},
      {"empty", {{"cni.dev/valid-attachments", Json::array()}}, {}},
  };
  for (const char* name : {"a1", "a2", "a3", "b1", "b2"}) make_pod(name);
  for (const char* name : {"b1", "b2"}) ASSERT_CNI_OK(add(*pods().at(name), net_b, name));
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    for (const char* name : {"a1", "a2", "a3"}) ASSERT_CNI_OK(add(*pods().at(name), net_a, name));
    Json conf = net_a;
    conf.update(row.keys);
    EXPECT_CNI_OK(run_call(call("GC", "", conf)));
    for (const char* name : {"a1", "a2", "a3"}) {
      EXPECT_EQ(fs::exists(record_file(id_of(name, "eth0", "net-a"))), row.left.contains(name)) << name;
      EXPECT_EQ(owned_link_of(id_of(name, "eth0", "net-a")).is_null(), !row.left.contains(name)) << name;
    }
    EXPECT_EQ(reserved_addresses("net-a").size(), row.left.size());
    EXPECT_EQ(reserved_addresses("net-b").size(), 2U);
    EXPECT_EQ(nics(), row.left.size() + 2);
    EXPECT_TRUE(fs::exists(ipam_dir() / "net-a" / "lock"));
    EXPECT_TRUE(fs::exists(ipam_dir() / "net-a" / "last_reserved_ip.0"));
    for (const std::string& name : row.left) EXPECT_CNI_OK(del(pods().at(name)->path(), net_a, name));
  }
}

// ---- the allocator's directory ----

TEST_P(FieldTest, F083_ForeignFilesInTheAllocatorsDirectoryAreNobodysBusiness) {
  const fs::path store = ipam_dir() / "blue";
  fs::create_directories(store);
  for (const char* name : {"foo", ".swp", "192.0.2.9~", "README"}) spit(store / name, "not an address");
  fs::create_directory(store / "below");
  const Json conf = config();
  std::set<std::string> given;
  for (int i = 0; i < 3; i++) {
    const CniOutcome outcome = add(pod(), conf, "c" + std::to_string(i), "net" + std::to_string(i));
    ASSERT_CNI_OK(outcome);
    given.insert(address_of(*outcome.document));
  }
  EXPECT_EQ(given.size(), 3U);
  for (int i = 0; i < 3; i++)
    EXPECT_CNI_OK(del(pod().path(), conf, "c" + std::to_string(i), "net" + std::to_string(i)));
  for (const char* name : {"foo", ".swp", "192.0.2.9~", "README"})
    EXPECT_EQ(slurp(store / name), "not an address") << name;
}

TEST_P(FieldTest, F083_EmptyReservationsOfAnotherHandFailTheAddCleanlyOrAreWalkedAround) {
  const fs::path store = ipam_dir() / "blue";
  fs::create_directories(store);
  Json ipam = host_local("192.0.2.0/29");
  const Json conf = config({{"ipam", ipam}});
  for (const char* address : {"192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"}) spit(store / address, "");
  before_ = snapshot();
  const CniOutcome last = add(pod(), conf);
  ASSERT_CNI_OK(last);
  EXPECT_EQ(address_of(*last.document), "192.0.2.6") << "the only one without a file";
  const CniOutcome full = add(make_pod("b"), conf, "c2");
  EXPECT_NE(full.process.status, 0);
  EXPECT_GT(full.code(), 0) << full;
  EXPECT_CNI_OK(del(pods().at("b")->path(), conf, "c2"));
  EXPECT_CNI_OK(del(pod().path(), conf));
  pods().at("b")->remove();
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

// ---- a part is missing ----

TEST_P(FieldTest, F088_WithoutTheAllocatorsProgram) {
  const Json conf = config({{"ipam", {{"type", "not-installed"}}}});
  const CniOutcome status = run_call(call("STATUS", "", conf));
  EXPECT_CNI_ERROR(status, Code::kNotAvailable);
  EXPECT_NE(status.message().find("not-installed"), std::string::npos) << status;
  expect_refused(call("ADD", pod().path(), conf), Code::kInvalidConfig, {"not-installed"});
  EXPECT_CNI_OK(del(pod().path(), conf));
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

TEST_P(FieldTest, F079_SomebodyHoldsTheFirewallsLock) {
  // No part of an attachment without policy goes through iptables.
  const std::string lock = "/run/xtables.lock";
  spit(lock, "");
  const BackgroundProcess holder({"flock", "-x", lock, "sleep", "60"});
  ASSERT_TRUE(eventually([&] { return !test::run({"flock", "-n", lock, "true"}).ok(); }));
  const CniOutcome added = add(pod(), config({{"isGateway", true}}));
  EXPECT_CNI_OK(added);
  EXPECT_LT(added.process.duration, std::chrono::seconds(2));
  EXPECT_CNI_OK(del(pod().path(), config()));
}

VMLANE_FOR_EACH_LANE(FieldTest);
VMLANE_FOR_BRIDGE_LANES(BridgeFieldTest);

class TapFieldTest : public FieldTest {
 protected:
  // A /dev of the test's own, with what programs cannot do without, and not the tun device.
  static void make_private_dev() {
    ASSERT_EQ(::mount("tmpfs", "/dev", "tmpfs", 0, "mode=0755"), 0);
    for (const auto& [name, minor] : {std::pair("null", 3U), {"zero", 5U}, {"full", 7U}, {"urandom", 9U}})
      ASSERT_EQ(::mknod((std::string("/dev/") + name).c_str(), S_IFCHR | 0666, ::makedev(1, minor)), 0);
  }
};

TEST_P(TapFieldTest, F088_WithoutTheTunDevice) {
  ASSERT_CNI_OK(add(pod(), config(), "c1", "net1"));
  make_private_dev();
  const Snapshot with_one = snapshot();
  const CniOutcome status = run_call(call("STATUS", "", config()));
  EXPECT_CNI_ERROR(status, Code::kNotAvailable);
  EXPECT_NE(status.details().find("/dev/net/tun"), std::string::npos) << status;
  const CniOutcome added = add(pod(), config(), "c2", "net2");
  EXPECT_NE(added.process.status, 0);
  EXPECT_NE((added.message() + added.details()).find("/dev/net/tun"), std::string::npos) << added;
  EXPECT_SNAP_CLEAN(with_one, snapshot());
  EXPECT_CNI_OK(del(pod().path(), config(), "c2", "net2"));
  EXPECT_CNI_OK(del(pod().path(), config(), "c1", "net1")) << "what was made before goes away";
  EXPECT_SNAP_CLEAN(before_, snapshot());
}

TEST_P(TapFieldTest, F051_OwnerOpensTheTapAndCheckNamesAForeignOwner) {
  const CniOutcome added = add(pod(), config({{"owner", 107}, {"group", 107}}));
  ASSERT_CNI_OK(added);
  EXPECT_FALSE(fs::exists("/sys/fs/selinux/enforce")) << "a host without SELinux is normal";
  EXPECT_EQ(open_tap(pod().path(), "tap0", 107, false).error, 0);
  EXPECT_EQ(open_tap(pod().path(), "tap0", 108, false).error, EPERM);
  EXPECT_CNI_OK(check(pod(), config(), *added.document));
  in_pod({"ip", "link", "del", "tap0"});
  in_pod({"ip", "tuntap", "add", "tap0", "mode", "tap", "user", "1000", "group", "1000", "vnet_hdr"});
  const CniOutcome checked = check(pod(), config(), *added.document);
  EXPECT_CNI_ERROR(checked, Code::kChanged);
  for (const char* part : {"tap0", "1000:1000", "107:107"})
    EXPECT_NE(checked.message().find(part), std::string::npos) << part << "\n" << checked;
}

VMLANE_FOR_TAP(TapFieldTest);

}  // namespace
}  // namespace vmlane::test
