// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/types.h>

#include "ebpf/source_guard_layout.bpf.h"

#ifdef __cplusplus
extern "C" {
#endif

// NOLINTBEGIN(readability-identifier-naming)

// What the source guard says of a frame that its workload sends: an enum vmlane_guard_reason. Learns
// link-local addresses on the way. Reads nothing outside of the frame.
int vmlane_native_guard(const __u8* data, __u32 length, struct vmlane_guard* guard);

// NOLINTEND(readability-identifier-naming)

#ifdef __cplusplus
}
#endif
