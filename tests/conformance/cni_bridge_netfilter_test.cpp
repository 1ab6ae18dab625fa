// SPDX-License-Identifier: Apache-2.0
// Key bridgeNetfilter: with br_netfilter on and a firewall whose forward policy is drop, bridged frames are
// lost without a word. ADD says so, or makes a way for them; it is never silent. Field case F025.
#include <filesystem>

#include "tests/conformance/lane_test.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

using Argv = std::vector<std::string>;

// One way to drop what is forwarded.
struct Firewall {
  const char* name;
  std::vector<Argv> commands;
  bool v6;
  std::vector<std::string> culprits;  // what an error must name
};

const std::vector<Firewall>& all_firewalls() {
  static const std::vector<Firewall> all = {
      {"iptables-nft",
       {{"iptables", "-P", "FORWARD", "DROP"}},
       false,
       {"net.bridge.bridge-nf-call-iptables", "FORWARD", "ip filter"}},
      {"ip6tables-nft",
       {{"ip6tables", "-P", "FORWARD", "DROP"}},
       true,
       {"net.bridge.bridge-nf-call-ip6tables", "FORWARD", "ip6 filter"}},
      {"nft inet",
       {{"nft", "add", "table", "inet", "filter"},
        {"nft", "add", "chain", "inet", "filter", "forward",
         "{ type filter hook forward priority 0; policy drop; }"}},
       false,
       {"net.bridge.bridge-nf-call-iptables", "forward", "inet filter"}},
      {"iptables-legacy",
       {{"iptables-legacy", "-P", "FORWARD", "DROP"}},
       false,
       {"net.bridge.bridge-nf-call-iptables", "FORWARD", "ip filter", "legacy"}},
      {"ip6tables-legacy",
       {{"ip6tables-legacy", "-P", "FORWARD", "DROP"}},
       true,
       {"net.bridge.bridge-nf-call-ip6tables", "FORWARD", "ip6 filter", "legacy"}}};
  return all;
}

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) count++;
  return count;
}

class BridgeNetfilterTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    if (!fs::exists("/proc/sys/net/bridge")) GTEST_SKIP() << "this kernel has no br_netfilter";
    hand_over(true);
    // The kernels of the future are said to come without it.
    has_legacy_ = test::run({"iptables-legacy", "-S"}).ok() && test::run({"ip6tables-legacy", "-S"}).ok();
  }
  // Those that this kernel can have.
  std::vector<Firewall> firewalls() const {
    std::vector<Firewall> possible = all_firewalls();
    std::erase_if(possible, [this](const Firewall& firewall) {
      return !has_legacy_ && std::string_view(firewall.name).ends_with("legacy");
    });
    return possible;
  }
  int firewall_count() const { return static_cast<int>(firewalls().size()); }
  // Whether the bridge's frames are shown to the firewall.
  void hand_over(bool on) const {
    for (const char* name : {"iptables", "ip6tables"})
      must({"sysctl", "-qw", std::string("net.bridge.bridge-nf-call-") + name + "=" + (on ? "1" : "0")});
  }
  void raise(const Firewall& firewall) const {
    for (const Argv& command : firewall.commands) must(command);
  }
  void lower_all() const {
    must({"nft", "flush", "ruleset"});
    if (!has_legacy_) return;
    for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
      must({program, "-P", "FORWARD", "ACCEPT"});
      must({program, "-F", "FORWARD"});
    }
  }
  Json bridged(const Json& more = Json::object()) const {
    Json ipam = host_local();
    ipam["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
    Json keys = {{"ipam", ipam}};
    keys.update(more);
    return config(keys);
  }
  Json accepting(const Json& more = Json::object()) const {
    Json keys = {{"bridgeNetfilter", "accept"}};
    keys.update(more);
    return bridged(keys);
  }
  Json attach(const std::string& name, const Json& conf) {
    const CniOutcome outcome = add(make_pod(name), conf, name);
    EXPECT_CNI_OK(outcome);
    return outcome.document.value_or(Json::object());
  }
  const Pod& pod(const std::string& name) const { return *pods().at(name); }
  std::string legacy_rules() const {
    if (!has_legacy_) return {};
    return run({"iptables-legacy", "-S", "FORWARD"}).out + run({"ip6tables-legacy", "-S", "FORWARD"}).out;
  }
  std::string rules() const { return run({"nft", "list", "ruleset"}).out + legacy_rules(); }
  int accept_rules(const std::string& bridge = "br1") const {
    const std::string all = rules();
    return count_of(all, "iifname \"" + bridge + "\" oifname \"" + bridge +
                             "\" accept comment \"vmlane:" + bridge + "\"") +
           count_of(all, "-A FORWARD -i " + bridge + " -o " + bridge +
                             " -m comment --comment \"vmlane:" + bridge + "\" -j ACCEPT");
  }
  void clear(const std::string& name, const Json& conf) { EXPECT_CNI_OK(del(pod(name).path(), conf, name)); }
  static void expect_named(const CniOutcome& outcome, const std::vector<std::string>& culprits) {
    for (const std::string& culprit : culprits)
      EXPECT_NE((outcome.message() + outcome.details()).find(culprit), std::string::npos) << culprit << "\n"
                                                                                          << outcome;
  }

  bool has_legacy_ = false;
};

TEST_P(BridgeNetfilterTest, F025_AddNamesSwitchTableAndChainAndLeavesNothing) {
  for (const Firewall& firewall : firewalls()) {
    SCOPED_TRACE(firewall.name);
    raise(firewall);
    make_pod("a");
    std::vector<std::string> culprits = firewall.culprits;
    culprits.insert(culprits.end(), {"br1", "bridgeNetfilter", "accept", "ignore"});
    for (const char* mode : {"", "fail"})
      expect_refused(call("ADD", pod("a").path(), bridged({{"bridgeNetfilter", mode}})), Code::kConflict,
                     culprits);
    lower_all();
  }
}

TEST_P(BridgeNetfilterTest, F025_CheckAndStatusRepeatTheTest) {
  for (const Firewall& firewall : firewalls()) {
    SCOPED_TRACE(firewall.name);
    const Json result = attach("a", bridged());
    EXPECT_CNI_OK(check(pod("a"), bridged(), result, "a"));
    EXPECT_CNI_OK(run_call(call("STATUS", "", bridged())));
    raise(firewall);
    const CniOutcome checked = check(pod("a"), bridged(), result, "a");
    EXPECT_CNI_ERROR(checked, Code::kChanged);
    expect_named(checked, firewall.culprits);
    const CniOutcome status = run_call(call("STATUS", "", bridged()));
    EXPECT_CNI_ERROR(status, Code::kNotAvailable);
    expect_named(status, firewall.culprits);
    EXPECT_CNI_OK(run_call(call("STATUS", "", accepting())));
    clear("a", bridged());
    lower_all();
  }
}

TEST_P(BridgeNetfilterTest, SwitchThatIsOffMakesTheFirewallIrrelevant) {
  for (const Firewall& firewall : firewalls()) raise(firewall);
  hand_over(false);
  const Json result = attach("a", bridged());
  EXPECT_CNI_OK(check(pod("a"), bridged(), result, "a"));
  must({"ip", "link", "set", "br1", "type", "bridge", "nf_call_iptables", "1"});
  const CniOutcome outcome = check(pod("a"), bridged(), result, "a");
  EXPECT_CNI_ERROR(outcome, Code::kChanged);
  expect_named(outcome, {"nf_call_iptables", "br1"});
}

TEST_P(BridgeNetfilterTest, OnlyFamiliesOfTheAddressesCount) {
  must({"ip6tables", "-P", "FORWARD", "DROP"});
  const Json v4_only = config();
  attach("a", v4_only);
  EXPECT_CNI_OK(run_call(call("STATUS", "", v4_only)));
  clear("a", v4_only);
  make_pod("b");
  expect_refused(call("ADD", pod("b").path(), config({{"ipam", nullptr}})), Code::kConflict, {"ip6 filter"});
}

TEST_P(BridgeNetfilterTest, OtherPoliciesHooksAndRulesAreNotJudged) {
  must({"nft", "add", "table", "inet", "filter"});
  must({"nft", "add", "chain", "inet", "filter", "input",
        "{ type filter hook input priority 0; policy drop; }"});
  must({"nft", "add", "chain", "inet", "filter", "forward",
        "{ type filter hook forward priority 0; policy accept; }"});
  must({"nft", "add", "rule", "inet", "filter", "forward", "meta", "mark", "7", "drop"});
  must({"nft", "add", "chain", "inet", "filter", "other"});
  must({"nft", "add", "table", "bridge", "filter"});
  must({"nft", "add", "chain", "bridge", "filter", "forward",
        "{ type filter hook forward priority 0; policy drop; }"});
  attach("a", bridged());
}

TEST_P(BridgeNetfilterTest, AcceptPutsOneRuleABridgeAtTheHeadOfEachChain) {
  for (const Firewall& firewall : firewalls()) raise(firewall);
  must({"iptables", "-A", "FORWARD", "-s", "203.0.113.0/24", "-j", "DROP"});
  const std::string before = rules();
  attach("a", accepting());
  EXPECT_EQ(accept_rules(), firewall_count()) << rules();
  attach("b", accepting());
  EXPECT_EQ(accept_rules(), firewall_count()) << rules();
  attach("c", accepting({{"bridge", "br2"}, {"name", "green"}}));
  EXPECT_EQ(accept_rules("br2"), firewall_count());
  const std::string list = run({"iptables", "-S", "FORWARD"}).out;
  EXPECT_LT(list.find("-i br1 -o br1"), list.find("203.0.113.0/24")) << "iptables can show it: " << list;
  clear("a", accepting());
  EXPECT_EQ(accept_rules(), firewall_count()) << "b needs them";
  clear("b", accepting());
  EXPECT_EQ(accept_rules(), 0);
  EXPECT_EQ(accept_rules("br2"), firewall_count());
  clear("c", accepting({{"bridge", "br2"}, {"name", "green"}}));
  EXPECT_EQ(rules(), before);
}

TEST_P(BridgeNetfilterTest, AcceptRuleIsPutBackByCheck) {
  raise(firewalls()[0]);
  const Json result = attach("a", accepting());
  must({"iptables", "-F", "FORWARD"});
  EXPECT_EQ(accept_rules(), 0);
  EXPECT_CNI_OK(check(pod("a"), accepting(), result, "a"));
  EXPECT_EQ(accept_rules(), 1);
  EXPECT_NE(slurp(log_file()).find("put in"), std::string::npos);
  raise(firewalls()[2]);
  EXPECT_CNI_OK(check(pod("a"), accepting(), result, "a"));
  EXPECT_EQ(accept_rules(), 2) << "a firewall that came later as well";
}

TEST_P(BridgeNetfilterTest, RuleThatANeighbourPutThereServesTheOthersUntilTheLastIsGone) {
  raise(firewalls()[0]);
  const Snapshot before = snapshot();
  attach("a", accepting());
  const Json result = attach("b", bridged());
  clear("a", accepting());
  EXPECT_EQ(accept_rules(), 1) << "b was attached because it is there";
  EXPECT_CNI_OK(check(pod("b"), bridged(), result, "b"));
  clear("b", bridged());
  pods().at("a")->remove();
  pods().at("b")->remove();
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(BridgeNetfilterTest, DelWithoutARecordWithdrawsTheRule) {
  raise(firewalls()[0]);
  attach("a", accepting());
  fs::remove(record_file(id_of("a")));
  clear("a", accepting());
  EXPECT_EQ(accept_rules(), 0);
}

TEST_P(BridgeNetfilterTest, AddThatIsKilledLeavesNoRuleAfterItsDel) {
  raise(firewalls()[0]);
  make_pod("a");
  const Snapshot before = snapshot();
  constexpr int kMaxSteps = 60;
  int steps = 0;
  for (bool killed = true; killed && steps < kMaxSteps; steps++) {
    SCOPED_TRACE(steps + 1);
    CniCall faulty = call("ADD", pod("a").path(), accepting());
    faulty.env["VMLANE_FAULT"] = "kill-after:" + std::to_string(steps + 1);
    killed = !run_call(faulty).ok();
    EXPECT_CNI_OK(del(pod("a").path(), accepting()));
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
  EXPECT_GE(steps, 8);
}

TEST_P(BridgeNetfilterTest, IgnoreDoesNothingButLog) {
  raise(firewalls()[0]);
  const std::string before = rules();
  const Json result = attach("a", bridged({{"bridgeNetfilter", "ignore"}}));
  EXPECT_EQ(rules(), before);
  EXPECT_NE(slurp(log_file()).find("net.bridge.bridge-nf-call-iptables"), std::string::npos);
  EXPECT_CNI_OK(check(pod("a"), bridged({{"bridgeNetfilter", "ignore"}}), result, "a"));
  EXPECT_CNI_OK(run_call(call("STATUS", "", bridged({{"bridgeNetfilter", "ignore"}}))));
}

TEST_P(BridgeNetfilterTest, F108_LegacyTablesAreChangedByTheirOwnProgramOrSaidToBeOutOfReach) {
  if (!has_legacy_) GTEST_SKIP() << "this kernel has no iptables-legacy";
  must({"iptables-legacy", "-P", "FORWARD", "DROP"});
  must({"iptables-legacy", "-A", "FORWARD", "-s", "203.0.113.0/24", "-m", "comment", "--comment",
        "vmlane:br10", "-j", "DROP"});
  const std::string before = legacy_rules();
  const Json result = attach("a", accepting());
  const std::string with_ours = legacy_rules();
  EXPECT_EQ(accept_rules(), 1) << with_ours;
  EXPECT_LT(with_ours.find("vmlane:br1\""), with_ours.find("vmlane:br10")) << with_ours;
  // Without the program (every name of it is a link to one file) nothing can be changed.
  const fs::path program = fs::canonical("/usr/sbin/iptables-legacy");
  must({"mount", "--bind", "/dev/null", program});
  make_pod("b");
  EXPECT_CNI_OK(add(pod("b"), accepting(), "b")) << "our rule is there";
  clear("b", accepting());
  EXPECT_CNI_OK(check(pod("a"), accepting(), result, "a"));
  clear("a", accepting());
  EXPECT_EQ(legacy_rules(), "") << "the mount hides the program from the test as well";
  EXPECT_NE(slurp(log_file()).find("stays"), std::string::npos) << "a rule that is left is told of";
  must({"umount", program});
  EXPECT_EQ(legacy_rules(), with_ours);
  must({"iptables-legacy", "-D", "FORWARD", "1"});
  EXPECT_EQ(legacy_rules(), before);
  must({"mount", "--bind", "/dev/null", program});
  expect_refused(call("ADD", pod("b").path(), accepting()), Code::kConflict,
                 {"ip filter", "legacy", "no program iptables-legacy", "install", "ignore"});
  EXPECT_CNI_ERROR(run_call(call("STATUS", "", accepting())), Code::kNotAvailable);
  must({"umount", program});
  EXPECT_CNI_OK(run_call(call("STATUS", "", accepting())));
}

TEST_P(BridgeNetfilterTest, F108_AskingAboutLegacyTablesDoesNotLoadThem) {
  const fs::path names = "/proc/thread-self/net/ip_tables_names";
  const std::string before = slurp(names);
  attach("a", bridged());
  EXPECT_EQ(slurp(names), before);
}

TEST_P(BridgeNetfilterTest, AnotherWordIsRefused) {
  make_pod("a");
  expect_refused(call("ADD", pod("a").path(), bridged({{"bridgeNetfilter", "maybe"}})), Code::kInvalidConfig,
                 {"bridgeNetfilter", "maybe", "fail", "accept", "ignore"});
}

VMLANE_FOR_BRIDGE_LANES(BridgeNetfilterTest);

class VethBridgeNetfilterTest : public BridgeNetfilterTest {
 protected:
  static std::string address_of(const Json& result, bool v6) {
    const std::string text = result["ips"][v6 ? 1 : 0]["address"];
    return text.substr(0, text.find('/'));
  }
};

TEST_P(VethBridgeNetfilterTest, F025_PodsReachEachOtherOrTheCauseIsNamed) {
  for (const Firewall& firewall : firewalls()) {
    SCOPED_TRACE(firewall.name);
    raise(firewall);
    const Json ignoring = bridged({{"bridgeNetfilter", "ignore"}});
    attach("a", ignoring);
    const Json lost = attach("b", ignoring);
    EXPECT_EQ(ping(pod("a").path(), address_of(lost, firewall.v6), {.count = 1}).received, 0)
        << "without loss there would be nothing to tell";
    clear("a", ignoring);
    clear("b", ignoring);
    attach("a", accepting());
    const Json reached = attach("b", accepting());
    for (const bool v6 : {false, true}) {
      const PingResult result = reach(pod("a").path(), address_of(reached, v6));
      EXPECT_TRUE(result.all()) << result.output << rules();
    }
    clear("a", accepting());
    clear("b", accepting());
    lower_all();
  }
}

// Neighbours find each other by ICMPv6, which such a chain drops with all else.
TEST_P(VethBridgeNetfilterTest, F010_NeighboursAreFoundThroughADroppingInetChain) {
  raise(firewalls()[2]);
  const Json ignoring = bridged({{"bridgeNetfilter", "ignore"}});
  attach("a", ignoring);
  const std::string lost = address_of(attach("b", ignoring), true);
  EXPECT_EQ(ping(pod("a").path(), lost, {.count = 1}).received, 0) << "without loss there is nothing to tell";
  clear("a", ignoring);
  clear("b", ignoring);
  attach("a", accepting());
  const std::string found = address_of(attach("b", accepting()), true);
  const PingResult reached = reach(pod("a").path(), found);
  EXPECT_TRUE(reached.all()) << reached.output << rules();
  EXPECT_NE(run({"ip", "-n", "a", "-6", "neigh"}).out.find(found), std::string::npos);
}

// What docs/plugins.md tells whose chains are iptables-legacy's.
TEST_P(VethBridgeNetfilterTest, F108_RuleOfTheAdministratorInALegacyTableIsEnough) {
  const Json ignoring = bridged({{"bridgeNetfilter", "ignore"}});
  for (const bool v6 : {false, true}) {
    const std::string iptables = v6 ? "ip6tables-legacy" : "iptables-legacy";
    SCOPED_TRACE(iptables);
    if (!run({iptables, "-P", "FORWARD", "DROP"}).ok()) GTEST_SKIP() << "this kernel has no iptables-legacy";
    attach("a", ignoring);
    const std::string other = address_of(attach("b", ignoring), v6);
    EXPECT_EQ(ping(pod("a").path(), other, {.count = 1}).received, 0)
        << "without loss there would be nothing to accept";
    must({iptables, "-I", "FORWARD", "-i", "br1", "-o", "br1", "-j", "ACCEPT"});
    const PingResult reached = reach(pod("a").path(), other);
    EXPECT_TRUE(reached.all()) << reached.output;
    clear("a", ignoring);
    clear("b", ignoring);
    EXPECT_NE(run({iptables, "-S", "FORWARD"}).out.find("-i br1 -o br1 -j ACCEPT"), std::string::npos)
        << "the administrator's rules are not ours to remove";
    must({iptables, "-P", "FORWARD", "ACCEPT"});
    must({iptables, "-F", "FORWARD"});
  }
}

INSTANTIATE_TEST_SUITE_P(Lane, VethBridgeNetfilterTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

}  // namespace
}  // namespace vmlane::test
