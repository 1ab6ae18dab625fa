// SPDX-License-Identifier: Apache-2.0
// Key ipMasq: what leaves the pod's subnet has the node's address, by rules that others' firewalls neither
// disturb nor are disturbed by, and that go with their attachment.
#include <fcntl.h>
#include <sys/file.h>

#include <filesystem>

#include "tests/conformance/lane_test.h"
#include "tests/support/frames.h"
#include "tests/support/long_run.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class MasqueradeTest : public LaneTest {
 protected:
  Json masqueraded(const Json& more = Json::object()) const {
    Json keys = {{"ipMasq", true}, {"isDefaultGateway", true}, {"ipam", dual_stack()}};
    keys.update(more);
    return config(keys);
  }
  Json dual_stack() const {
    Json ipam = host_local();
    ipam["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
    return ipam;
  }
  Json attach(const std::string& name, const Json& conf) {
    const CniOutcome outcome = add(make_pod(name), conf, name);
    EXPECT_CNI_OK(outcome);
    return outcome.document.value_or(Json::object());
  }
  const Pod& pod(const std::string& name) const { return *pods().at(name); }
  static std::string address_of(const Json& result, std::size_t position) {
    const std::string text = result["ips"][position]["address"];
    return text.substr(0, text.find('/'));
  }
  std::string rules() const { return run({"nft", "list", "ruleset"}).out; }
  bool has_rules_for(const std::string& container) const {
    return rules().find("chain att-" + id_of(container)) != std::string::npos;
  }
};

TEST_P(MasqueradeTest, RulesAreOneMapEntryAndOneChainAnAttachment) {
  const Json a = attach("a", masqueraded());
  attach("b", masqueraded());
  const std::string table = rules();
  const std::string chain = "att-" + id_of("a");
  for (const std::string& part :
       {std::string("table inet vmlane"), std::string("hook postrouting priority srcnat"),
        std::string("ip saddr vmap @source4"), std::string("ip6 saddr vmap @source6"),
        address_of(a, 0) + " : goto " + chain, address_of(a, 1) + " : goto " + chain,
        std::string("ip daddr 192.0.2.0/24 return"), std::string("ip daddr 224.0.0.0/4 return"),
        std::string("ip6 daddr 2001:db8:1::/64 return"), std::string("ip6 daddr ff00::/8 return"),
        std::string("masquerade")}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << " is not in\n" << table;
  }
  const std::string base = run({"nft", "list", "chain", "inet", "vmlane", "postrouting"}).out;
  EXPECT_EQ(base.find("saddr", base.find("saddr", base.find("saddr") + 1) + 1), std::string::npos)
      << "two look-ups, however many attachments: " << base;
}

TEST_P(MasqueradeTest, GoesWithItsAttachmentAndTheTableWithTheLast) {
  const Snapshot before = snapshot();
  attach("a", masqueraded());
  const Snapshot with_one = snapshot();
  attach("b", masqueraded());
  ASSERT_TRUE(has_rules_for("a") && has_rules_for("b"));
  EXPECT_CNI_OK(del(pod("b").path(), masqueraded(), "b"));
  EXPECT_EQ(rules(), with_one.at("host nft"));
  EXPECT_CNI_OK(del(pod("a").path(), masqueraded(), "a"));
  EXPECT_EQ(rules(), before.at("host nft"));
}

TEST_P(MasqueradeTest, DelFindsTheRulesWithoutARecord) {
  attach("a", masqueraded());
  attach("b", masqueraded());
  fs::remove(record_file(id_of("a")));
  pods().at("a")->remove();
  EXPECT_CNI_OK(del("", masqueraded(), "a"));
  EXPECT_FALSE(has_rules_for("a"));
  EXPECT_TRUE(has_rules_for("b"));
}

TEST_P(MasqueradeTest, CheckPutsBackWhatSomebodyRemoved) {
  const Json result = attach("a", masqueraded());
  const std::string whole = rules();
  const std::string chain = "att-" + id_of("a");
  const std::vector<std::vector<std::string>> removals = {
      {"nft", "flush", "ruleset"},
      {"nft", "flush", "chain", "inet", "vmlane", "postrouting"},
      {"nft", "flush", "chain", "inet", "vmlane", chain},
      {"nft", "flush", "map", "inet", "vmlane", "source6"}};
  for (const auto& removal : removals) {
    SCOPED_TRACE(removal[2] + " " + removal.back());
    fs::remove(log_file());
    must(removal);
    ASSERT_NE(rules(), whole);
    const CniOutcome outcome = check(pod("a"), masqueraded(), result, "a");
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
    EXPECT_EQ(rules(), whole);
    EXPECT_NE(slurp(log_file()).find("put back"), std::string::npos) << slurp(log_file());
  }
  fs::remove(log_file());
  EXPECT_CNI_OK(check(pod("a"), masqueraded(), result, "a"));
  EXPECT_EQ(slurp(log_file()).find("put back"), std::string::npos) << "nothing was missing";
}

TEST_P(MasqueradeTest, AddAndDelWorkAfterAFlushOfEverything) {
  const Snapshot before = snapshot();
  attach("a", masqueraded());
  must({"nft", "flush", "ruleset"});
  attach("b", masqueraded());
  EXPECT_TRUE(has_rules_for("b"));
  EXPECT_CNI_OK(del(pod("a").path(), masqueraded(), "a"));
  EXPECT_TRUE(has_rules_for("b"));
  EXPECT_CNI_OK(del(pod("b").path(), masqueraded(), "b"));
  EXPECT_EQ(rules(), before.at("host nft"));
}

TEST_P(MasqueradeTest, AddressThatAnotherChainHasKeptIsTakenOver) {
  attach("a", masqueraded());
  const std::string stale = run({"nft", "list", "table", "inet", "vmlane"}).out;
  EXPECT_CNI_OK(del(pod("a").path(), masqueraded(), "a"));
  spit(directory() / "stale.nft", stale);  // as a lost record and a pod that is gone leave it
  must({"nft", "-f", (directory() / "stale.nft").string()});
  fs::remove_all(ipam_dir() / "blue");
  const Json result = attach("b", masqueraded());
  const std::string wanted = address_of(result, 0) + " : goto att-" + id_of("b");
  EXPECT_NE(stale.find(address_of(result, 0) + " : goto att-" + id_of("a")), std::string::npos)
      << "the same address, or there is nothing to take over: " << stale;
  EXPECT_NE(rules().find(wanted), std::string::npos) << rules();
}

TEST_P(MasqueradeTest, OthersRulesStayAsTheyAre) {
  must({"iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "203.0.113.0/24", "-j", "MASQUERADE"});
  must({"nft", "add", "table", "inet", "firewall"});
  const std::string before = rules();
  attach("a", masqueraded());
  must({"iptables", "-t", "nat", "-F"});
  must({"nft", "delete", "table", "inet", "firewall"});
  EXPECT_TRUE(has_rules_for("a")) << "others' reloads do not reach our table";
  must({"iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "203.0.113.0/24", "-j", "MASQUERADE"});
  must({"nft", "add", "table", "inet", "firewall"});
  EXPECT_CNI_OK(del(pod("a").path(), masqueraded(), "a"));
  EXPECT_EQ(rules(), before);
}

TEST_P(MasqueradeTest, KeysThatCannotBeCarriedOutAreRefusedByName) {
  make_pod("a");
  const auto refused = [&](const Json& more, Code code, const std::vector<std::string>& culprits) {
    expect_refused(call("ADD", "/run/netns/a", config(more)), code, culprits);
  };
  refused({{"ipMasq", "yes"}}, Code::kInvalidConfig, {"ipMasq", "yes"});
  refused({{"ipMasq", true}, {"ipam", nullptr}}, Code::kInvalidConfig, {"ipMasq", "ipam"});
  refused({{"ipMasq", true}, {"ipMasqBackend", "iptables"}}, Code::kUnsupportedField,
          {"ipMasqBackend", "iptables", "nftables"});
  refused({{"ipMasq", true}, {"ipMasqBackend", "pf"}}, Code::kInvalidConfig, {"ipMasqBackend", "pf"});
  for (const char* backend : {"", "nftables"}) {
    EXPECT_CNI_OK(add(pod("a"), masqueraded({{"ipMasqBackend", backend}})));
    EXPECT_TRUE(has_rules_for("c1"));
    EXPECT_CNI_OK(del(pod("a").path(), masqueraded()));
  }
  EXPECT_CNI_OK(add(pod("a"), config({{"ipMasqBackend", "iptables"}})));
  EXPECT_EQ(rules(), "") << "without ipMasq the backend says nothing";
}

TEST_P(MasqueradeTest, NodeThatDoesNotForwardGetsAWarning) {
  must({"sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=1"});
  attach("a", masqueraded());
  const std::string log = slurp(log_file());
  EXPECT_NE(log.find("net.ipv4.conf.all.forwarding"), std::string::npos) << log;
  EXPECT_EQ(log.find("net.ipv6.conf.all.forwarding"), std::string::npos) << log;
  EXPECT_EQ(run({"sysctl", "-n", "net.ipv4.ip_forward"}).out, "0\n") << "the switch is the administrator's";
}

TEST_P(MasqueradeTest, F079_ManyAttachmentsAtOnceBesideAnotherWriterAreAllRight) {
  const Snapshot before = snapshot();
  spit(directory() / "writer.sh", "until [ -e " + (directory() / "stop").string() +
                                      " ]; do nft add table inet other; nft delete table inet other; done\n");
  const int count = rounds(12, 100);
  std::vector<CniCall> adds;
  std::vector<CniCall> dels;
  for (int i = 0; i < count; i++) {
    const std::string name = "p" + std::to_string(i);
    adds.push_back(call("ADD", make_pod(name).path(), masqueraded(), name));
    dels.push_back(call("DEL", pod(name).path(), masqueraded(), name));
  }
  {
    BackgroundProcess writer({"sh", (directory() / "writer.sh").string()});
    for (const CniOutcome& outcome : run_at_once(adds)) {
      ASSERT_CNI_OK(outcome);
    }
    const std::string all = rules();
    for (const CniCall& attached : adds)
      EXPECT_NE(all.find("chain att-" + id_of(*attached.container_id)), std::string::npos);
    for (const CniOutcome& outcome : run_at_once(dels)) {
      EXPECT_CNI_OK(outcome);
    }
    // A killed shell would leave its last command at work on the table.
    spit(directory() / "stop", "");
    EXPECT_TRUE(writer.wait(std::chrono::seconds(30)));
  }
  EXPECT_EQ(rules(), before.at("host nft"));
}

TEST_P(MasqueradeTest, F079_NobodyWaitsForTheLockOfIptables) {
  const Fd lock(::open("/run/xtables.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  make_pod("a");
  const CniOutcome outcome = add(pod("a"), masqueraded());
  EXPECT_CNI_OK(outcome);
  EXPECT_LT(outcome.process.duration, std::chrono::seconds(2));
}

VMLANE_FOR_BRIDGE_LANES(MasqueradeTest);

class VethMasqueradeTest : public MasqueradeTest {
 protected:
  // A network behind the node that knows no way to the pods.
  void make_outside() {
    Pod& outside = make_pod("outside");
    must({"ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", outside.name()});
    must({"ip", "addr", "add", "203.0.113.1/24", "dev", "up0"});
    must({"ip", "addr", "add", "2001:db8:f::1/64", "dev", "up0", "nodad"});
    must({"ip", "link", "set", "up0", "up"});
    for (const std::vector<std::string>& argv :
         {std::vector<std::string>{"ip", "addr", "add", "203.0.113.2/24", "dev", "up1"},
          {"ip", "addr", "add", "2001:db8:f::2/64", "dev", "up1", "nodad"},
          {"ip", "link", "set", "up1", "up"}}) {
      ASSERT_TRUE(outside.run(argv).ok());
    }
    must({"sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"});
    ASSERT_TRUE(await_active("", "up0"));
  }
};

TEST_P(VethMasqueradeTest, PodReachesWhatKnowsNoWayBack) {
  make_outside();
  attach("plain", masqueraded({{"ipMasq", false}}));
  attach("a", masqueraded());
  for (const char* target : {"203.0.113.2", "2001:db8:f::2"}) {
    EXPECT_EQ(ping(pod("plain").path(), target, {.count = 1}).received, 0) << target;
    const PingResult result = reach(pod("a").path(), target);
    EXPECT_TRUE(result.all()) << result.output << rules();
  }
}

TEST_P(VethMasqueradeTest, F108_WorksBesideANatTableOfIptablesLegacy) {
  make_outside();
  const auto masquerade_other = [&](const char* iptables, const char* source) {
    return run({iptables, "-t", "nat", "-A", "POSTROUTING", "-s", source, "-j", "MASQUERADE"}).ok();
  };
  if (!masquerade_other("iptables-legacy", "198.51.100.0/24") ||
      !masquerade_other("ip6tables-legacy", "2001:db8:77::/64"))
    GTEST_SKIP() << "this kernel has no iptables-legacy";
  attach("a", masqueraded());
  for (const char* target : {"203.0.113.2", "2001:db8:f::2"}) {
    const PingResult result = reach(pod("a").path(), target);
    EXPECT_TRUE(result.all()) << result.output << rules();
  }
}

TEST_P(VethMasqueradeTest, WithinTheSubnetAddressesStay) {
  attach("a", masqueraded());
  const std::string own = "192.0.2.2";
  ASSERT_EQ(addresses_of(pod("a").path(), "eth0").front(), own + "/24");
  const Json b = attach("b", masqueraded());
  const PacketSocket seen(pod("b").path(), "eth0");
  ASSERT_TRUE(reach(pod("a").path(), address_of(b, 0)).all());
  const auto request = seen.receive(
      [](const Frame& frame) {
        constexpr std::size_t kIcmpType = 34;
        return ether_type_of(frame) == kEtherTypeIpv4 && frame.size() > kIcmpType && frame[kIcmpType] == 8;
      },
      std::chrono::seconds(1));
  ASSERT_TRUE(request);
  EXPECT_EQ((std::vector<std::uint8_t>(request->begin() + 26, request->begin() + 30)),
            (std::vector<std::uint8_t>{192, 0, 2, 2}));
}

TEST_P(VethMasqueradeTest, TrafficGoesOnAfterCheckPutTheRulesBack) {
  make_outside();
  const Json result = attach("a", masqueraded());
  must({"nft", "flush", "ruleset"});
  EXPECT_EQ(ping(pod("a").path(), "203.0.113.2", {.count = 1}).received, 0);
  ASSERT_CNI_OK(check(pod("a"), masqueraded(), result, "a"));
  const PingResult back = reach(pod("a").path(), "203.0.113.2");
  EXPECT_TRUE(back.all()) << back.output;
}

INSTANTIATE_TEST_SUITE_P(Lane, VethMasqueradeTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

}  // namespace
}  // namespace vmlane::test
