// SPDX-License-Identifier: Apache-2.0
// What a guest was told stays true while time goes by: addresses, routes and name servers after many leases
// and router lifetimes, with nothing of this project running. QEMU counts instructions and jumps over the
// time in which the guest waits, so an hour takes half a minute, for the guest's kernel as for its client.
#include <filesystem>
#include <map>

#include "tests/support/lab.h"
#include "tests/support/long_run.h"
#include "tests/support/paths.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

constexpr const char* kQemu = "/run/qemu-without-waiting";
constexpr int kMinute = 60;
// Of ours: a client that probes its address for some seconds of the guest's does so for minutes where QEMU
// hardly gets a processor.
constexpr std::chrono::minutes kPatience{10};

// On each lane: leases and router lifetimes that are over many times an hour, and those that are the default.
constexpr const char* kObjects = R"(apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: tap}
spec:
  config: |
    {"cniVersion": "1.1.0", "name": "blue", "type": "vmlane-tap", "bridge": "blue0", "isGateway": true,
     "guestAnswers": {"leaseSeconds": 120, "raInterval": 60}, "dns": {"nameservers": ["198.51.100.53", "2001:db8::53"]},
     "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
              "ranges": [[{"subnet": "192.0.2.0/24"}], [{"subnet": "2001:db8:1::/64"}]]}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: macvtap}
spec:
  config: |
    {"cniVersion": "1.1.0", "name": "red", "type": "vmlane-macvtap", "lowerDevice": "up0", "gatewayMode": "virtual",
     "dns": {"nameservers": ["198.51.100.53", "2001:db8::53"]},
     "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
              "ranges": [[{"subnet": "203.0.113.0/24"}], [{"subnet": "2001:db8:2::/64"}]]}}
)";

std::string vm(const std::string& lane) {
  return "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm-" + lane +
         "}\nspec:\n  domain:\n    memory: {guest: 256Mi}\n    devices: {interfaces: [{name: net, binding: "
         "{name: vmlane-" +
         lane + "}}]}\n  networks: [{name: net, multus: {networkName: " + lane + "}}]\n";
}

class LeaseTime : public LabFixture {
 protected:
  static void SetUpTestSuite() { node_guest_image(); }
  void SetUp() override {
    LabFixture::SetUp();
    if (IsSkipped()) return;
    ASSERT_FALSE(node_guest_image().initramfs.empty()) << "scripts/guest-image --full failed";
    spit(kQemu,
         "#!/bin/sh\nfor word; do\n  shift\n  [ \"$word\" != tcg,thread=multi ] || word=tcg,thread=single\n"
         "  set -- \"$@\" \"$word\"\ndone\nexec qemu-system-x86_64 -icount shift=1,sleep=off \"$@\"\n");
    std::filesystem::permissions(kQemu, std::filesystem::perms(0755));
    spit(directory() / "objects.yaml", kObjects + vm("tap") + vm("macvtap"));
    const auto started = lab("up", {(directory() / "objects.yaml").string(), "--guest",
                                    node_guest_image().kernel.parent_path(), "--qemu", kQemu, "-o", "json"});
    ASSERT_TRUE(started.ok()) << started.err;
    all_ = Json::parse(started.out);
  }
  std::string guest(const std::string& vm, const std::string& script) const {
    const RunResult result = exec(vm, {"sh", "-c", "ip() { /bin/ip \"$@\"; }; " + script});
    EXPECT_TRUE(result.ok()) << vm << ": " << script << "\n" << result.out << result.err;
    return result.out;
  }
  // Takes away what the guest was told by its kernel command line, and leaves it to its DHCP client and the
  // kernel's own reading of router advertisements.
  void leave_to_client(const std::string& vm) const {
    guest(vm,
          "ip link set eth0 down; ip addr flush dev eth0; cd /proc/sys/net/ipv6/conf/eth0; "
          "echo 0 >disable_ipv6; echo 1 >accept_ra; echo 3 >router_solicitations; ip link set eth0 up");
    guest(vm,
          "printf '#!/bin/sh\\necho $reason $new_domain_name_servers $new_dhcp6_name_servers >>/tmp/told\\n' "
          ">/tmp/hook; "
          "printf 'duid\\nnoipv6rs\\noption domain_name_servers, classless_static_routes\\n"
          "interface eth0\\nia_na 1\\n' >/tmp/dhcpcd.conf; chmod +x /tmp/hook; mkdir -p /var/lib/dhcpcd; "
          "dhcpcd -b -d -j /tmp/dhcpcd.log -f /tmp/dhcpcd.conf -c /tmp/hook eth0 "
          ">/dev/null 2>&1 </dev/null");
  }
  // Addresses and default routes, without the lifetimes that count down.
  std::string settings(const std::string& vm) const {
    return guest(vm,
                 "{ ip -o addr show dev eth0 scope global | sed 's/ *\\\\.*//; s/^[0-9]*: //'; "
                 "ip -4 route show default; ip -6 route show default | sed 's/ expires [0-9]*sec//'; "
                 "ip -6 route show proto kernel | sed 's/ expires [0-9]*sec//'; } | sort");
  }
  // What its client went through, and what guard and answers counted meanwhile: which side fell silent.
  std::string history(const std::string& vm) const {
    std::string text = settings(vm) + guest(vm, "cat /tmp/dhcpcd.log; ip -s link show dev eth0");
    const std::vector<std::string> where = {"--lab", "--dir", lab_dir(), "-o", "json"};
    std::vector<std::string> list = {built("vmlanectl"), "attachment", "ls"};
    list.insert(list.end(), where.begin(), where.end());
    for (const Json& attachment : Json::parse(run(list).out)) {
      std::vector<std::string> show = {built("vmlanectl"), "attachment", "show", attachment.at("id")};
      show.insert(show.end(), where.begin(), where.end());
      text += run(show).out;
    }
    return text;
  }
  int uptime(const std::string& vm) const { return std::stoi("0" + guest(vm, "cut -d. -f1 /proc/uptime")); }
  bool is_dual_stack(const std::string& vm) const {
    const std::string now = settings(vm);
    const bool has_routes = now.find("default via 192.0.2.1 ") != std::string::npos ||
                            now.find("default via 203.0.113.1 ") != std::string::npos;
    return has_routes && now.find("default via fe80:") != std::string::npos &&
           now.find(address(all_, "default/" + vm, 0)) != std::string::npos &&
           now.find(address(all_, "default/" + vm, 1)) != std::string::npos;
  }

  Json all_;
};

TEST_F(LeaseTime, AddressesRoutesAndNameServersStay) {
  const std::vector<std::string> vms = {"vm-tap", "vm-macvtap"};
  std::map<std::string, std::string> before;
  std::map<std::string, int> end;
  for (const std::string& vm : vms) {
    leave_to_client(vm);
    ASSERT_TRUE(eventually([&] { return is_dual_stack(vm); }, kPatience)) << history(vm);
    before[vm] = settings(vm);
    end[vm] = uptime(vm) + kMinute * rounds(6, 48 * 60);
  }
  for (const std::string& vm : vms) {
    // Each look costs the guest as much as a minute in which nothing happens.
    while (uptime(vm) < end[vm] && !HasFailure()) sleep_ms(rounds(1000, 20'000));
    EXPECT_EQ(settings(vm), before[vm]) << vm << "\n" << guest(vm, "cat /tmp/dhcpcd.log");
    // However long the guest is idle: the router's own lifetime ends after 18 hours.
    EXPECT_EQ(guest(vm, "ip -6 route show default").find("expires"), std::string::npos) << vm;
    const std::string told = guest(vm, "cat /tmp/told");
    EXPECT_NE(told.find("198.51.100.53"), std::string::npos) << told;
    EXPECT_NE(told.find("2001:db8::53"), std::string::npos) << told;
    for (const char* lost : {"EXPIRE", "FAIL", "NAK", "TIMEOUT"})
      EXPECT_EQ(told.find(lost), std::string::npos) << vm << told;
  }
  // The leases of two minutes were renewed, and every time told the same.
  EXPECT_NE(guest("vm-tap", "cat /tmp/told").find("RENEW"), std::string::npos);
}

}  // namespace
}  // namespace vmlane::test
