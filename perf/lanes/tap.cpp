// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/tap.h"

#include "core/names.h"
#include "perf/lanes/parts.h"
#include "perf/lanes/qemu_guest.h"

namespace vmlane::perf {

Result<> TapLane::available(const SiteOptions& site, std::string_view guest) const {
  VMLANE_TRY(have_plugin(site, "vmlane-tap"));
  return guest == kQemuGuest ? have_qemu(site) : Result<>();
}

Result<Path> TapLane::set_up(Site& site, const std::string& pod, std::string_view guest,
                             const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kTapNetwork));
  VMLANE_ASSIGN(path.address, path.attached->address());
  VMLANE_ASSIGN(const MacAddress mac, path.attached->mac());
  const std::string tap = names::tap_link("eth0");
  if (guest == kQemuGuest) {
    VMLANE_ASSIGN(const QemuGuestNic nic, nic_on_tap(tap, *path.attached));
    VMLANE_TRY(start_qemu_guest(site, pod, nic, options, path));
    return path;
  }
  VMLANE_ASSIGN(auto process,
                start_native_guest(site, pod, tap, mac, path.address, planted_delay(options, name())));
  path.processes.push_back(std::move(process));
  return path;
}

}  // namespace vmlane::perf
