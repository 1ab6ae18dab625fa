// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/macvtap.h"

#include "netlink/netlink.h"
#include "perf/lanes/parts.h"
#include "perf/lanes/tap_guest.h"

namespace vmlane::perf {
namespace {

Result<std::string> device_node(const Site& site, const std::string& pod) {
  VMLANE_ASSIGN(const auto inside, site.pod(pod));
  VMLANE_ASSIGN(const auto links, netlink::open_netlink(inside));
  VMLANE_ASSIGN(const auto link, links->find_link("eth0"));
  if (!link) return fail(Code::kInternal, "vmlane-macvtap made no eth0 in the pod");
  return "/dev/tap" + std::to_string(link->index);
}

}  // namespace

Result<> MacvtapLane::available(const SiteOptions& site, std::string_view guest) const {
  VMLANE_TRY(have_plugin(site, "vmlane-macvtap"));
  return guest == kQemuGuest ? have_qemu(site) : Result<>();
}

Result<Path> MacvtapLane::set_up(Site& site, const std::string& pod, std::string_view guest,
                                 const LaneOptions& options) const {
  Path path;
  VMLANE_ASSIGN(path.attached, site.attach(pod, kMacvtapNetwork));
  VMLANE_ASSIGN(const std::string device, device_node(site, pod));
  VMLANE_TRY(start_tap_guest(site, pod, device, guest, name(), options, path));
  return path;
}

}  // namespace vmlane::perf
