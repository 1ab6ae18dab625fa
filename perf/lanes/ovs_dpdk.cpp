// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/ovs_dpdk.h"

#include <unistd.h>

#include <cerrno>

#include "core/files.h"
#include "netlink/netlink.h"
#include "perf/lanes/parts.h"
#include "perf/lanes/qemu_guest.h"
#include "perf/lanes/tap_guest.h"
#include "perf/open_vswitch.h"

namespace vmlane::perf {
namespace {

// The address that the pod was given is the guest's from now on.
Result<> silence_pod(const Site& site, const std::string& pod) {
  VMLANE_ASSIGN(const auto inside, site.pod(pod));
  VMLANE_ASSIGN(const auto links, netlink::open_netlink(inside));
  VMLANE_ASSIGN(const auto nic, links->find_link("eth0"));
  if (!nic) return fail(Code::kInternal, "vmlane-veth made no eth0 in the pod");
  return links->change_link(nic->index, {.up = false});
}

Result<> join_bridge(const Site& site) {
  VMLANE_ASSIGN(const Json config, site.network_config(kContainerNetwork));
  VMLANE_ASSIGN(const auto node, site.node());
  VMLANE_ASSIGN(const auto links, netlink::open_netlink(node));
  const std::string name = config.value("bridge", "");
  VMLANE_ASSIGN(const auto bridge, links->find_link(name));
  VMLANE_ASSIGN(const auto uplink, links->find_link(kOvsUplink));
  if (!bridge || !uplink)
    return fail(Code::kInternal, "bridge \"" + name + "\" or the port " + kOvsUplink + " is not there");
  return links->change_link(uplink->index, {.up = true, .master = bridge->index});
}

// The polling thread has the run's third CPU, where there is one, else the guests'; the main thread, which
// would starve beside it, has the client's, where the kernel's part of every lane runs, too.
OvsPlace place_of(const Site& site) {
  const auto& cpus = site.options().cpus;
  OvsPlace place{.directory = site.file("ovs"), .network_namespace = site.namespace_path(kNode)};
  if (cpus.size() < 2) return place;
  place.polling_cpu = cpus.size() > 2 ? cpus[2] : cpus[1];
  place.main_cpu = cpus[0];
  return place;
}

}  // namespace

Result<> OvsDpdkLane::available(const SiteOptions& site, std::string_view guest) const {
  VMLANE_TRY(have_plugin(site, "vmlane-veth"));
  VMLANE_TRY(have_ovs_dpdk());
  return guest == kQemuGuest ? have_qemu(site) : Result<>();
}

Result<Path> OvsDpdkLane::set_up(Site& site, const std::string& pod, std::string_view guest,
                                 const LaneOptions& options) const {
  VMLANE_ASSIGN(const Attached attached, site.attach(pod, kContainerNetwork));
  VMLANE_ASSIGN(const IpPrefix address, attached.prefix());
  VMLANE_TRY(silence_pod(site, pod));
  const OvsPlace place = place_of(site);
  std::error_code error;
  std::filesystem::remove_all(place.directory, error);  // an earlier set-up's
  VMLANE_TRY(make_directory(place.directory, {.mode = 0755}));
  // QEMU makes its socket there.
  if (::chown(place.directory.c_str(), site.config().owner_uid, site.config().owner_gid) != 0)
    return fail(io_error("cannot give away " + place.directory.string(), errno));
  OvsProcesses processes;
  const auto started = start_ovs_dpdk(place, processes);
  for (const auto& process : {processes.database, processes.daemon}) {
    if (process) site.end_with_pod(pod, *process);
  }
  VMLANE_TRY(started);
  VMLANE_TRY(join_bridge(site));

  Path path;
  path.address = address.address;
  path.processes.push_back({"ovs-vswitchd", *processes.daemon});
  const std::string socket = place.directory / kOvsSocket;
  const GuestAddress own{MacAddress::derived(pod + " ovs-dpdk"), address};
  if (guest == kQemuGuest) {
    const QemuGuestNic nic{
        .mac = own.mac, .mtu = attached.mtu(), .address = address, .backend = lab::VhostSocket{socket}};
    VMLANE_TRY(start_qemu_guest(site, pod, nic, options, path));
  } else {
    VMLANE_TRY(start_native_guest(site, pod, {"--socket", socket}, own, name(), options, path));
  }
  return path;
}

}  // namespace vmlane::perf
