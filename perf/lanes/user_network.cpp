// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/user_network.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/files.h"
#include "lab/passt.h"
#include "perf/lanes/parts.h"
#include "perf/lanes/qemu_guest.h"
#include "perf/wire.h"

namespace vmlane::perf {
namespace {

const std::vector<std::uint16_t> kUdpPorts = {kUdpPort};
const std::vector<std::uint16_t> kTcpPorts = {kEchoPort, kSinkPort};

Result<> have_container_and_qemu(const SiteOptions& site) {
  VMLANE_TRY(have_plugin(site, "vmlane-veth"));
  return have_qemu(site);
}

}  // namespace

Result<> UsernetLane::available(const SiteOptions& site, std::string_view) const {
  return have_container_and_qemu(site);
}

Result<Path> UsernetLane::set_up(Site& site, const std::string& pod, std::string_view,
                                 const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kContainerNetwork));
  VMLANE_ASSIGN(path.address, path.attached->address());
  QemuGuestNic nic{.mac = MacAddress::derived(pod + " usernet")};
  VMLANE_ASSIGN(nic.address, IpPrefix::parse("198.51.100.15/24"));
  // QEMU leaves the client's address in what it passes on, so the answer goes by a route.
  VMLANE_ASSIGN(nic.gateway, IpAddress::parse("198.51.100.2"));
  nic.backend = lab::UserNetwork{nic.address, kUdpPorts, kTcpPorts};
  VMLANE_TRY(start_qemu_guest(site, pod, nic, options, path));
  return path;
}

Result<> PasstLane::available(const SiteOptions& site, std::string_view) const {
  VMLANE_TRY(have_container_and_qemu(site));
  return lab::have_passt();
}

Result<Path> PasstLane::set_up(Site& site, const std::string& pod, std::string_view,
                               const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kContainerNetwork));
  VMLANE_ASSIGN(path.address, path.attached->address());
  VMLANE_ASSIGN(const IpPrefix address, path.attached->prefix());
  const NodeConfig& config = site.config();
  const auto directory = site.file("passt");
  VMLANE_TRY(make_directory(directory, {.mode = 0755}));
  if (::chown(directory.c_str(), config.owner_uid, config.owner_gid) != 0)
    return fail(io_error("cannot give away " + directory.string(), errno));
  lab::PasstPlace place{.network_namespace = site.namespace_path(pod),
                        .interface = "eth0",
                        .address = address,
                        .gateway = address.network().address,
                        .socket = directory / "passt.sock",
                        .output = site.file("passt.log"),
                        .uid = config.owner_uid,
                        .gid = config.owner_gid,
                        .udp_ports = kUdpPorts,
                        .tcp_ports = kTcpPorts};
  place.gateway.bytes[3] |= 1;  // the subnet's first host; nothing of a measurement goes there
  VMLANE_TRY(remove_file(place.socket));
  VMLANE_ASSIGN(const auto passt, lab::start_passt(place, [](const auto&) { return Result<>(); }));
  path.processes.push_back({"passt", passt});
  site.pin_guest(passt);
  QemuGuestNic nic{.mac = MacAddress::derived(pod + " passt"), .address = address};
  nic.backend = lab::FrameSocket{place.socket.string()};
  VMLANE_TRY(start_qemu_guest(site, pod, nic, options, path));
  return path;
}

}  // namespace vmlane::perf
