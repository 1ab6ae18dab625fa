// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/tap_guest.h"

#include "perf/lanes/qemu_guest.h"

namespace vmlane::perf {

std::uint64_t planted_delay(const LaneOptions& options, const std::string& lane) {
  const auto found = options.guest_delay_ns.find(lane);
  return found == options.guest_delay_ns.end() ? 0 : found->second;
}

Result<> start_tap_guest(Site& site, const std::string& pod, const std::string& tap, std::string_view guest,
                         const std::string& lane, const LaneOptions& options, Path& path) {
  const Attached& attached = *path.attached;
  VMLANE_ASSIGN(const IpPrefix address, attached.prefix());
  VMLANE_ASSIGN(const MacAddress mac, attached.mac());
  path.address = address.address;
  if (guest == kQemuGuest)
    return start_qemu_guest(site, pod, {.mac = mac, .mtu = attached.mtu(), .address = address, .tap = tap},
                            options, path);
  const std::uint64_t delay = planted_delay(options, lane);
  VMLANE_ASSIGN(auto process, site.start(pod, "guest",
                                         {"native-guest", "--tap", tap, "--mac", mac.to_string(), "--address",
                                          path.address.to_string(), "--delay", std::to_string(delay)}));
  path.processes.push_back(std::move(process));
  return {};
}

}  // namespace vmlane::perf
