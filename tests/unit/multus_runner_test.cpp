// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>

#include "multus-adapter/network_selection.h"
#include "multus-adapter/pod_runner.h"
#include "tests/support/host.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;

// Thrown by FakeExec in the place of a plugin, as if the process had been killed there.
struct Killed {};

// Stands in for plugins: records the calls, gives results, fails or dies where told.
class FakeExec final : public PluginExec {
 public:
  Result<> find(const std::string& cni_path, const std::string& type) override {
    paths.push_back(cni_path);
    if (type == "absent") return fail(Code::kInvalidConfig, "plugin \"absent\" was not found");
    return {};
  }
  Result<std::string> run(const PluginCall& call) override {
    std::unique_lock lock(mutex_);
    calls.push_back(call);
    const std::string name = call.env.at("CNI_COMMAND") + " " + call.type + " " + call.env.at("CNI_IFNAME");
    log.push_back(name);
    if (const auto it = company.find(call.type); it != company.end()) {
      running_++;
      most_at_once = std::max(most_at_once, running_);
      changed_.notify_all();
      changed_.wait_for(lock, std::chrono::seconds(5), [&] { return most_at_once >= it->second; });
      running_--;
    }
    if (name == dies_at) throw Killed{};
    if (const auto it = failures.find(name); it != failures.end()) return fail(it->second);
    if (call.env.at("CNI_COMMAND") != "ADD") return std::string();
    if (const auto it = outputs.find(call.type); it != outputs.end()) return it->second;
    const Json input = Json::parse(call.input);
    Json result = {{"cniVersion", input["cniVersion"]},
                   {"interfaces",
                    {{{"name", call.env.at("CNI_IFNAME")},
                      {"mac", "02:00:00:00:00:01"},
                      {"mtu", 1400},
                      {"sandbox", call.env.at("CNI_NETNS")}}}},
                   {"ips", {{{"address", "192.0.2.5/24"}, {"gateway", "192.0.2.1"}, {"interface", 0}}}},
                   {"routes", {{{"dst", "0.0.0.0/0"}}}}};
    return result.dump();
  }

  std::vector<PluginCall> calls;
  std::vector<std::string> log;
  // How many plugins a type waits for to be running, itself among them, before it goes on.
  std::map<std::string, int> company;
  int most_at_once = 0;
  std::vector<std::string> paths;
  std::map<std::string, Error> failures;
  std::map<std::string, std::string> outputs;
  std::string dies_at;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;
};

// A pod's namespace with links by name; the link's index is its place.
class FakeNetlink final : public netlink::Netlink {
 public:
  explicit FakeNetlink(const std::vector<std::string>& names) : names_(names) {}
  Result<std::optional<netlink::Link>> find_link(const std::string& name) override {
    const auto it = std::ranges::find(names_, name);
    if (it == names_.end()) return std::nullopt;
    return netlink::Link{.index = static_cast<int>(it - names_.begin()) + 1, .name = name};
  }
  Result<std::vector<netlink::Link>> links() override { return std::vector<netlink::Link>(); }
  Result<std::optional<netlink::Link>> find_link(int) override { return std::nullopt; }
  Result<> create_veth(const netlink::VethSpec&, const netlink::Namespace&) override {
    return unexpected_call();
  }
  Result<> create_bridge(const netlink::BridgeSpec&) override { return unexpected_call(); }
  Result<> delete_link(int) override { return unexpected_call(); }
  Result<> delete_group(std::uint32_t) override { return unexpected_call(); }
  Result<> change_link(int, const netlink::LinkChange&) override { return unexpected_call(); }
  Result<> change_bridge_port(int, const netlink::BridgePortChange&) override { return unexpected_call(); }
  Result<netlink::BridgePort> bridge_port(int) override { return netlink::BridgePort{}; }
  Result<bool> bridge_filters_vlans(int) override { return unexpected_call(); }
  Result<> filter_vlans(int, bool) override { return unexpected_call(); }
  Result<std::vector<netlink::PortVlans>> port_vlans(int) override { return unexpected_call(); }
  Result<> change_port_vlans(int, const netlink::PortVlansChange&) override { return unexpected_call(); }
  Result<> create_vlan(const netlink::VlanSpec&) override { return unexpected_call(); }
  Result<std::optional<std::uint16_t>> vlan_id(int) override { return unexpected_call(); }
  Result<> create_macvtap(const netlink::MacvtapSpec&, const netlink::Namespace&) override {
    return unexpected_call();
  }
  Result<std::optional<netlink::MacvtapMode>> macvtap_mode(int) override { return unexpected_call(); }
  Result<std::vector<netlink::AddressEntry>> addresses(int) override {
    return std::vector<netlink::AddressEntry>();
  }
  Result<> add_address(int, const netlink::AddressSpec&) override { return unexpected_call(); }
  Result<> remove_address(int, const IpPrefix&) override { return unexpected_call(); }
  Result<std::vector<netlink::Route>> routes(int) override { return std::vector<netlink::Route>(); }
  Result<> add_route(const netlink::Route&) override { return unexpected_call(); }
  Result<> remove_route(const netlink::Route&) override { return unexpected_call(); }
  Result<> limit_egress(int, const netlink::RateLimit&) override { return unexpected_call(); }
  Result<> create_ifb(const netlink::IfbSpec&) override { return unexpected_call(); }
  Result<> redirect_received(int, int) override { return unexpected_call(); }

 private:
  static std::unexpected<Error> unexpected_call() {
    return fail(Code::kInternal, "not expected of the meta plugin");
  }
  const std::vector<std::string>& names_;
};

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() {
    config_.state_dir = directory_.path() / "state";
    config_.run_dir = directory_.path() / "run";
    config_.log_file = directory_.path() / "log";
    settings_.conf_dir = directory_.path();
    nad("blue", "a", R"({"type":"pa"})");
    nad("blue", "b", R"({"type":"pb"})");
    nad("blue", "c", R"({"type":"pc"})");
  }

  void nad(const std::string& ns, const std::string& name, const std::string& config) {
    const Json object = {{"apiVersion", "k8s.cni.cncf.io/v1"},
                         {"kind", "NetworkAttachmentDefinition"},
                         {"metadata", {{"namespace", ns}, {"name", name}}},
                         {"spec", {{"config", config}}}};
    const auto added = objects_.add_text(object.dump(), ns + "-" + name + ".json");
    ASSERT_TRUE(added) << added.error().text();
  }
  static Pod pod(const std::string& networks) {
    return {.ns = "blue",
            .name = "web",
            .uid = "uid-1",
            .labels = {{"vm.kubevirt.io/name", "vm1"}, {"kubevirt.io/created-by", "u2"}},
            .annotations = {{std::string(kNetworksAnnotation), networks}}};
  }
  static Sandbox sandbox(const std::string& id = "c1") {
    return {.container_id = id, .netns = "/run/netns/x", .env = {{"PATH", "/bin"}, {"CNI_PATH", "/more"}}};
  }
  PodRunner runner() {
    return {config_, log_, settings_, exec_,
            [this](const std::string&) -> Result<std::unique_ptr<netlink::Netlink>> {
              return std::make_unique<FakeNetlink>(links_);
            }};
  }
  Result<PodAttachments> add(const std::string& networks, const std::string& id = "c1") {
    return runner().add(objects_, pod(networks), sandbox(id));
  }
  std::string add_error(const std::string& networks) {
    const auto result = add(networks);
    EXPECT_FALSE(result) << networks;
    return result ? "" : result.error().text();
  }
  // Files under state and run, but for locks.
  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const char* top : {"state", "run"}) {
      if (!fs::exists(directory_.path() / top)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(directory_.path() / top)) {
        const std::string path = fs::relative(entry.path(), directory_.path()).string();
        if (entry.is_regular_file() && !path.starts_with("run/locks")) found.push_back(path);
      }
    }
    std::ranges::sort(found);
    return found;
  }
  Json json_file(const std::string& path) const { return Json::parse(test::slurp(directory_.path() / path)); }

  test::TemporaryDirectory directory_;
  NodeConfig config_;
  Log log_;
  MultusSettings settings_;
  FakeExec exec_;
  ObjectStore objects_;
  std::vector<std::string> links_ = {"lo"};
};

TEST_F(RunnerTest, CallsDelegatesAsMultusDoes) {
  settings_.cluster_network = "blue/a";
  Sandbox box = sandbox();
  box.extra_args = "FOO=bar";
  const auto result = runner().add(
      objects_, pod(R"([{"name":"b","mac":"02:00:00:00:00:0A","ips":["192.0.2.9/24","192.0.2.10"]}])"), box);
  ASSERT_TRUE(result) << result.error().text();
  ASSERT_EQ(exec_.log, (std::vector<std::string>{"ADD pa eth0", "ADD pb net1"}));
  const Environment& env = exec_.calls[1].env;
  EXPECT_EQ(env.at("CNI_ARGS"),
            "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_"
            "POD_UID=uid-1;FOO=bar;MAC=02:00:00:00:00:0a;"
            "IP=192.0.2.9/24,192.0.2.10");
  EXPECT_EQ(env.at("CNI_PATH"), "/opt/cni/bin:/more");
  EXPECT_EQ(env.at("CNI_NETNS"), "/run/netns/x");
  EXPECT_EQ(env.at("PATH"), "/bin");
  EXPECT_EQ(Json::parse(exec_.calls[1].input)["args"]["cni"]["nad"], "blue/b");
  EXPECT_EQ(result->default_result["interfaces"][0]["name"], "eth0");
  ASSERT_EQ(result->attachments.size(), 2U);
  EXPECT_EQ(result->attachments[1].ifname, "net1");
}

TEST_F(RunnerTest, ChainPassesResultsOnAndDelGoesBackwards) {
  nad("blue", "chain", R"({"cniVersion":"1.1.0","plugins":[{"type":"p1"},{"type":"p2"}]})");
  ASSERT_TRUE(add("chain"));
  EXPECT_FALSE(Json::parse(exec_.calls[0].input).contains("prevResult"));
  EXPECT_EQ(Json::parse(exec_.calls[1].input)["prevResult"]["interfaces"][0]["name"], "net1");
  ASSERT_TRUE(runner().check(sandbox()));
  ASSERT_TRUE(runner().del(sandbox()));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"ADD p1 net1", "ADD p2 net1", "CHECK p1 net1",
                                                 "CHECK p2 net1", "DEL p2 net1", "DEL p1 net1"}));
  EXPECT_TRUE(Json::parse(exec_.calls[5].input).contains("prevResult"));
}

TEST_F(RunnerTest, FilesOfAPodComeAndGo) {
  settings_.cluster_network = "blue/a";
  nad("blue", "d", R"({"cniVersion":"1.1.0","type":"pd","capabilities":{"CNIDeviceInfoFile":true}})");
  const auto result = add("d");
  ASSERT_TRUE(result) << result.error().text();
  EXPECT_EQ(files().size(), 3U);
  const Json facts = json_file("run/pods/uid-1.json");
  EXPECT_EQ(facts["schema"], 1);
  EXPECT_EQ(facts["namespace"], "blue");
  EXPECT_EQ(facts["vm"], (Json{{"name", "vm1"}, {"uid", "u2"}}));
  const Json status = json_file("run/network-status/uid-1.json");
  EXPECT_EQ(status, result->network_status);
  ASSERT_EQ(status.size(), 2U);
  EXPECT_EQ(
      status[0],
      Json::parse(
          R"({"name":"blue/a","interface":"eth0","mac":"02:00:00:00:00:01","ips":["192.0.2.5"],"default":true,
    "mtu":1400,"gateway":["192.0.2.1"],"dns":{}})"));
  EXPECT_EQ(status[1]["name"], "blue/d");
  EXPECT_FALSE(status[1].contains("default"));
  ASSERT_TRUE(runner().del(sandbox()));
  EXPECT_TRUE(files().empty());
  EXPECT_TRUE(runner().del(sandbox()));
}

TEST_F(RunnerTest, StatusFollowsTheReferenceClientsRules) {
  exec_.outputs["pa"] =
      R"({"cniVersion":"1.1.0","interfaces":[{"name":"br0"},{"name":"net1","sandbox":"/x"},{"name":"net1b","sandbox":"/x"}],
    "ips":[{"address":"192.0.2.5/24","interface":1},{"address":"2001:db8::5/64"}],"dns":{"nameservers":["192.0.2.53"]}})";
  exec_.outputs["pb"] = R"({"cniVersion":"1.1.0","interfaces":[{"name":"x"},{"name":"y"}]})";
  exec_.outputs["pc"] =
      R"({"cniVersion":"1.1.0","interfaces":[{"name":"x","mac":"02:00:00:00:00:09"}],"ips":[{"address":"192.0.2.6/24"}]})";
  const auto result = add("a,b,c");
  ASSERT_TRUE(result) << result.error().text();
  const Json& status = result->network_status;
  ASSERT_EQ(status.size(), 3U);  // two of a, none of b, a bare one of c
  EXPECT_EQ(status[0]["ips"], Json({"192.0.2.5"}));
  EXPECT_EQ(status[1]["interface"], "net1b");
  EXPECT_EQ(status[1]["ips"], Json({"2001:db8::5"}));
  EXPECT_EQ(status[1]["dns"], (Json{{"nameservers", {"192.0.2.53"}}}));
  EXPECT_EQ(status[2], (Json{{"name", "blue/c"}, {"ips", {"192.0.2.6"}}, {"dns", Json::object()}}));
}

TEST_F(RunnerTest, EverythingIsCheckedBeforeTheFirstPluginRuns) {
  nad("red", "r", R"({"type":"pr"})");
  nad("blue", "noplugin", R"({"type":"absent"})");
  nad("blue", "broken", "{");
  nad("blue", "tap", R"({"type":"vmlane-tap"})");
  settings_.namespace_isolation = true;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a,gone", "blue/gone was not found"},
      {"a,broken", "blue/broken"},
      {"a,noplugin", "network blue/noplugin: plugin \"absent\""},
      {"a,red/r", "another namespace"},
      {"a,b@eth0", "the pod's first interface"},
      {R"([{"name":"a"},{"name":"b","bandwidth":{"ingressRate":1}}])", "bandwidth"},
      {R"([{"name":"a"},{"name":"tap","default-route":["192.0.2.1"]}])", "network blue/tap"},
      {"a,b@lo", "already"},
  };
  for (const auto& [networks, expected] : cases) {
    const std::string error = add_error(networks);
    EXPECT_NE(error.find(expected), std::string::npos) << error;
  }
  EXPECT_TRUE(exec_.log.empty());
  EXPECT_TRUE(files().empty());
}

TEST_F(RunnerTest, MissingObjectIsTryAgainAndSaysWhere) {
  const auto result = add("gone");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kTryAgain);
  EXPECT_NE(result.error().details.find("element 1"), std::string::npos);
}

TEST_F(RunnerTest, DefaultNetworksComeFirstAndNotInSystemNamespaces) {
  settings_.cluster_network = "blue/a";
  settings_.default_networks = {"blue/b"};
  ASSERT_TRUE(add("c"));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"ADD pa eth0", "ADD pb net1", "ADD pc net2"}));
  exec_.log.clear();
  ASSERT_TRUE(runner().del(sandbox()));
  exec_.log.clear();
  settings_.system_namespaces = {"blue"};
  ASSERT_TRUE(add("c"));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"ADD pa eth0", "ADD pc net1"}));
}

TEST_F(RunnerTest, AnnotationReplacesTheClusterNetwork) {
  settings_.cluster_network = "blue/a";
  Pod web = pod("");
  web.annotations[std::string(kDefaultNetworkAnnotation)] = "blue/b";
  const auto result = runner().add(objects_, web, sandbox());
  ASSERT_TRUE(result);
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"ADD pb eth0"}));
}

TEST_F(RunnerTest, F023FailedAddUndoesInReverseAndLeavesNothing) {
  exec_.failures["ADD pc net3"] = {Code::kTryAgain, "no address left", "range is full", nullptr};
  const auto result = add("a,b,c");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kTryAgain);
  EXPECT_EQ(result.error().message, "network blue/c, interface net3, plugin pc: no address left");
  EXPECT_EQ(result.error().details, "range is full");
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"ADD pa net1", "ADD pb net2", "ADD pc net3", "DEL pc net3",
                                                 "DEL pb net2", "DEL pa net1"}));
  EXPECT_TRUE(files().empty());
}

// What stands for "ADD t netX" among the calls, in order of their names: which of several at once comes first
// is nobody's business.
std::vector<std::string> part(const std::vector<std::string>& log, std::size_t from, std::size_t count) {
  std::vector<std::string> calls(log.begin() + static_cast<std::ptrdiff_t>(from),
                                 log.begin() + static_cast<std::ptrdiff_t>(from + count));
  std::ranges::sort(calls);
  return calls;
}

TEST_F(RunnerTest, LanesAreAttachedAndDetachedAtOnceAndOthersInTheirPlace) {
  nad("blue", "veth", R"({"type":"vmlane-veth"})");
  nad("blue", "tap", R"({"type":"vmlane-tap"})");
  nad("blue", "macvtap", R"({"type":"vmlane-macvtap"})");
  for (const char* type : {"vmlane-veth", "vmlane-tap", "vmlane-macvtap"}) exec_.company[type] = 3;
  const auto result = add("veth,tap,macvtap,a,veth");
  ASSERT_TRUE(result) << result.error().text();
  EXPECT_EQ(exec_.most_at_once, 3);
  EXPECT_EQ(part(exec_.log, 0, 3), (std::vector<std::string>{"ADD vmlane-macvtap net3", "ADD vmlane-tap net2",
                                                             "ADD vmlane-veth net1"}));
  EXPECT_EQ(part(exec_.log, 3, 1), (std::vector<std::string>{"ADD pa net4"}))
      << "it may need what was there before";
  EXPECT_EQ(part(exec_.log, 4, 1), (std::vector<std::string>{"ADD vmlane-veth net5"}))
      << "and who comes later, it";
  ASSERT_EQ(result->attachments.size(), 5U);
  for (std::size_t i = 0; i < 5; i++) {
    const std::string ifname = "net" + std::to_string(i + 1);
    EXPECT_EQ(result->attachments[i].ifname, ifname);
    EXPECT_EQ(result->attachments[i].result["interfaces"][0]["name"], ifname) << "each has its own result";
    EXPECT_EQ(result->network_status[i]["interface"], ifname);
  }
  exec_.log.clear();
  exec_.most_at_once = 0;
  ASSERT_TRUE(runner().del(sandbox()));
  EXPECT_EQ(exec_.most_at_once, 3);
  EXPECT_EQ(part(exec_.log, 0, 1), (std::vector<std::string>{"DEL vmlane-veth net5"}));
  EXPECT_EQ(part(exec_.log, 1, 1), (std::vector<std::string>{"DEL pa net4"}));
  EXPECT_EQ(part(exec_.log, 2, 3), (std::vector<std::string>{"DEL vmlane-macvtap net3", "DEL vmlane-tap net2",
                                                             "DEL vmlane-veth net1"}));
  EXPECT_TRUE(files().empty());
}

TEST_F(RunnerTest, F023OneOfSeveralAtOnceThatFailsTakesTheOthersBackWithTheirResults) {
  nad("blue", "veth", R"({"type":"vmlane-veth"})");
  nad("blue", "tap", R"({"type":"vmlane-tap"})");
  nad("blue", "macvtap", R"({"type":"vmlane-macvtap"})");
  exec_.failures["ADD vmlane-tap net2"] = {Code::kConflict, "no room", "", nullptr};
  EXPECT_NE(add_error("veth,tap,macvtap,a").find("no room"), std::string::npos);
  ASSERT_EQ(exec_.log.size(), 6U) << "nothing after the group is begun, and all of it is undone";
  for (const PluginCall& call : exec_.calls) {
    if (call.env.at("CNI_COMMAND") != "DEL") continue;
    EXPECT_EQ(Json::parse(call.input).contains("prevResult"), call.type != "vmlane-tap") << call.type;
  }
  EXPECT_TRUE(files().empty());
  // What fails on the way back is kept, and that alone.
  exec_.log.clear();
  exec_.failures["DEL vmlane-macvtap net3"] = {Code::kTryAgain, "busy", "", nullptr};
  EXPECT_FALSE(add("veth,tap,macvtap"));
  exec_.log.clear();
  EXPECT_FALSE(runner().del(sandbox()));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"DEL vmlane-macvtap net3"}));
  exec_.failures.clear();
  EXPECT_TRUE(runner().del(sandbox()));
  EXPECT_TRUE(files().empty());
}

TEST_F(RunnerTest, F023DelGoesOnAndKeepsExactlyWhatFailed) {
  ASSERT_TRUE(add("a,b,c"));
  exec_.failures["DEL pb net2"] = {Code::kDelegate, "broken", "", nullptr};
  const auto first = runner().del(sandbox());
  ASSERT_FALSE(first);
  EXPECT_NE(first.error().text().find("blue/b"), std::string::npos);
  EXPECT_EQ(exec_.log.size(), 6U);
  const auto left = PodStateStore(config_).read("c1");
  ASSERT_TRUE(left && *left);
  ASSERT_EQ((*left)->attachments.size(), 1U);
  EXPECT_EQ((*left)->attachments[0].nad, "blue/b");
  exec_.failures.clear();
  exec_.log.clear();
  EXPECT_TRUE(runner().del(sandbox()));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"DEL pb net2"}));
  EXPECT_TRUE(files().empty());
}

TEST_F(RunnerTest, F023UndoThatFailsLeavesWorkForDel) {
  exec_.failures["ADD pb net2"] = {Code::kInternal, "no", "", nullptr};
  exec_.failures["DEL pa net1"] = {Code::kInternal, "stuck", "", nullptr};
  const auto result = add("a,b");
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("no"), std::string::npos);  // the first error, not the undo's
  exec_.failures.clear();
  exec_.log.clear();
  EXPECT_TRUE(runner().del(sandbox()));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"DEL pa net1"}));
  EXPECT_TRUE(files().empty());
}

TEST_F(RunnerTest, KilledAtAnyPluginOneDelCleansUp) {
  nad("blue", "chain", R"({"plugins":[{"type":"p1"},{"type":"p2"}]})");
  for (const std::string point : {"ADD pa net1", "ADD p1 net2", "ADD p2 net2", "ADD pc net3"}) {
    exec_.dies_at = point;
    EXPECT_THROW(static_cast<void>(add("a,chain,c")), Killed) << point;
    exec_.dies_at.clear();
    const auto reached = static_cast<std::size_t>(
        std::ranges::count_if(exec_.log, [](const auto& name) { return name.starts_with("ADD"); }));
    exec_.log.clear();
    ASSERT_TRUE(runner().del(sandbox())) << point;
    // Every plugin that ran got its DEL, and attachments that were not begun got none.
    EXPECT_GE(exec_.log.size(), reached) << point;
    if (point != "ADD pc net3") {
      EXPECT_EQ(std::ranges::find(exec_.log, "DEL pc net3"), exec_.log.end()) << point;
    }
    EXPECT_TRUE(files().empty()) << point;
    exec_.log.clear();
  }
}

TEST_F(RunnerTest, F029DelNeedsNoObjects) {
  ASSERT_TRUE(add("a"));
  objects_ = ObjectStore();
  EXPECT_TRUE(runner().del(sandbox()));
  EXPECT_EQ(exec_.log.back(), "DEL pa net1");
}

TEST_F(RunnerTest, BrokenStateDoesNotBlockDel) {
  ASSERT_TRUE(add("a"));
  const fs::path state = directory_.path() / files()[2];
  ASSERT_EQ(state.parent_path().filename(), "multus");
  for (const std::string content : {"", "{\"schema\": 1, \"attach", "[]"}) {
    test::spit(state, content);
    EXPECT_TRUE(runner().del(sandbox())) << content;
    EXPECT_FALSE(fs::exists(state));
  }
  // F021: a symlink in its place is removed, what it points to is not.
  const fs::path target = directory_.path() / "precious";
  test::spit(target, "{}");
  fs::create_symlink(target, state);
  EXPECT_TRUE(runner().del(sandbox()));
  EXPECT_FALSE(fs::is_symlink(state));
  EXPECT_EQ(test::slurp(target), "{}");
}

TEST_F(RunnerTest, SecondAddOfASandboxIsRefused) {
  ASSERT_TRUE(add("a"));
  const auto again = add("a");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kConflict);
  EXPECT_EQ(exec_.log.size(), 1U);
  EXPECT_TRUE(runner().check(sandbox()));
}

TEST_F(RunnerTest, F105SameNetworkNameWithOtherSettingsIsRefused) {
  nad("blue", "n1", R"({"name":"shared","type":"pa","bridge":"br1","mtu":1400})");
  nad("red", "n2", R"({"name":"shared","type":"pa","bridge":"br2","mtu":1400})");
  nad("red", "same", R"({"mtu":1400,"bridge":"br1","type":"pa","name":"shared"})");
  ASSERT_TRUE(add("n1", "c1"));
  const auto refused = add("red/n2", "c2");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  for (const char* part : {"blue/n1", "red/n2", "\"shared\"", "bridge"}) {
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
  EXPECT_EQ(refused.error().message.find("mtu"), std::string::npos);
  EXPECT_TRUE(add("red/same", "c3"));
  // Once nothing runs with the first settings, the second may.
  ASSERT_TRUE(runner().del(sandbox("c1")));
  ASSERT_TRUE(runner().del(sandbox("c3")));
  EXPECT_TRUE(add("red/n2", "c2"));
  // Within one pod as well.
  EXPECT_FALSE(add("n1,red/n2", "c4"));
}

TEST_F(RunnerTest, InvalidResultFailsTheAddAndIsUndone) {
  exec_.outputs["pb"] = R"({"cniVersion":"1.0.0","ips":[{"address":"not an address"}]})";
  const auto result = add("a,b");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kDelegate);
  EXPECT_NE(result.error().message.find("blue/b"), std::string::npos);
  EXPECT_EQ(exec_.log.back(), "DEL pa net1");
  EXPECT_TRUE(files().empty());
}

TEST_F(RunnerTest, CheckTellsTheFirstFaultAndSkipsWhatCannot) {
  nad("blue", "old", R"({"cniVersion":"0.3.1","type":"po"})");
  nad("blue", "off", R"({"type":"px","disableCheck":true})");
  ASSERT_TRUE(add("old,off,a"));
  exec_.log.clear();
  EXPECT_TRUE(runner().check(sandbox()));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"CHECK pa net3"}));
  exec_.failures["CHECK pa net3"] = {Code::kChanged, "MTU differs", "", nullptr};
  const auto changed = runner().check(sandbox());
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Code::kChanged);
  EXPECT_EQ(runner().check(sandbox("unknown")).error().code, Code::kUnknownContainer);
}

TEST_F(RunnerTest, GcDeletesDeadSandboxesAndTellsTheNetworks) {
  nad("blue", "new", R"({"cniVersion":"1.1.0","type":"pn"})");
  ASSERT_TRUE(add("new", "c1"));
  Pod other = pod("new,a");
  other.uid = "uid-2";
  ASSERT_TRUE(runner().add(objects_, other, sandbox("c2")));
  exec_.log.clear();
  exec_.calls.clear();
  ASSERT_TRUE(runner().gc({"c2"}, sandbox().env));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"DEL pn net1", "GC pn "}));
  const Json valid = Json::parse(exec_.calls.back().input)["cni.dev/valid-attachments"];
  EXPECT_EQ(valid, Json::parse(R"([{"containerID":"c2","ifname":"net1"}])"));
  EXPECT_EQ(files().size(), 3U);
}

TEST_F(RunnerTest, StatusAsksTheClusterNetwork) {
  EXPECT_TRUE(runner().status(objects_, sandbox().env));
  settings_.cluster_network = "blue/gone";
  EXPECT_EQ(runner().status(objects_, sandbox().env).error().code, Code::kNotAvailable);
  nad("blue", "new", R"({"cniVersion":"1.1.0","type":"pn"})");
  settings_.cluster_network = "blue/new";
  EXPECT_TRUE(runner().status(objects_, sandbox().env));
  EXPECT_EQ(exec_.log, (std::vector<std::string>{"STATUS pn "}));
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace vmlane::multus
