// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/tap_guest.h"

#include "perf/lanes/qemu_guest.h"

namespace vmlane::perf {

Result<> start_tap_guest(Site& site, const std::string& pod, const std::string& tap, std::string_view guest,
                         const std::string& lane, const LaneOptions& options, Path& path) {
  const Attached& attached = *path.attached;
  VMLANE_ASSIGN(const IpPrefix address, attached.prefix());
  VMLANE_ASSIGN(const MacAddress mac, attached.mac());
  path.address = address.address;
  if (guest == kQemuGuest)
    return start_qemu_guest(site, pod, {.mac = mac, .mtu = attached.mtu(), .address = address, .tap = tap},
                            options, path);
  return start_native_guest(site, pod, {"--tap", tap}, {mac, address}, lane, options, path);
}

Result<> start_native_guest(Site& site, const std::string& pod, const std::vector<std::string>& end,
                            const GuestAddress& own, const std::string& lane, const LaneOptions& options,
                            Path& path) {
  const auto planted = options.guest_delay_ns.find(lane);
  const std::uint64_t delay = planted == options.guest_delay_ns.end() ? 0 : planted->second;
  std::vector<std::string> arguments = {"native-guest",          "--mac",   own.mac.to_string(),  "--address",
                                        own.address.to_string(), "--delay", std::to_string(delay)};
  arguments.insert(arguments.end(), end.begin(), end.end());
  VMLANE_ASSIGN(auto process, site.start(pod, "guest", arguments));
  path.address = own.address.address;
  path.processes.push_back(std::move(process));
  return {};
}

}  // namespace vmlane::perf
