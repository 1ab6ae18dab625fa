// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/inpod_bridge.h"

#include "netlink/netlink.h"
#include "perf/lanes/parts.h"
#include "perf/lanes/tap_guest.h"

namespace vmlane::perf {
namespace {

constexpr const char* kBridge = "k6t-eth0";
constexpr const char* kTap = "tap0";

Result<netlink::Link> link_of(netlink::Netlink& links, const std::string& name) {
  VMLANE_ASSIGN(const auto link, links.find_link(name));
  if (!link) return fail(Code::kInternal, "link " + name + " is not in the pod");
  return *link;
}

// The pod's NIC loses its address and MAC to the guest and becomes a port that learns nothing, as the binding
// has it.
Result<> build(const Site& site, const std::string& pod, const Attached& attached) {
  VMLANE_ASSIGN(const auto inside, site.pod(pod));
  VMLANE_ASSIGN(const auto links, netlink::open_netlink(inside));
  VMLANE_ASSIGN(const netlink::Link nic, link_of(*links, "eth0"));
  const MacAddress nic_mac = MacAddress::derived(pod + " nic");
  const MacAddress bridge_mac = MacAddress::derived(pod + " bridge");
  VMLANE_TRY(links->change_link(nic.index, {.up = false, .mac = nic_mac}));
  for (const auto& ip : attached.result.ips) VMLANE_TRY(links->remove_address(nic.index, ip.address));
  VMLANE_TRY(links->create_bridge({.name = kBridge, .mac = bridge_mac, .mtu = nic.mtu}));
  VMLANE_TRY(netlink::create_tap(
      inside, {.name = kTap, .owner = site.config().owner_uid, .group = site.config().owner_gid}));
  VMLANE_ASSIGN(const netlink::Link bridge, link_of(*links, kBridge));
  VMLANE_ASSIGN(const netlink::Link tap, link_of(*links, kTap));
  VMLANE_TRY(links->change_link(tap.index, {.up = true, .mtu = nic.mtu, .master = bridge.index}));
  VMLANE_TRY(links->change_link(nic.index, {.up = true, .master = bridge.index}));
  VMLANE_TRY(links->change_bridge_port(nic.index, {.learning = false}));
  return links->change_link(bridge.index, {.up = true});
}

}  // namespace

Result<> InpodBridgeLane::available(const SiteOptions& site, std::string_view guest) const {
  VMLANE_TRY(have_plugin(site, "vmlane-veth"));
  return guest == kQemuGuest ? have_qemu(site) : Result<>();
}

Result<Path> InpodBridgeLane::set_up(Site& site, const std::string& pod, std::string_view guest,
                                     const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kContainerNetwork));
  VMLANE_TRY(build(site, pod, *path.attached));
  VMLANE_TRY(start_tap_guest(site, pod, kTap, guest, name(), options, path));
  return path;
}

}  // namespace vmlane::perf
