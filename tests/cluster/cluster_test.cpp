// SPDX-License-Identifier: Apache-2.0
// A real Kubernetes cluster with vmlane as its nodes' network, by scripts/cluster: pods that are scheduled,
// run and judged, an agent that is killed, a node that is booted anew, and an end that leaves nothing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/json.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A machine that builds beside it needs a minute for what takes seconds by itself.
constexpr auto kPatience = 180s;
constexpr const char* kFamilies[] = {"IPv4", "IPv6"};

// A pod of the namespace "blue" that serves a page and can ask for one, with an address on a second network
// that both nodes are plugged into.
std::string pod(const std::string& name, const std::string& role, const std::string& node,
                const std::string& lan) {
  return "---\napiVersion: v1\nkind: Pod\nmetadata:\n  namespace: blue\n  name: " + name +
         "\n  labels: {app: " + name + ", role: " + role +
         "}\n  annotations: {k8s.v1.cni.cncf.io/networks: '[{\"name\": \"lan\", \"ips\": [\"" + lan +
         "/24\"]}]'}\nspec:\n  terminationGracePeriodSeconds: 0\n  nodeSelector: {kubernetes.io/hostname: " +
         node +
         "}\n  containers:\n  - name: main\n    image: images.example/busybox:1\n"
         "    command: [sh, -c, 'echo served by $HOSTNAME >/www/index.html; exec httpd -f -h /www']\n";
}

constexpr const char* kNamespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: blue}\n";

// The subnet is no other's here: eth0 of the nodes is in 198.51.100.0/24, but in a namespace of its own.
constexpr const char* kLan = R"(---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {namespace: blue, name: lan}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "lan", "type": "vmlane-veth", "bridge": "br-lan", "uplink": "eth1",
     "capabilities": {"ips": true}, "ipam": {"type": "static"}}
)";
constexpr const char* kLanServer = "198.51.100.201";
constexpr const char* kLanFar = "198.51.100.203";

constexpr const char* kLanGuard = R"(apiVersion: k8s.cni.cncf.io/v1beta1
kind: MultiNetworkPolicy
metadata: {namespace: blue, name: lan-guard, annotations: {k8s.v1.cni.cncf.io/policy-for: lan}}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{from: [{ipBlock: {cidr: 198.51.100.203/32}}]}]
)";

// Whom it lets in is told by labels, and found by what other nodes say of their pods on that network.
constexpr const char* kLanGuardByLabel = R"(apiVersion: k8s.cni.cncf.io/v1beta1
kind: MultiNetworkPolicy
metadata: {namespace: blue, name: lan-guard, annotations: {k8s.v1.cni.cncf.io/policy-for: lan}}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}]}]
)";

constexpr const char* kGuard = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: blue, name: guard}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], ports: [{protocol: TCP, port: 80}]}]
)";

constexpr const char* kService = R"(apiVersion: v1
kind: Service
metadata: {namespace: blue, name: server}
spec: {selector: {app: server}, ports: [{port: 8080, targetPort: 80}]}
)";

// A cluster in a directory of its own, beside whatever other there is.
class Cluster : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, for namespaces";
    directory_ = fs::temp_directory_path() / ("vmlane-cluster-" + std::to_string(getpid()));
    setenv("VMLANE_CLUSTER_DIR", directory_.c_str(), 1);
    const char* wanted = std::getenv("VMLANE_CLUSTER");
    const RunResult built = script({"build", "--dry-run"});
    if (!built.ok() && (wanted == nullptr || std::string(wanted) != "1"))
      GTEST_SKIP() << "Kubernetes takes half an hour to build: run \"scripts/cluster build\" once, or set "
                      "VMLANE_CLUSTER=1 ("
                   << built.err.substr(0, built.err.find('\n')) << ")";
  }
  void TearDown() override {
    if (fs::exists(directory_)) script({"down"});
    unsetenv("VMLANE_CLUSTER_DIR");
  }

  RunResult script(std::vector<std::string> arguments, const std::string& input = {}) const {
    arguments.insert(arguments.begin(), source_file("scripts/cluster"));
    return run(arguments, {.input = input, .timeout = 2h});
  }
  RunResult kubectl(std::vector<std::string> arguments, const std::string& input = {}) const {
    arguments.insert(arguments.begin(), "kubectl");
    return script(arguments, input);
  }
  void apply(const std::string& objects) const {
    const RunResult result = kubectl({"apply", "-f", "-"}, objects);
    ASSERT_TRUE(result.ok()) << result.err;
  }
  void wait_until_ready(const std::string& what) const {
    const RunResult result = kubectl({"-n", "blue", "wait", "--for=condition=Ready",
                                      "--timeout=" + std::to_string(kPatience.count()) + "s", "pod", what});
    if (result.ok()) return;
    ADD_FAILURE() << what << " is not ready: " << result.err
                  << kubectl({"-n", "blue", "get", "events,pods", "-o", "wide"}).out;
  }
  // The pod's address of a family; empty when it has none.
  std::string address(const std::string& pod, bool v6) const {
    const RunResult result = kubectl({"-n", "blue", "get", "pod", pod, "-o", "json"});
    if (!result.ok()) return {};
    const Json status = Json::parse(result.out)["status"];
    for (const Json& ip : status.value("podIPs", Json::array()))
      if (const std::string text = ip.value("ip", ""); (text.find(':') != std::string::npos) == v6)
        return text;
    return {};
  }
  // What a pod is given at an address; empty when it is not let through.
  std::string fetch(const std::string& pod, const std::string& address,
                    const std::string& port = "80") const {
    const std::string host = address.find(':') == std::string::npos ? address : "[" + address + "]";
    return kubectl({"-n", "blue", "exec", pod, "--", "timeout", "3", "wget", "-q", "-O", "-",
                    "http://" + host + ":" + port + "/"})
        .out;
  }
  bool is_served(const std::string& pod, const std::string& address) const {
    return fetch(pod, address) == "served by server\n";
  }
  RunResult in_machine(const std::string& machine, std::vector<std::string> command) const {
    command.insert(command.begin(), {"exec", machine});
    return script(command);
  }
  // Its process id there; 0 when it does not run.
  int agent_pid(const std::string& node) const {
    return std::atoi(in_machine(node, {"pgrep", "-x", "vmlane-agent"}).out.c_str());
  }
  bool agent_works(const std::string& node) const {
    return in_machine(node, {"vmlanectl", "agent", "status"}).ok();
  }
  // Addresses that IPAM has given out on a node.
  std::set<std::string> leases(const std::string& node) const {
    std::set<std::string> found;
    for (const auto& entry :
         fs::directory_iterator(directory_ / "machines" / node / "disk/var/lib/cni/networks/pods")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789abcdef.:") == std::string::npos) found.insert(name);
    }
    return found;
  }
  const fs::path& directory() const { return directory_; }

 private:
  fs::path directory_;
};

std::set<std::string> lines_of(const fs::path& file) {
  std::set<std::string> lines;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

// The network namespaces of processes, by number.
std::set<std::string> network_namespaces() {
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::error_code error;
    const fs::path target = fs::read_symlink(entry.path() / "ns/net", error);
    if (!error) found.insert(target);
  }
  return found;
}

TEST_F(Cluster, RunsPodsUnderPolicyAndLeavesNothing) {
  const RunResult up = script({"up", "--nodes", "2"});
  ASSERT_TRUE(up.ok()) << up.out << up.err;
  EXPECT_FALSE(script({"up"}).ok()) << "there is one already";

  apply(kNamespace);
  apply(std::string(kLan) + pod("server", "server", "node-1", kLanServer) +
        pod("near", "client", "node-1", "198.51.100.202") + pod("far", "client", "node-2", kLanFar) +
        pod("stranger", "other", "node-2", "198.51.100.204") + "---\n" + kService);
  for (const char* name : {"server", "near", "far", "stranger"}) wait_until_ready(name);
  if (HasFailure()) return;

  std::string server[2] = {address("server", false), address("server", true)};
  for (int family = 0; family < 2; ++family) {
    ASSERT_FALSE(server[family].empty()) << kFamilies[family];
    for (const char* client : {"near", "far", "stranger"})
      EXPECT_TRUE(eventually([&] { return is_served(client, server[family]); }, kPatience))
          << client << " by " << kFamilies[family];
  }
  const std::string service =
      kubectl({"-n", "blue", "get", "service", "server", "-o", "jsonpath={.spec.clusterIP}"}).out;
  for (const char* client : {"near", "far"})
    EXPECT_TRUE(eventually([&] { return fetch(client, service, "8080") == "served by server\n"; }, kPatience))
        << client << " by the service's address " << service;

  for (const char* client : {"near", "far", "stranger"})
    EXPECT_TRUE(eventually([&] { return is_served(client, kLanServer); }, kPatience)) << client << " by lan";

  apply(kLanGuard);
  EXPECT_TRUE(eventually([&] { return !is_served("stranger", kLanServer); }, kPatience));
  EXPECT_TRUE(is_served("far", kLanServer));
  EXPECT_FALSE(is_served("near", kLanServer));
  apply(kLanGuardByLabel);
  for (const char* client : {"near", "far"})
    EXPECT_TRUE(eventually([&] { return is_served(client, kLanServer); }, kPatience)) << client << " by lan";
  EXPECT_FALSE(is_served("stranger", kLanServer));
  EXPECT_TRUE(is_served("stranger", server[0])) << "that policy is about lan";
  apply(kGuard);
  const auto is_guarded = [&](int family) {
    return !is_served("stranger", server[family]) && is_served("near", server[family]) &&
           is_served("far", server[family]);
  };
  for (int family = 0; family < 2; ++family)
    EXPECT_TRUE(eventually([&] { return is_guarded(family); }, kPatience)) << kFamilies[family];

  // Without its agent a node lets nobody in that it did not let in before, and nobody out.
  const int killed = agent_pid("node-1");
  ASSERT_GT(killed, 0);
  ASSERT_TRUE(in_machine("node-1", {"kill", "-KILL", std::to_string(killed)}).ok());
  for (int family = 0; family < 2; ++family) EXPECT_TRUE(is_guarded(family)) << kFamilies[family];
  EXPECT_TRUE(eventually(
      [&] { return agent_pid("node-1") > 0 && agent_pid("node-1") != killed && agent_works("node-1"); },
      kPatience));
  for (int family = 0; family < 2; ++family) EXPECT_TRUE(is_guarded(family)) << kFamilies[family];

  // Everything of the boot is gone then, but not what stands on the disk: addresses that nobody has any more.
  const RunResult reboot = script({"reboot", "node-1"});
  ASSERT_TRUE(reboot.ok()) << reboot.out << reboot.err;
  EXPECT_TRUE(eventually(
      [&] {
        server[0] = address("server", false);
        server[1] = address("server", true);
        return !server[0].empty() && !server[1].empty() && is_guarded(0) && is_guarded(1);
      },
      kPatience))
      << kubectl({"-n", "blue", "get", "events,pods", "-o", "wide"}).out;
  std::set<std::string> in_use;
  for (const char* name : {"server", "near"})
    for (const bool v6 : {false, true}) in_use.insert(address(name, v6));
  EXPECT_EQ(leases("node-1"), in_use) << "addresses were lost";

  std::set<std::string> cgroups;
  std::set<std::string> namespaces;
  for (const char* machine : {"control", "node-1", "node-2"}) {
    cgroups.merge(lines_of(directory() / "machines" / machine / "cgroups"));
    namespaces.insert(in_machine(machine, {"readlink", "/proc/1/ns/net"}).out);
  }
  EXPECT_EQ(namespaces.size(), 3U);
  ASSERT_FALSE(cgroups.empty());
  const RunResult down = script({"down"});
  EXPECT_TRUE(down.ok()) << down.out << down.err;
  EXPECT_EQ(down.err, "");
  EXPECT_FALSE(fs::exists(directory()));
  // No process of a machine is left if its cgroups are gone, and without processes neither mounts nor links
  // are.
  for (const std::string& cgroup : cgroups) EXPECT_FALSE(fs::exists(cgroup)) << cgroup;
  for (const std::string& name : network_namespaces()) EXPECT_FALSE(namespaces.contains(name + "\n")) << name;
  for (const std::string& mount : lines_of("/proc/self/mountinfo"))
    EXPECT_EQ(mount.find(directory().string()), std::string::npos) << mount;
  EXPECT_TRUE(script({"down"}).ok()) << "there is nothing left to take down";
}

}  // namespace
}  // namespace vmlane::test
