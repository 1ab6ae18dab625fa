// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"

// The ingress of a device in the calling thread's network namespace, by either mechanism. Programs are
// attached to the device itself: a link object would detach them at the end of the process, a pin would
// outlive the device.
namespace vmlane::ebpf {

// How a program is hung on a device's ingress: TCX (kernel 6.6 on), or a clsact qdisc with a direct-action
// filter.
enum class Attach { kTcx, kClsact };

// Whether the running kernel has TCX. Probed, not guessed from a version.
bool has_tcx();

// Code::kNotFound when the device is gone.
Result<> attach_to_ingress(int index, int program_fd, Attach attach);

// Attaches by clsact, and by TCX where the kernel has that and clsact is not to be had: TCX costs an
// attachment a grace period of the kernel's each time.
Result<> attach_by_either(const std::function<Result<>(Attach)>& attach);

// Ids of the programs there: all on TCX, and the one that attach_to_ingress put into a clsact qdisc.
// Code::kNotFound when the device is gone.
Result<std::vector<std::uint32_t>> programs_on_ingress(int index);

// For checks: Code::kChanged when the device is gone, or when no program there is the wanted one; then the
// message is "<device> has no <what>".
Result<> expect_on_ingress(int index, const std::function<bool(std::uint32_t program_id)>& is_wanted,
                           const std::string& what);

}  // namespace vmlane::ebpf
