// SPDX-License-Identifier: Apache-2.0
// What of the program a fuzzer calls.
#pragma once

#include <linux/bpf.h>

#include "ebpf/source_guard_layout.bpf.h"
#include "ebpf/workload_layout.bpf.h"

#ifdef __cplusplus
extern "C" {
#endif

// Named as C in the kernel is.
// NOLINTBEGIN(readability-identifier-naming)
extern const void* const vmlane_plains_map;
extern const void* const vmlane_guards_map;
extern const void* const vmlane_answers_map;
extern const void* const vmlane_claims_map;
// NOLINTEND(readability-identifier-naming)

int vmlane_from_workload(struct __sk_buff* skb);
int vmlane_to_workload(struct __sk_buff* skb);
int vmlane_guard_frame(struct __sk_buff* skb, struct vmlane_guard* guard);
// Whether the program's short cut takes the frame.
int vmlane_is_plain(struct __sk_buff* skb, const struct vmlane_plain* own);

#ifdef __cplusplus
}
#endif
