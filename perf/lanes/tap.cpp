// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/tap.h"

#include "core/names.h"
#include "perf/lanes/parts.h"
#include "perf/lanes/tap_guest.h"

namespace vmlane::perf {

Result<> TapLane::available(const SiteOptions& site, std::string_view guest) const {
  VMLANE_TRY(have_plugin(site, "vmlane-tap"));
  return guest == kQemuGuest ? have_qemu(site) : Result<>();
}

Result<Path> TapLane::set_up(Site& site, const std::string& pod, std::string_view guest,
                             const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kTapNetwork));
  VMLANE_TRY(start_tap_guest(site, pod, names::tap_link("eth0"), guest, name(), options, path));
  return path;
}

}  // namespace vmlane::perf
