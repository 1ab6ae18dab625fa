// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "perf/site.h"

// A lane is a way to a workload. Adding one takes a class with these four functions and a line in lanes.cpp.
namespace vmlane::perf {

// Kinds of workload at the far end.
inline constexpr const char* kContainerGuest = "container";  // the responder in a pod
inline constexpr const char* kNativeGuest = "native";        // native_guest.h
inline constexpr const char* kQemuGuest = "qemu";            // a real VM with the responder inside

// What a lane has set up in a pod.
struct Path {
  IpAddress address;  // where the responder answers
  std::vector<NamedProcess> processes;
  std::optional<Attached> attached;  // of the lane's own CNI call
};

// What a run asks of the lanes.
struct LaneOptions {
  // By lane: how long its native guest spins before each answer, to plant a known slowdown.
  std::map<std::string, std::uint64_t> guest_delay_ns;
  std::chrono::seconds boot_limit{180};
};

class Lane {
 public:
  virtual ~Lane() = default;
  virtual std::string name() const = 0;
  virtual std::vector<std::string> guests() const = 0;
  // Code::kNotAvailable with what is missing and the fix. Changes nothing.
  virtual Result<> available(const SiteOptions& site, std::string_view guest) const = 0;
  // Builds the path in the (existing, empty) pod. What it makes goes with Site::remove_pod.
  virtual Result<Path> set_up(Site& site, const std::string& pod, std::string_view guest,
                              const LaneOptions& options) const = 0;
};

// All lanes there are or will be, the yardstick first.
std::vector<std::unique_ptr<Lane>> all_lanes();

}  // namespace vmlane::perf
