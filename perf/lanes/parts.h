// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "perf/lane.h"

// What several lanes are made of.
namespace vmlane::perf {

// Names in networks.yaml.
inline constexpr const char* kContainerNetwork = "containers";
inline constexpr const char* kTapNetwork = "tap";
inline constexpr const char* kMacvtapNetwork = "macvtap";
inline constexpr const char* kVhostUserNetwork = "vhost-user";

// Code::kNotAvailable when the plugin, or host-local that it needs, is in no directory of the site.
Result<> have_plugin(const SiteOptions& site, const std::string& type);
// The same for QEMU and the guest image.
Result<> have_qemu(const SiteOptions& site);

}  // namespace vmlane::perf
