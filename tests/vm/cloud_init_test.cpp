// SPDX-License-Identifier: Apache-2.0
// Debian's cloud-init as the one that reads what we tell: its readers and renderers here, and whole guests
// that know nothing of their network but by it.
#include <filesystem>
#include <map>
#include <sstream>

#include "tests/support/lab.h"
#include "tests/support/long_run.h"
#include "tests/support/paths.h"
#include "tests/support/plugin.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

// A network on each lane, both dual stack; default routes by the first alone.
constexpr const char* kNetworks = R"(apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: tap}
spec:
  config: |
    {"cniVersion": "1.1.0", "name": "tap", "type": "vmlane-tap", "bridge": "blue0", "isGateway": true, "mtu": 1400,
     "dns": {"nameservers": ["198.51.100.53", "2001:db8::53"], "search": ["blue.example"]},
     "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
              "ranges": [[{"subnet": "192.0.2.0/24"}], [{"subnet": "2001:db8:1::/64"}]]}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: macvtap}
spec:
  config: |
    {"cniVersion": "1.1.0", "name": "macvtap", "type": "vmlane-macvtap", "lowerDevice": "up0", "gatewayMode": "virtual",
     "mtu": 1450, "ipam": {"type": "host-local", "routes": [{"dst": "198.51.100.0/24"}, {"dst": "2001:db8:f::/48"}],
              "ranges": [[{"subnet": "203.0.113.0/24"}], [{"subnet": "2001:db8:2::/64"}]]}}
)";

// A VM with a NIC on each, and cloud-init data of its own.
std::string vm(const std::string& name, const std::string& data) {
  return "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: " + name +
         "}\nspec:\n  domain:\n    memory: {guest: 512Mi}\n    devices:\n      interfaces:\n"
         "      - {name: a, binding: {name: vmlane-tap}}\n      - {name: b, binding: {name: "
         "vmlane-macvtap}}\n"
         "  networks:\n  - {name: a, multus: {networkName: tap}}\n  - {name: b, multus: {networkName: "
         "macvtap}}\n"
         "  volumes: [{name: seed, cloudInitNoCloud: {" +
         data + "}}]\n";
}

class CloudInitGuests : public LabFixture {
 protected:
  static void SetUpTestSuite() {
    if (long_run()) cloud_init_image();
  }
  std::string guest(const std::string& name, const std::string& script) const {
    const RunResult result = exec(name, {"sh", "-c", script});
    EXPECT_TRUE(result.ok()) << name << ": " << script << "\n" << result.out << result.err;
    return result.out;
  }
  // Whether /proc/net/ipv6_route has a route to "<address in hex> <length in hex>" by a gateway.
  static bool has_gateway(const std::string& table, const std::string& destination) {
    std::istringstream lines(table);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream fields(line);
      std::string to, to_length, from, from_length, gateway;
      fields >> to >> to_length >> from >> from_length >> gateway;
      if (to + " " + to_length == destination && gateway.find_first_not_of('0') != std::string::npos)
        return true;
    }
    return false;
  }
  // The NIC of an interface number, whatever it is called, has what the lab's rows say and the network's own.
  void expect_configured(const Json& rows, const std::string& name) const {
    const std::string addresses = guest(name, "ip -o addr show scope global");
    for (std::size_t row = 0, found = 0; row < rows.size(); row++) {
      if (rows[row].at("name") != "default/" + name) continue;
      for (const Json& ip : rows[row].at("ips")) {
        const std::string text = ip.get<std::string>();
        EXPECT_NE(addresses.find(" " + text.substr(0, text.find('/')) + "/"), std::string::npos) << addresses;
      }
      const std::string mtu = guest(name, "ip -o link | grep -i " + rows[row].at("mac").get<std::string>());
      EXPECT_NE(mtu.find(found == 0 ? " mtu 1400 " : " mtu 1450 "), std::string::npos) << mtu;
      found++;
    }
    const std::string routes = guest(name, "ip -4 route");
    EXPECT_NE(routes.find("default via 192.0.2.1 "), std::string::npos) << routes;
    EXPECT_NE(routes.find("198.51.100.0/24 via 203.0.113.1 "), std::string::npos) << routes;
    // busybox's ip leaves out the gateway of some IPv6 routes, the kernel's own list has them all.
    const std::string routes6 = guest(name, "cat /proc/net/ipv6_route");
    EXPECT_TRUE(has_gateway(routes6, "20010db8000f00000000000000000000 30")) << routes6;
    EXPECT_TRUE(has_gateway(routes6, std::string(32, '0') + " 00")) << routes6;
    // networkd keeps a domain that DHCP told with the lease, and uses it only where it is told to.
    const std::string told =
        guest(name, "cat /run/systemd/netif/links/*; cat /run/systemd/netif/leases/* 2>/dev/null || true");
    for (const char* dns : {"198.51.100.53", "2001:db8::53", "blue.example"})
      EXPECT_NE(told.find(dns), std::string::npos) << told;
  }
};

TEST_F(CloudInitGuests, ComeUpDualStackOnBothLanesToldByTheSeedOrByDhcp) {
  if (!long_run()) GTEST_SKIP() << "boots guests with Python for two minutes: VMLANE_LONG=1";
  ASSERT_FALSE(cloud_init_image().tree.empty()) << "scripts/guest-image --cloud-init failed";
  const auto file = directory() / "objects.yaml";
  spit(file, kNetworks +
                 vm("told", "userData: \"#cloud-config\\nruncmd: [[sh, -c, 'hostname > /tmp/ran']]\\n\"") +
                 vm("asking",
                    "networkData: \"{version: 2, ethernets: {eth0: {dhcp4: true, dhcp6: true}, "
                    "eth1: {dhcp4: true, dhcp6: true}}}\""));
  const auto started = lab("up", {file, "--cloud-init", "--timeout", "600", "--guest",
                                  cloud_init_image().guest.kernel.parent_path(), "-o", "json"});
  ASSERT_TRUE(started.ok()) << started.err;
  const Json rows = Json::parse(started.out);
  ASSERT_EQ(rows.size(), 4U) << rows;
  const auto pids = processes();
  for (const std::string name : {"told", "asking"}) {
    expect_configured(rows, name);
    EXPECT_EQ(guest(name, "hostname"), name + "\n");
    const std::string result = guest(name, "cat /run/cloud-init/result.json");
    EXPECT_NE(result.find("\"errors\": []"), std::string::npos) << result;
    EXPECT_NE(result.find("DataSourceNoCloud"), std::string::npos) << result;
  }
  EXPECT_EQ(guest("told", "cat /tmp/ran"), "told\n");
  // To each other, by both families and both lanes.
  for (const Json& row : rows) {
    if (row.at("name") != "default/asking") continue;
    for (const Json& ip : row.at("ips")) {
      const std::string text = ip.get<std::string>();
      const auto ping = exec("told", {"ping", "-c", "3", "-W", "5", text.substr(0, text.find('/'))});
      EXPECT_TRUE(ping.ok()) << ping.out << ping.err;
    }
  }
  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left(pids);
}

// What cloud-init makes of the files, with its own code, for guests of every kind of network configuration.
class CloudInitSeed : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-tap"; }
  static void SetUpTestSuite() { cloud_init_image(); }
  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_FALSE(cloud_init_image().tree.empty()) << "scripts/guest-image --cloud-init failed";
    must({"mount", "--bind", directory(), cloud_init_image().tree / "tmp"});
  }
  // A command where cloud-init is, with the test's directory as /tmp.
  RunResult in_tree(const std::vector<std::string>& command) const {
    std::vector<std::string> words = {"chroot", cloud_init_image().tree};
    words.insert(words.end(), command.begin(), command.end());
    return run(words, {.timeout = std::chrono::minutes(2)});
  }
};

TEST_F(CloudInitSeed, IsWhatCloudInitTakesForEveryRenderer) {
  const Json conf =
      config({{"mtu", 1400},
              {"isGateway", true},
              {"dns", {{"nameservers", {"198.51.100.53"}}, {"search", {"blue.example"}}}},
              {"ipam",
               {{"type", "host-local"},
                {"dataDir", ipam_dir()},
                {"routes", {{{"dst", "0.0.0.0/0"}}, {{"dst", "::/0"}}, {{"dst", "203.0.113.0/24"}}}},
                {"ranges", {{{{"subnet", "192.0.2.0/24"}}}, {{{"subnet", "2001:db8:1::/64"}}}}}}}});
  ASSERT_CNI_OK(add(make_pod("a"), conf, "a"));
  const RunResult made = run({built("vmlanectl"), "cloud-init", "--config", node_json(), "--container-id",
                              "a", "--gateway6", "--output", directory() / "seed"});
  ASSERT_TRUE(made.ok()) << made.err;
  // All in one process: most of the time of each is Python's own start.
  spit(directory() / "convert.py", R"(
import os, sys
from cloudinit.cmd.devel import net_convert
from cloudinit.config import schema
for kind in ("networkd", "eni", "netplan", "sysconfig"):
    sys.argv = ["net-convert", "-p", "/tmp/seed/network-config", "-k", "yaml", "-d", "/tmp/out/" + kind,
                "-D", "centos" if kind == "sysconfig" else "debian", "-O", kind, "-m", "eth0,02:00:00:00:00:01"]
    os.makedirs("/tmp/out/" + kind)
    parser = net_convert.get_parser()
    assert net_convert.handle_args("net-convert", parser.parse_args(sys.argv[1:])) in (0, None), kind
schema.validate_cloudconfig_file("/tmp/seed/user-data", schema.get_schema())
)");
  const RunResult converted = in_tree({"/usr/bin/python3", "/tmp/convert.py"});
  ASSERT_TRUE(converted.ok()) << converted.out << converted.err;
  const std::map<std::string, std::vector<std::string>> expected = {
      {"networkd",
       {"192.0.2.2/24", "2001:db8:1::2/64", "192.0.2.1", "2001:db8:1::1", "198.51.100.53", "blue.example",
        "1400", "203.0.113.0/24"}},
      {"eni",
       {"192.0.2.2/24", "2001:db8:1::2/64", "192.0.2.1", "2001:db8:1::1", "198.51.100.53", "blue.example",
        "1400", "203.0.113.0"}},
      {"netplan",
       {"192.0.2.2/24", "2001:db8:1::2/64", "192.0.2.1", "2001:db8:1::1", "198.51.100.53", "blue.example",
        "1400", "203.0.113.0/24"}},
      {"sysconfig",
       {"192.0.2.2", "2001:db8:1::2/64", "192.0.2.1", "2001:db8:1::1", "198.51.100.53", "blue.example",
        "1400", "203.0.113.0"}}};
  for (const auto& [kind, words] : expected) {
    std::string all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory() / "out" / kind)) {
      if (entry.is_regular_file()) all += slurp(entry.path());
    }
    for (const std::string& word : words)
      EXPECT_NE(all.find(word), std::string::npos) << kind << " does not have " << word << ":\n" << all;
  }
}

}  // namespace
}  // namespace vmlane::test
