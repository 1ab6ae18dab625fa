// SPDX-License-Identifier: Apache-2.0
// How long the plugins take, measured against the reference plugins `bridge` and `macvlan` with the same
// host-local. Rounds are interleaved, so that a noisy machine is noisy for all; medians are compared, as
// ratios. Run it by scripts/benchmark on an idle machine; it is no part of the tests.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>

#include "core/files.h"
#include "netlink/netlink.h"
#include "tests/support/long_run.h"
#include "tests/support/paths.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

// Debian's containernetworking-plugins.
constexpr const char* kReference = "bridge";
constexpr const char* kMacvlanReference = "macvlan";
constexpr const char* kReferenceDirectory = "/usr/lib/cni/";
// What macvlan and macvtap are on.
constexpr const char* kLower = "low0";
using Samples = std::vector<double>;  // milliseconds

double median(Samples samples) {
  std::ranges::sort(samples);
  const std::size_t half = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[half] : (samples[half - 1] + samples[half]) / 2;
}

class CniBenchmark : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (!IsSkipped()) configure_node({{"logLevel", "info"}});
  }
  // Each plugin has its bridge, on which a first pod stays: that making and removing a bridge, which the
  // reference never removes, is not measured.
  Json config_of(const std::string& type, bool addresses = true) const {
    const bool on_lower = type == kMacvlanReference || type == "vmlane-macvtap";
    if (on_lower) {
      const char* key = type == kMacvlanReference ? "master" : "lowerDevice";
      Json conf = config({{"type", type}, {"name", "net-" + type}, {"bridge", nullptr}, {key, kLower}});
      conf["cniVersion"] = "1.0.0";
      return conf;
    }
    const std::string bridge = type == kReference ? "brr" : (type == "vmlane-tap" ? "brt" : "brv");
    Json conf = config({{"type", type}, {"name", "net-" + type}, {"bridge", bridge}, {"isGateway", true}});
    conf["cniVersion"] = "1.0.0";
    if (!addresses) {
      conf.erase("ipam");
      conf.erase("isGateway");
    }
    return conf;
  }
  static std::string program_of(const std::string& type) {
    return type.starts_with("vmlane-") ? type : kReferenceDirectory + type;
  }
  // From the spawn to the end of a process whose input and output are files: the tests' runner with its pipes
  // would add the same to both sides of a ratio.
  double timed(const std::string& program, const std::map<std::string, std::string>& variables,
               const Json& input) const {
    spit(directory() / "input", input.dump());
    std::vector<std::string> entries = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                        "VMLANE_CONFIG=" + node_json().string()};
    for (const auto& [key, value] : variables) entries.push_back(key + "=" + value);
    std::vector<char*> env;
    for (std::string& entry : entries) env.push_back(entry.data());
    env.push_back(nullptr);
    std::string path = built(program);
    std::array<char*, 2> argv = {path.data(), nullptr};
    const Fd in(::open((directory() / "input").c_str(), O_RDONLY | O_CLOEXEC));
    const Fd out(::open((directory() / "output").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out.get(), STDOUT_FILENO);
    pid_t pid = 0;
    int status = -1;
    const auto start = std::chrono::steady_clock::now();
    const int error = ::posix_spawn(&pid, path.c_str(), &files, nullptr, argv.data(), env.data());
    if (error == 0) ::waitpid(pid, &status, 0);
    const auto took = std::chrono::steady_clock::now() - start;
    posix_spawn_file_actions_destroy(&files);
    EXPECT_EQ(status, 0) << path << ": " << slurp(directory() / "output");
    return std::chrono::duration<double, std::milli>(took).count();
  }
  double time_of(const std::string& type, const std::string& command, const std::string& pod,
                 const std::string& container, bool addresses = true) const {
    return timed(program_of(type),
                 {{"CNI_COMMAND", command},
                  {"CNI_CONTAINERID", container},
                  {"CNI_NETNS", "/run/netns/" + pod},
                  {"CNI_IFNAME", "eth0"},
                  {"CNI_PATH", built_programs() + ":/usr/lib/cni"},
                  {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + container}},
                 config_of(type, addresses));
  }
  // What the kernel takes to make, raise and destroy one veth pair into a pod: in every figure of every
  // plugin.
  double time_of_pair(const std::string& pod) const {
    const auto there = netlink::Namespace::open("/run/netns/" + pod);
    const auto here = netlink::Namespace::current();
    const auto start = std::chrono::steady_clock::now();
    const auto links = netlink::open_netlink(*here);
    const netlink::VethSpec spec{"pair0", own_mac(1), "pair1", own_mac(2)};
    EXPECT_TRUE((*links)->create_veth(spec, *there));
    const auto link = (*links)->find_link("pair0");
    EXPECT_TRUE((*links)->change_link((*link)->index, {.up = true}));
    EXPECT_TRUE((*links)->delete_link((*link)->index));
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  static MacAddress own_mac(unsigned char last) { return {{0x02, 0, 0, 0, 0, last}}; }
  double time_of_version(const std::string& type) const {
    return timed(program_of(type), {{"CNI_COMMAND", "VERSION"}}, Json::object());
  }
  void add_neighbour(const std::string& type) {
    time_of(type, "ADD", make_pod("first-" + type).name(), "first-" + type);
  }
  void grow(const std::string& type, bool addresses) {
    constexpr int kCount = 200;
    constexpr int kSample = 15;
    const auto name = [&](int i) { return type + (addresses ? "-" : "-l2-") + std::to_string(i); };
    Samples took;
    for (int i = 0; i < kCount; i++)
      took.push_back(time_of(type, "ADD", make_pod(name(i)).name(), name(i), addresses));
    for (int i = 0; i < kCount; i++) time_of(type, "DEL", name(i), name(i), addresses);
    const double first = median({took.begin() + 1, took.begin() + 1 + kSample});
    const double last = median({took.end() - kSample, took.end()});
    if (!addresses && type != kReference) {
      compare("ADD number 200 to number 1, " + type.substr(7), last, first, 1.3);
    } else {
      std::printf("%-34s %8.1f ms %8.1f ms   ratio %.2f   of it%s\n", "ADD number 200 to number 1", last,
                  first, last / first,
                  (" " + type + (addresses ? " with host-local" : " without addresses")).c_str());
    }
  }
  // One row: what, ours, the reference, ratio and limit.
  static void compare(const std::string& what, double ours, double reference, double limit) {
    const double ratio = ours / reference;
    std::printf("%-34s %8.1f ms %8.1f ms   ratio %.2f   limit %.2f   %s\n", what.c_str(), ours, reference,
                ratio, limit, ratio <= limit ? "ok" : "ABOVE");
    EXPECT_LE(ratio, limit) << what;
  }
};

TEST_F(CniBenchmark, AddAndDelAgainstTheReference) {
  const int count = rounds(30, 200);
  const std::vector<std::string> types = {kReference, "vmlane-veth", "vmlane-tap", kMacvlanReference,
                                          "vmlane-macvtap"};
  must({"ip", "link", "add", kLower, "type", "bridge"});
  must({"ip", "link", "set", kLower, "up"});
  std::map<std::string, Samples> add;
  std::map<std::string, Samples> both;
  Samples pair;
  make_pod("p");
  for (const std::string& type : types) add_neighbour(type);
  for (int round = 0; round < count; round++) {
    for (const std::string& type : types) {
      const std::string container = "c" + std::to_string(round);
      add[type].push_back(time_of(type, "ADD", "p", container));
      both[type].push_back(add[type].back() + time_of(type, "DEL", "p", container));
    }
    pair.push_back(time_of_pair("p"));
  }
  const auto judge = [&](const std::string& type, const std::string& reference, double limit) {
    compare("ADD + DEL, " + type, median(both[type]), median(both[reference]), limit);
    std::printf("%-34s %8.1f ms %8.1f ms\n", ("of it ADD, " + type).c_str(), median(add[type]),
                median(add[reference]));
  };
  judge("vmlane-veth", kReference, 0.55);
  judge("vmlane-tap", kReference, 0.8);
  judge("vmlane-macvtap", kMacvlanReference, 0.55);
  std::printf("%-34s %8.1f ms\n", "of it a veth pair, in each of them", median(pair));
}

TEST_F(CniBenchmark, VersionAgainstTheReference) {
  const int count = rounds(100, 1000);
  std::map<std::string, Samples> took;
  for (int round = 0; round < count; round++) {
    for (const char* type : {kReference, "vmlane-veth", "vmlane-tap"})
      took[type].push_back(time_of_version(type));
  }
  compare("VERSION, vmlane-veth", median(took["vmlane-veth"]), median(took[kReference]), 0.35);
  compare("VERSION, vmlane-tap", median(took["vmlane-tap"]), median(took[kReference]), 0.35);
}

// Interleaving is not possible where the one follows from the other; so the median of the first ADDs against
// that of the last. host-local reads all reservations for each new one, and so makes every plugin slower with
// the count, the reference as well: with it the growth is told, without addresses it is judged.
TEST_F(CniBenchmark, LastOfManyAttachmentsAgainstTheFirst) {
  for (const bool addresses : {true, false}) {
    for (const std::string type : {kReference, "vmlane-veth", "vmlane-tap"}) grow(type, addresses);
  }
}

// vmlane-multus and the networks of a pod: several that need none of the others against the slowest of them.
class MultusBenchmark : public CniBenchmark {
 protected:
  static inline const std::vector<std::string> kNetworks = {"n1", "n2", "n3"};

  void SetUp() override {
    CniBenchmark::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directories(directory() / "objects");
    configure_node({{"logLevel", "info"}, {"objectPaths", {(directory() / "objects").string()}}});
    for (std::size_t i = 0; i < kNetworks.size(); i++) {
      const std::string bridge = "br" + std::to_string(i);
      Json conf = config(
          {{"type", i == 1 ? "vmlane-tap" : "vmlane-veth"}, {"name", kNetworks[i]}, {"bridge", bridge}});
      conf["cniVersion"] = "1.0.0";
      object("nad-" + kNetworks[i], {{"apiVersion", "k8s.cni.cncf.io/v1"},
                                     {"kind", "NetworkAttachmentDefinition"},
                                     {"metadata", {{"namespace", "blue"}, {"name", kNetworks[i]}}},
                                     {"spec", {{"config", conf.dump()}}}});
      pod_object(kNetworks[i], kNetworks[i]);
    }
    pod_object("all", "n1,n2,n3");
    pod_object("first", "n1,n2,n3");
  }
  void object(const std::string& file, const Json& value) const {
    spit(directory() / "objects" / (file + ".json"), value.dump());
  }
  void pod_object(const std::string& name, const std::string& networks) const {
    object("pod-" + name, {{"apiVersion", "v1"},
                           {"kind", "Pod"},
                           {"metadata",
                            {{"namespace", "blue"},
                             {"name", name},
                             {"annotations", {{"k8s.v1.cni.cncf.io/networks", networks}}}}}});
  }
  double meta(const std::string& command, const std::string& pod, const std::string& name) const {
    return timed("vmlane-multus",
                 {{"CNI_COMMAND", command},
                  {"CNI_CONTAINERID", "sandbox-" + name},
                  {"CNI_NETNS", "/run/netns/" + pod},
                  {"CNI_IFNAME", "eth0"},
                  {"CNI_PATH", built_programs() + ":/usr/lib/cni"},
                  {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + name}},
                 {{"cniVersion", "1.0.0"}, {"name", "meta"}, {"type", "vmlane-multus"}});
  }
};

TEST_F(MultusBenchmark, ThreeNetworksAgainstTheSlowestOfThem) {
  const int count = rounds(20, 200);
  make_pod("p");
  meta("ADD", make_pod("stays").name(), "first");
  std::map<std::string, Samples> add;
  std::map<std::string, Samples> del;
  for (int round = 0; round < count; round++) {
    for (const std::string name : {"n1", "n2", "n3", "all"}) {
      add[name].push_back(meta("ADD", "p", name));
      del[name].push_back(meta("DEL", "p", name));
    }
  }
  const auto slowest = [](std::map<std::string, Samples>& of) {
    return std::max({median(of["n1"]), median(of["n2"]), median(of["n3"])});
  };
  compare("ADD of three networks, the slowest", median(add["all"]), slowest(add), 1.3);
  std::printf("%-34s %8.1f ms %8.1f ms   ratio %.2f\n", "DEL of three networks, the slowest",
              median(del["all"]), slowest(del), median(del["all"]) / slowest(del));
}

}  // namespace
}  // namespace vmlane::test
