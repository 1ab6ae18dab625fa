// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/node_guest.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "lab/guest_network.h"
#include "tests/support/paths.h"
#include "tests/support/plugin.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// An initramfs may be several archives, one behind the other: the guest's, and one with the plugins.
void build_initramfs(const fs::path& base, const fs::path& work, const fs::path& into) {
  const fs::path bin = work / "opt/cni/bin";
  fs::create_directories(bin);
  fs::create_directories(work / "var/lib");
  for (const char* plugin : {"vmlane-veth", "vmlane-tap", "vmlane-macvtap"})
    fs::copy_file(built(plugin), bin / plugin);
  fs::copy_file(built(kVerifiedInstructions), bin / kVerifiedInstructions);
  const auto packed =
      test::run({"sh", "-c",
                 "cd '" + work.string() + "' && find . | busybox cpio -o -H newc -R 0:0 | gzip -1 >'" +
                     into.string() + ".plugins' && cat '" + base.string() + "' '" + into.string() +
                     ".plugins' >'" + into.string() + "'"});
  ASSERT_TRUE(packed.ok()) << packed.err;
}

std::string in_pod(const std::string& pod, const std::string& command) {
  return pod.empty() ? command : "ip netns exec " + pod + " " + command;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const GuestOutcome& outcome) {
  return out << "exit status " << outcome.process.status << "\nstdout: " << outcome.process.out
             << "\nstderr: " << outcome.process.err;
}

void NodeGuest::SetUpTestSuite() {
  node_guest_image();
}

void NodeGuest::SetUp() {
  HostFixture::SetUp();
  if (IsSkipped()) return;
  ASSERT_FALSE(node_guest_image(kernel()).initramfs.empty()) << "scripts/guest-image --full failed";
  boot();
}

void NodeGuest::TearDown() {
  channel_.reset();
  if (qemu_.pid != 0) {
    EXPECT_TRUE(lab::stop_processes({qemu_}, 3s));
  }
  HostFixture::TearDown();
}

void NodeGuest::boot() {
  const Pod& launcher = make_pod("launcher");
  lab::GuestFiles files = node_guest_image(kernel());
  const fs::path initramfs = directory() / "initramfs.gz";
  ASSERT_NO_FATAL_FAILURE(build_initramfs(files.initramfs, directory() / "root", initramfs));
  files.initramfs = initramfs;
  lab::QemuSpec spec{.name = "node", .memory_mib = 384, .vcpus = 1};
  spec.kernel_arguments = *lab::kernel_command_line("node", {}) + " " + more_kernel_arguments();
  const lab::QemuPlace place{.network_namespace = launcher.path(),
                             .directory = directory() / "vm",
                             .console_log = directory() / "console",
                             .output = directory() / "output",
                             .uid = 107,
                             .gid = 107,
                             .guest = files};
  const auto started = lab::start_qemu(spec, {}, place, [this](const lab::ProcessRef& process) -> Result<> {
    qemu_ = process;
    return {};
  });
  ASSERT_TRUE(started) << started.error().text();
  auto channel = lab::GuestChannel::connect(directory() / "vm", qemu_);
  ASSERT_TRUE(channel) << channel.error().text() << slurp(directory() / "output");
  channel_ = std::move(*channel);
  const auto ready = channel_->wait_ready(5min, [] { return false; });
  ASSERT_TRUE(ready) << ready.error().text() << slurp(directory() / "console");
  // The guest's own set-up keeps IPv6 from links that have no address.
  in_guest("echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
}

GuestResult NodeGuest::guest(const std::string& command, unsigned limit) {
  // busybox' shell takes its own applet for a name without a path, also where iproute2's program is.
  return guest_run(*channel_, "ip() { /bin/ip \"$@\"; }\n" + command, limit);
}

std::string NodeGuest::in_guest(const std::string& command) {
  const GuestResult result = guest(command);
  EXPECT_EQ(result.status, 0) << command << "\n" << result.out << result.err;
  return result.out;
}

Json NodeGuest::guest_json(const std::string& pod, const std::string& command) {
  Json json = Json::parse(in_guest(in_pod(pod, command)), nullptr, false);
  return json.is_discarded() ? Json::array() : json;
}

void NodeGuest::make_guest_pod(const std::string& name) {
  in_guest("ip netns add " + name + " && ip -n " + name + " link set lo up");
}

bool NodeGuest::reaches(const std::string& pod, const std::string& address) {
  return guest(in_pod(pod, "sh -c 'for i in 1 2 3 4 5 6 7 8; do ping -c 1 -W 1 " + address +
                               " && exit 0; done; exit 1'"))
             .status == 0;
}

bool NodeGuest::is_cut_off(const std::string& pod, const std::string& address) {
  return guest(in_pod(pod, "ping -c 2 -i 0.5 -W 1 " + address)).status != 0;
}

Json NodeGuest::host_local(const std::string& subnet) {
  return {{"type", "host-local"}, {"ranges", Json::array({Json::array({{{"subnet", subnet}}})})}};
}

Json NodeGuest::config(const Json& more) {
  return overlaid(
      {{"cniVersion", "1.1.0"}, {"name", "blue"}, {"bridge", "br1"}, {"ipam", host_local("192.0.2.0/24")}},
      more);
}

GuestOutcome NodeGuest::call(const std::string& command, const std::string& pod, const Json& conf,
                             const std::string& plugin, const std::string& more_environment) {
  Json with_type = conf;
  with_type["type"] = plugin;
  GuestOutcome outcome;
  outcome.process =
      guest("CNI_COMMAND=" + command + " CNI_CONTAINERID=" + pod + " CNI_NETNS=/run/netns/" + pod +
            " CNI_IFNAME=eth0 " + more_environment + " CNI_PATH=" + kPluginDirectory + " " +
            kPluginDirectory + "/" + plugin + " <<'END'\n" + with_type.dump() + "\nEND\n");
  outcome.document = Json::parse(outcome.process.out, nullptr, false);
  if (outcome.document.is_discarded()) outcome.document = nullptr;
  return outcome;
}

GuestOutcome NodeGuest::check(const std::string& pod, const Json& conf, const Json& prev_result,
                              const std::string& plugin) {
  Json with_result = conf;
  with_result["prevResult"] = prev_result;
  return call("CHECK", pod, with_result, plugin);
}

std::vector<std::string> NodeGuest::vlans_of(const std::string& link) {
  std::vector<std::string> found;
  for (const Json& port : guest_json("", "bridge -j vlan show dev " + link)) {
    for (const Json& vlan : port.value("vlans", Json::array())) {
      std::string text = std::to_string(vlan.value("vlan", 0));
      if (vlan.contains("vlanEnd")) text += "-" + std::to_string(vlan.value("vlanEnd", 0));
      for (const Json& flag : vlan.value("flags", Json::array())) text += " " + flag.get<std::string>();
      found.push_back(text);
    }
  }
  return found;
}

std::string NodeGuest::host_link(const GuestOutcome& added) {
  return added.document.at("interfaces").at(1).at("name");
}

std::string NodeGuest::node_snapshot() {
  std::ostringstream out;
  for (const Json& link : guest_json("", "ip -j -d link")) {
    const auto flags = link.value("flags", std::vector<std::string>());
    const bool up = std::ranges::find(flags, "UP") != flags.end();
    out << link.value("ifname", "") << " mtu " << link.value("mtu", 0) << " mac " << link.value("address", "")
        << " master " << link.value("master", "-") << " alias " << link.value("ifalias", "-")
        << (up ? " up" : " down") << " promiscuity " << link.value("promiscuity", 0) << " filtering "
        << link.value("/linkinfo/info_data/vlan_filtering"_json_pointer, 0) << "\n";
  }
  out << in_guest(
      "ip -o addr show scope global | sed 's/^[0-9]*: //'; bridge vlan show; ip route; "
      "for d in /var/lib/vmlane /run/vmlane /var/lib/cni; do [ -d $d ] || continue; "
      "find $d -type f ! -name '*.lock' ! -name lock ! -name networks ! -name boot ! -name 'last_reserved*' "
      "! -path '*/programs/*'; "
      "done; "
      "true");
  return out.str();
}

}  // namespace vmlane::test
