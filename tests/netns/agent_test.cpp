// SPDX-License-Identifier: Apache-2.0
// vmlane-agent as a program: files that come, go and break, restarts, its socket, and what it leaves.
#include "tests/support/agent.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "core/json_rpc.h"
#include "core/names.h"
#include "ebpf/policy_layout.bpf.h"
#include "ebpf/policy_maps.h"
#include "ebpf/policy_programs.h"
#include "policy/subject.h"
#include "policy/tables_file.h"
#include "tests/support/paths.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr const char* kClient = "192.0.2.77";
constexpr const char* kStranger = "203.0.113.9";

class AgentProgram : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    fs::create_directories(objects());
    agent_.emplace(node(), std::vector<fs::path>{objects()});
  }

  fs::path objects() const { return directory() / "objects"; }
  void put(const std::string& file, const std::string& text) const {
    spit(directory() / "unfinished", text);
    fs::rename(directory() / "unfinished", objects() / file);
  }
  // Pod blue/c1 with a policy that lets in blue/client alone, and an attachment of c1.
  void guarded_pod() {
    put("c1.json", pod_text("c1", {{"app", "web"}}));
    put("client.json", pod_text("client", {{"role", "client"}}, {{"status", {{"podIP", kClient}}}}));
    put("guard.json", guard());
    ASSERT_CNI_OK(add(make_pod("p1"), config()));
  }
  static std::string guard() {
    return policy_text(
        "guard", {{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
                  {"ingress", {{{"from", {{{"podSelector", {{"matchLabels", {{"role", "client"}}}}}}}}}}}});
  }
  static std::string id() { return names::attachment_id("blue", "c1", "eth0"); }
  std::optional<bool> verdict(const std::string& peer) const {
    return published_verdict(node(), id(), true, peer, 80);
  }
  bool is_guarded() const { return verdict(kClient) == true && verdict(kStranger) == false; }
  AgentRunner& agent() { return *agent_; }
  // Before its start.
  void give_options(const std::vector<std::string>& more) {
    agent_.emplace(node(), std::vector<fs::path>{objects()}, more);
  }
  // How often the agent had to put right what it published there.
  std::uint64_t repaired(const std::string& sink) {
    const Json status = agent().status();
    for (const Json& row : status.value("sinks", Json::array())) {
      if (row.value("name", "") == sink) return row.value("repaired", std::uint64_t{0});
    }
    return 0;
  }
  RunResult run_agent(const std::vector<std::string>& arguments) const {
    std::vector<std::string> command{built("vmlane-agent")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return run(command);
  }

 private:
  std::optional<AgentRunner> agent_;
};

TEST_F(AgentProgram, BadOptionsAreRefusedByName) {
  const auto refused = [&](const std::vector<std::string>& arguments, int status,
                           const std::string& culprit) {
    const RunResult result = run_agent(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_NE(result.err.find(culprit), std::string::npos) << culprit << ": " << result.err;
  };
  refused({}, 2, "--objects");
  refused({"--objects", objects(), "--colour", "red"}, 2, "--colour");
  refused({"--objects", objects(), "--check-interval", "-1"}, 2, "--check-interval");
  refused({"--config", node_json(), "--objects", directory() / "missing"}, 1, "missing");
  refused({"--config", node_json(), "--objects", node_json()}, 1, "node.json");
  refused({"--config", directory() / "none.json", "--objects", objects()}, 1, "none.json");
  EXPECT_FALSE(fs::exists(node().agent_marker())) << "a refused start enables nothing";
}

TEST_F(AgentProgram, OnceTellsTheStatusAndLeavesNoDaemon) {
  guarded_pod();
  const RunResult result =
      run_agent({"--config", node_json(), "--objects", objects(), "--node", "n1", "--once"});
  ASSERT_TRUE(result.ok()) << result.err;
  const Json status = Json::parse(result.out, nullptr, false);
  EXPECT_EQ(status.value("node", ""), "n1");
  EXPECT_TRUE(is_guarded());
  EXPECT_FALSE(fs::exists(node().agent_socket()));
  EXPECT_FALSE(fs::exists(node().agent_marker()));
  put("bad.yaml", "kind: [");
  const RunResult bad =
      run_agent({"--config", node_json(), "--objects", objects(), "--node", "n1", "--once"});
  EXPECT_EQ(bad.status, 1);
  EXPECT_NE(bad.out.find("bad.yaml"), std::string::npos) << bad.out;
}

TEST_F(AgentProgram, BrokenFilesAndObjectsAreToldAndTouchNothingElse) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  put("guard.json", "{\"kind\": ");  // what was in it stays in force
  put("wrong.yaml",
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: red, name: odd}\n"
      "spec: {podSelector: {}, ingress: [{ports: [{port: 99999}]}]}\n---\n{apiVersion: v1, kind: Pod, spec: "
      "{}}\n");
  ASSERT_TRUE(eventually([&] {
    const std::string all = agent().problems();
    return all.find("guard.json") != std::string::npos &&
           all.find("spec.ingress[0].ports[0]") != std::string::npos;
  })) << agent().problems();
  EXPECT_NE(agent().problems().find("has no metadata.name"), std::string::npos) << agent().problems();
  EXPECT_NE(agent().problems().find("red/odd"), std::string::npos) << agent().problems();
  EXPECT_TRUE(is_guarded());
  put("client.json", pod_text("client", {{"role", "none"}}, {{"status", {{"podIP", kClient}}}}));
  EXPECT_TRUE(eventually([&] { return verdict(kClient) == false; })) << "other files are still followed";
  put("guard.json", guard());
  fs::remove(objects() / "wrong.yaml");
  EXPECT_TRUE(eventually([&] { return agent().problems() == "[]"; }, 20s)) << agent().problems();
  EXPECT_NE(slurp(log_file()).find("guard.json"), std::string::npos) << "the log tells of it";
}

TEST_F(AgentProgram, FileThatIsBeingWrittenCountsWhenItIsClosed) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  {
    std::ofstream file(objects() / "guard.json", std::ios::trunc);
    file << "{}\n" << std::flush;  // whole as YAML goes, and no policy
    put("other.json", pod_text("other", Json::object()));
    ASSERT_TRUE(
        eventually([&] { return agent().problems().find("open for writing") != std::string::npos; }, 20s))
        << agent().status();
    EXPECT_TRUE(is_guarded());
    file.seekp(0);
    file << guard();
  }
  EXPECT_TRUE(eventually([&] { return agent().problems() == "[]"; }, 20s)) << agent().problems();
  EXPECT_TRUE(is_guarded());
}

TEST_F(AgentProgram, PolicyWhoseFileIsReplacedByRemovingItStaysInForce) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  const std::string text = guard();
  for (int i = 0; i < 30; i++) {
    fs::remove(objects() / "guard.json");
    sleep_ms(i % 5);
    spit(objects() / "guard.json", text);
    for (int look = 0; look < 20; look++) ASSERT_NE(verdict(kStranger), true) << i;
  }
}

TEST_F(AgentProgram, DirectoryThatGoesAndComesBackIsFollowed) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  fs::rename(objects(), directory() / "aside");
  ASSERT_TRUE(
      eventually([&] { return agent().problems().find("cannot read directory") != std::string::npos; }, 20s))
      << agent().problems();
  EXPECT_TRUE(is_guarded()) << "what was in force stays";
  fs::create_directory(objects());
  put("c1.json", pod_text("c1", {{"app", "web"}}));
  EXPECT_TRUE(eventually([&] { return verdict(kStranger) == true; }, 20s))
      << "the policy is not there any more";
  EXPECT_EQ(agent().problems(), "[]");
}

TEST_F(AgentProgram, ForeignAndCutRecordsAreToldAndTheOthersStay) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  spit(node().attachments_dir() / "note.txt", "not a record");
  spit(node().attachments_dir() / (std::string(32, 'a') + ".json"), "{\"schema\": 1, \"sta");
  Json record = Json::parse(slurp(node().attachments_dir() / (id() + ".json")));
  record["added_later"] = {{"by", "a newer release"}};
  spit(node().attachments_dir() / (id() + ".json"), record.dump());
  EXPECT_TRUE(eventually([&] {
    const std::string all = agent().problems();
    return all.find("note.txt") != std::string::npos && all.find(std::string(32, 'a')) != std::string::npos;
  })) << agent().problems();
  EXPECT_TRUE(is_guarded());
  spit(node().attachments_dir() / (id() + ".json"), "{");  // a disk's fault: it counts as it was
  sleep_ms(300);
  EXPECT_TRUE(is_guarded());
}

TEST_F(AgentProgram, PluginsGetTheFactsThatTheyWaitFor) {
  configure_node({{"podFactsTimeout", 30000}});
  agent().start();
  std::jthread writer([&] {
    sleep_ms(400);
    put("vm.json", pod_text("launcher", {{"vm.kubevirt.io/name", "db"}}, {{"metadata", {{"uid", "uid-7"}}}}));
  });
  CniCall call = this->call("ADD", make_pod("p1").path(), config());
  call.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=launcher;K8S_POD_UID=uid-7";
  ASSERT_CNI_OK(run_call(call));
  const Json record = Json::parse(slurp(node().attachments_dir() / (id() + ".json")));
  EXPECT_EQ(record["pod"].value("vm", ""), "db") << record["pod"];
  const fs::path facts = node().pods_dir() / "uid-7.json";
  fs::remove(objects() / "vm.json");
  sleep_ms(600);
  EXPECT_TRUE(fs::exists(facts)) << "the pod has an attachment yet";
  call.command = "DEL";
  ASSERT_CNI_OK(run_call(call));
  EXPECT_TRUE(eventually([&] { return !fs::exists(facts); }));
}

TEST_F(AgentProgram, PodsOfOtherNodesGetNoFacts) {
  put("a.json",
      pod_text("here", Json::object(), {{"metadata", {{"uid", "uid-1"}}}, {"spec", {{"nodeName", "n1"}}}}));
  put("b.json",
      pod_text("there", Json::object(), {{"metadata", {{"uid", "uid-2"}}}, {"spec", {{"nodeName", "n2"}}}}));
  agent().start();
  EXPECT_TRUE(fs::exists(node().pods_dir() / "uid-1.json"));
  EXPECT_FALSE(fs::exists(node().pods_dir() / "uid-2.json"));
}

TEST_F(AgentProgram, MultusAsksTheAgentForPodsAndNetworks) {
  const auto meta = [&](const std::string& command) {
    CniCall call = this->call(command, pods().at("p1")->path(),
                              {{"cniVersion", "1.0.0"}, {"name", "meta"}, {"type", "vmlane-multus"}});
    call.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web;K8S_POD_UID=uid-1";
    return run_plugin("vmlane-multus", call, node_json());
  };
  make_pod("p1");
  EXPECT_CNI_ERROR(meta("ADD"), Code::kTryAgain);  // neither files nor an agent
  Json network = config({{"name", nullptr}});
  put("nad.json", Json{{"apiVersion", "k8s.cni.cncf.io/v1"},
                       {"kind", "NetworkAttachmentDefinition"},
                       {"metadata", {{"namespace", "blue"}, {"name", "dmz"}}},
                       {"spec", {{"config", network.dump()}}}}
                      .dump());
  agent().start();
  EXPECT_CNI_ERROR(meta("ADD"), Code::kTryAgain);  // no such pod yet
  put("pod.json",
      pod_text(
          "web", Json::object(),
          {{"metadata", {{"uid", "uid-1"}, {"annotations", {{"k8s.v1.cni.cncf.io/networks", "dmz"}}}}}}));
  ASSERT_TRUE(eventually([&] { return agent().status().value("pods", 0) == 1; }));
  ASSERT_CNI_OK(meta("ADD"));
  EXPECT_EQ(link_names(pods().at("p1")->path()), (std::vector<std::string>{"lo", "net1"}));
  const std::string attachment = names::attachment_id("dmz", "c1", "net1");
  EXPECT_TRUE(eventually([&] { return agent().attachment(attachment).value("network", "") == "blue/dmz"; }))
      << agent().status();
  agent().kill();
  ASSERT_CNI_OK(meta("DEL")) << "DEL needs no agent";
}

TEST_F(AgentProgram, OneAgentANodeAndASocketOfADeadOneIsReplaced) {
  agent().start();
  const RunResult second = run_agent({"--config", node_json(), "--objects", objects()});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.err.find("another vmlane-agent runs on this node"), std::string::npos) << second.err;
  agent().kill();
  EXPECT_TRUE(fs::exists(node().agent_socket()));
  EXPECT_EQ(agent().call("status").error().code, Code::kNotAvailable);
  agent().start();
  EXPECT_EQ(agent().stop(), 0);
  EXPECT_FALSE(fs::exists(node().agent_socket()));
  EXPECT_TRUE(fs::exists(node().agent_marker())) << "attachments wait for a verdict while no agent runs";
}

TEST_F(AgentProgram, WhatIsPublishedOutlivesItAndARestartChangesNothing) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  struct stat info {};
  ASSERT_EQ(::stat((node().policy_dir() / policy::tables_file_name()).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640);
  const auto generation = agent().status().value("generation", 0);
  agent().kill();
  EXPECT_TRUE(is_guarded());
  agent().start();
  EXPECT_TRUE(is_guarded());
  EXPECT_GT(agent().status().value("generation", 0), generation);
  EXPECT_EQ(agent().stop(), 0);
  EXPECT_TRUE(is_guarded());
}

// A stranger is never let in, and the client never kept out, while policies flip around them and the agent is
// killed over and over.
TEST_F(AgentProgram, KilledAtRandomMomentsItOpensNothing) {
  guarded_pod();
  agent().start();
  ASSERT_TRUE(is_guarded());
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;
  std::atomic<int> looks = 0;
  std::jthread reader([&] {
    while (!done) {
      if (!is_guarded()) wrong++;
      looks++;
    }
  });
  std::mt19937 random(1);
  const int kills = std::getenv("VMLANE_LONG") != nullptr ? 200 : 10;
  for (int i = 0; i < kills; i++) {
    for (int flip = 0; flip < 5; flip++) {
      const bool odd = flip % 2 == 1;
      put("flip.json",
          policy_text(
              "flip",
              {{"podSelector", Json::object()},
               {"ingress",
                {{{"from", {{{"ipBlock", {{"cidr", odd ? "192.0.2.64/27" : "192.0.2.77/32"}}}}}}}}}}));
      sleep_ms(static_cast<int>(random() % 8));
    }
    agent().kill();
    agent().start();
  }
  done = true;
  reader.join();
  EXPECT_EQ(wrong, 0) << "of " << looks;
  EXPECT_GT(looks, kills);
}

// The tables that the kernel judges by, and the workloads' numbers in them, as any program may change them.
struct KernelTables {
  ebpf::PolicyPrograms programs;
  ebpf::Mapping state;
  ebpf::Mapping subjects;

  static KernelTables open(const NodeConfig& node) {
    auto all = ebpf::all_policy_programs(node.run_dir);
    EXPECT_TRUE(all && all->size() == 1);
    KernelTables tables{.programs = std::move(all->front()), .state = {}, .subjects = {}};
    tables.state = *ebpf::map_memory(tables.programs.map(ebpf::PolicyMap::kState), "state");
    tables.subjects = *ebpf::map_memory(tables.programs.map(ebpf::PolicyMap::kSubjects), "subjects");
    return tables;
  }
  std::uint32_t slot() const {
    return static_cast<std::uint32_t>(state.as<vmlane_policy_state>()[0].epoch & 1);
  }
  ebpf::Mapping lines() const {
    const Fd map = ebpf::inner_map(programs.map(ebpf::PolicyMap::kTables), slot());
    return map ? *ebpf::map_memory(map.get(), "tables") : ebpf::Mapping();
  }
  // Whether they are what the file says.
  bool agree_with_file(const NodeConfig& node) const {
    const auto file = policy::TablesFile::map(node.policy_dir() / policy::tables_file_name());
    const ebpf::Mapping memory = lines();
    if (!file || !*file || !memory) return false;
    const vmlane_policy_tables tables = (*file)->tables();
    return memory.as<std::uint8_t>().size() >= tables.size &&
           std::memcmp(memory.as<std::uint8_t>().data(), tables.base, tables.size) == 0;
  }
};

TEST_F(AgentProgram, F082_WhatOthersChangeInPublishedPolicyIsNoticedCountedAndPutRight) {
  give_options({"--check-interval", "0.2"});
  agent().start();
  guarded_pod();
  ASSERT_TRUE(eventually([&] { return is_guarded(); }));
  const fs::path file = node().policy_dir() / policy::tables_file_name();
  const auto kernel = [this] { return KernelTables::open(node()); };
  const auto change_word = [&](std::size_t at) {
    const KernelTables tables = kernel();
    tables.lines().as<std::uint64_t>()[at] ^= 0x100;
  };
  struct Accident {
    const char* name;
    std::string sink;
    std::function<void()> happen;
  };
  const std::vector<Accident> accidents = {
      {"a word at the beginning", "kernel", [&] { change_word(2); }},
      {"a word further on", "kernel", [&] { change_word(kernel().lines().as<std::uint64_t>().size() / 4); }},
      {"a number of a workload", "kernel",
       [&] {
         const KernelTables tables = kernel();
         int workloads = 0;
         for (auto& workload : tables.subjects.as<vmlane_policy_workload>()) {
           workloads += workload.incarnation != 0 ? 1 : 0;
           workload.endpoint[0] = workload.endpoint[1] = 0;
         }
         ASSERT_EQ(workloads, 1);
       }},
      {"all of the tables", "kernel",
       [&] {
         const KernelTables tables = kernel();
         const std::uint32_t slot = tables.slot();
         ASSERT_EQ(bpf_map_delete_elem(tables.programs.map(ebpf::PolicyMap::kTables), &slot), 0);
       }},
      {"the file", file, [&] { fs::remove(file); }},
      {"what is in the file", file, [&] {
         std::fstream words(file, std::ios::in | std::ios::out | std::ios::binary);
         words.seekp(200);
         words.put('!');
       }}};
  for (const Accident& accident : accidents) {
    SCOPED_TRACE(accident.name);
    const std::uint64_t before = repaired(accident.sink);
    accident.happen();
    EXPECT_TRUE(eventually([&] { return repaired(accident.sink) > before; }, 5s)) << agent().status();
    EXPECT_TRUE(eventually([&] { return is_guarded() && kernel().agree_with_file(node()); }, 5s));
  }
  const std::uint64_t counted = repaired("kernel") + repaired(file);
  std::this_thread::sleep_for(1s);
  EXPECT_EQ(repaired("kernel") + repaired(file), counted) << "nothing is repaired without need";
  EXPECT_EQ(agent().problems(), "[]");
  EXPECT_NE(slurp(log_file()).find("published again"), std::string::npos);
}

TEST_F(AgentProgram, F082_EachAttachmentIsCheckedByItsPluginInTime) {
  const Json masked = config({{"ipMasq", true}});
  ASSERT_CNI_OK(add(make_pod("p1"), masked));
  give_options({"--check-interval", "0.3"});
  agent().start();
  const std::string rules = run({"nft", "list", "table", "inet", "vmlane"}).out;
  ASSERT_NE(rules.find("masquerade"), std::string::npos);
  must({"nft", "flush", "ruleset"});
  EXPECT_TRUE(eventually(
      [&] {
        return run({"nft", "list", "table", "inet", "vmlane"}).out == rules;
      },
      10s))
      << "a reload of the firewall is nothing that a pod notices for long";
  EXPECT_EQ(agent().problems(), "[]");
  // What no plugin puts right is told until it is as it was.
  const std::string host_link = names::host_link(id());
  must({"ip", "link", "set", host_link, "down"});
  EXPECT_TRUE(
      eventually([&] { return agent().problems().find(host_link + " is down") != std::string::npos; }, 15s))
      << agent().status();
  EXPECT_NE(agent().problems().find(id()), std::string::npos) << agent().problems();
  EXPECT_EQ(agent().status()["checks"].value("wrong", 0), 1);
  must({"ip", "link", "set", host_link, "up"});
  EXPECT_TRUE(eventually([&] { return agent().problems() == "[]"; }, 15s)) << agent().problems();
  // Its plugin may be replaced at any moment, and an attachment may go.
  EXPECT_CNI_OK(del(pods().at("p1")->path(), masked));
  const auto done = [&] { return agent().status()["checks"].value("done", 0); };
  EXPECT_TRUE(eventually([&] { return agent().status()["attachments"].empty(); }));
  const int after = done();
  std::this_thread::sleep_for(1s);
  EXPECT_EQ(done(), after) << "there is nothing to check";
  EXPECT_EQ(agent().problems(), "[]");
}

TEST_F(AgentProgram, F082_NoChecksAreMadeWhenNoneAreWanted) {
  ASSERT_CNI_OK(add(make_pod("p1"), config({{"ipMasq", true}})));
  give_options({"--check-interval", "0"});
  agent().start();
  must({"nft", "flush", "ruleset"});
  std::this_thread::sleep_for(1s);
  EXPECT_EQ(agent().status()["checks"].value("done", -1), 0);
  EXPECT_FALSE(run({"nft", "list", "table", "inet", "vmlane"}).ok());
}

std::size_t open_files(pid_t pid) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd"))
    count++;
  return count;
}

std::size_t resident_kib(pid_t pid) {
  std::istringstream lines(slurp("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(line.find_first_of("0123456789")));
  }
  return 0;
}

TEST_F(AgentProgram, ChurnOfAThousandFilesLeaksNothing) {
  agent().start();
  const auto churn = [&](int round) {
    for (int i = 0; i < 1000; i++) {
      const std::string name = "pod-" + std::to_string(i);
      spit(
          objects() / (name + ".json"),
          pod_text(name, {{"round", std::to_string(round)}},
                   {{"spec", {{"nodeName", "n2"}}},
                    {"status",
                     {{"podIP", "198.51." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1)}}}}));
    }
    ASSERT_TRUE(eventually([&] { return agent().status().value("objects", 0) == 1000; }, 60s))
        << agent().status();
    for (int i = 0; i < 1000; i++) fs::remove(objects() / ("pod-" + std::to_string(i) + ".json"));
    ASSERT_TRUE(eventually([&] { return agent().status().value("objects", 1) == 0; }, 60s))
        << agent().status();
  };
  churn(0);
  churn(1);
  const std::size_t files = open_files(agent().pid());
  const std::size_t memory = resident_kib(agent().pid());
  for (int round = 2; round < 6; round++) churn(round);
  EXPECT_LE(open_files(agent().pid()), files + 1) << "one may be a connection that ends";
  EXPECT_LT(resident_kib(agent().pid()), memory + 8 * 1024);
}

// One connection, raw lines.
class Line {
 public:
  explicit Line(const fs::path& socket) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket.string().copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  // What comes back for a text, up to the end of a line.
  std::string ask(const std::string& text) {
    EXPECT_EQ(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    std::string answer;
    char byte = 0;
    while (::recv(fd_.get(), &byte, 1, 0) == 1 && byte != '\n') answer += byte;
    return answer;
  }

 private:
  Fd fd_;
};

TEST_F(AgentProgram, SocketSpeaksJsonRpc) {
  agent().start();
  Line line(node().agent_socket());
  const auto code = [&](const std::string& text) {
    const Json answer = Json::parse(line.ask(text), nullptr, false);
    return answer.is_object() && answer.contains("error") ? answer["error"].value("code", 0) : 0;
  };
  EXPECT_EQ(code("nonsense\n"), -32700);
  EXPECT_EQ(code("{\"jsonrpc\": \"1.0\", \"id\": 1, \"method\": \"status\"}\n"), -32600);
  EXPECT_EQ(code("[]\n"), -32600);
  EXPECT_EQ(code("{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"fly\"}\n"), -32601);
  EXPECT_EQ(
      code("{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"policy.explain\", \"params\": {\"from\": 7}}\n"),
      -32602);
  const Json batch =
      Json::parse(line.ask("[{\"jsonrpc\": \"2.0\", \"id\": \"a\", \"method\": \"status\"},"
                           " {\"jsonrpc\": \"2.0\", \"method\": \"status\"},"
                           " {\"jsonrpc\": \"2.0\", \"id\": 3, \"method\": \"networks\"}]\n"));
  ASSERT_EQ(batch.size(), 2U) << "a notification gets no answer";
  EXPECT_EQ(batch[0]["id"], "a");
  EXPECT_EQ(batch[1]["result"], (Json{{"objects", Json::array()}}));
}

TEST_F(AgentProgram, OnlyRootMayResync) {
  constexpr unsigned kUser = 54321;
  configure_node({{"vmlaneGid", kUser}});
  fs::permissions(directory(), fs::perms(0755));
  agent().start();
  const auto ctl = [&](const std::string& command, std::optional<uid_t> uid) {
    RunOptions options;
    options.uid = uid;
    return run({built("vmlanectl"), "agent", command, "--config", node_json()}, options);
  };
  EXPECT_TRUE(ctl("resync", std::nullopt).ok());
  EXPECT_TRUE(ctl("status", kUser).ok()) << ctl("status", kUser).err;
  const RunResult refused = ctl("resync", kUser);
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("only root"), std::string::npos) << refused.err;
  EXPECT_FALSE(ctl("status", kUser + 1).ok());
}

TEST_F(AgentProgram, SimulatesBesideWhatItHas) {
  guarded_pod();
  agent().start();
  spit(directory() / "probes.json", R"([{"from": "blue/client", "to": "blue/c1", "port": 80},
                                        {"from": "203.0.113.9", "to": "blue/c1", "port": 80}])");
  spit(directory() / "with.json",
       policy_text("more", {{"podSelector", Json::object()}, {"ingress", {Json::object()}}}));
  const RunResult result =
      run({built("vmlanectl"), "policy", "simulate", "--config", node_json(), "--with",
           directory() / "with.json", "--probes", directory() / "probes.json", "-o", "json"});
  ASSERT_TRUE(result.ok()) << result.err;
  const Json found = Json::parse(result.out);
  ASSERT_EQ(found["changes"].size(), 1U) << found;
  EXPECT_EQ(found["changes"][0]["after"]["ingress"]["policy"], "blue/more");
  EXPECT_TRUE(is_guarded()) << "nothing was published";
}

TEST_F(AgentProgram, ExplainsByWhatItHas) {
  guarded_pod();
  const auto explain = [&](const std::string& from) {
    return run(
        {built("vmlanectl"), "policy", "explain", from, "blue/c1", "TCP", "80", "--config", node_json()});
  };
  const RunResult alone = explain("blue/client");
  EXPECT_EQ(alone.status, 1);
  EXPECT_NE(alone.err.find("no vmlane-agent runs"), std::string::npos) << alone.err;
  agent().start();
  const RunResult allowed = explain("blue/client");
  EXPECT_TRUE(allowed.ok()) << allowed.err;
  EXPECT_TRUE(allowed.out.starts_with("allow\n")) << allowed.out;
  EXPECT_NE(allowed.out.find("blue/guard rule 0"), std::string::npos) << allowed.out;
  EXPECT_TRUE(explain(kStranger).out.starts_with("deny\n"));
  EXPECT_EQ(explain("blue/nobody").status, 1);
}

}  // namespace
}  // namespace vmlane::test
