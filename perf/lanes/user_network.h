// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "perf/lane.h"

namespace vmlane::perf {

// VMs without a network of their own: the guest's packets end in a process in the pod, which makes the same
// connections again with the pod's sockets. What the lanes of vmlane are there to replace.

// QEMU's user-mode network.
class UsernetLane final : public Lane {
 public:
  std::string name() const override { return "usernet"; }
  std::vector<std::string> guests() const override { return {kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

// passt beside QEMU.
class PasstLane final : public Lane {
 public:
  std::string name() const override { return "passt"; }
  std::vector<std::string> guests() const override { return {kQemuGuest}; }
  Result<> available(const SiteOptions& site, std::string_view guest) const override;
  Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                      const LaneOptions& options) const override;
};

}  // namespace vmlane::perf
