// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/vhost_user.h"

#include <unistd.h>

#include <array>

#include "perf/lanes/parts.h"
#include "perf/lanes/qemu_guest.h"
#include "perf/lanes/tap_guest.h"

namespace vmlane::perf {
namespace {

constexpr std::array<const char*, 2> kSwitch = {"vmlane-keeper", "vmlane-switch"};

Result<std::string> socket_of(const Attached& attached) {
  for (const auto& interface : attached.result.interfaces) {
    if (!interface.socket_path.empty()) return interface.socket_path;
  }
  return fail(Code::kInternal, "vmlane-vhostuser's result names no socket");
}

}  // namespace

Result<> VhostUserLane::available(const SiteOptions& site, std::string_view guest) const {
  VMLANE_TRY(have_plugin(site, "vmlane-vhostuser"));
  for (const std::string program : kSwitch) {
    if (::access((site.bin_dir / program).c_str(), X_OK) != 0)
      return fail(Code::kNotAvailable, program + " is not in " + site.bin_dir.string(),
                  "build it, or name its directory with --bin-dir");
  }
  return guest == kQemuGuest ? have_qemu(site) : Result<>();
}

Result<Path> VhostUserLane::set_up(Site& site, const std::string& pod, std::string_view guest,
                                   const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(auto carrier, site.need_switch());
  path.processes.push_back(std::move(carrier));
  VMLANE_ASSIGN(path.attached, site.attach(pod, kVhostUserNetwork));
  VMLANE_ASSIGN(const std::string socket, socket_of(*path.attached));
  VMLANE_ASSIGN(const IpPrefix address, path.attached->prefix());
  VMLANE_ASSIGN(const MacAddress mac, path.attached->mac());
  path.address = address.address;
  if (guest == kQemuGuest) {
    const QemuGuestNic nic{
        .mac = mac, .mtu = path.attached->mtu(), .address = address, .backend = lab::VhostSocket{socket}};
    VMLANE_TRY(start_qemu_guest(site, pod, nic, options, path));
    return path;
  }
  VMLANE_TRY(start_native_guest(site, pod, {"--socket", socket}, {mac, address}, name(), options, path));
  return path;
}

}  // namespace vmlane::perf
