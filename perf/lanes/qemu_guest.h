// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "lab/qemu_command.h"
#include "perf/lane.h"

namespace vmlane::perf {

// How a real VM's NIC is connected.
struct QemuGuestNic {
  MacAddress mac;
  std::optional<std::uint32_t> mtu;
  IpPrefix address;                  // the guest's own
  std::optional<IpAddress> gateway;  // of the guest's default route
  std::string tap;                   // in the pod, or a macvtap's device node; empty: by `backend`
  decltype(lab::QemuNic::backend) backend = {};
};

// Boots a VM in the pod, runs the responder in it and adds its process to the path. Returns when the
// responder has been started.
Result<> start_qemu_guest(Site& site, const std::string& pod, const QemuGuestNic& nic,
                          const LaneOptions& options, Path& path);

}  // namespace vmlane::perf
