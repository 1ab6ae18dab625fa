// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The keys of the maps of workload.bpf.c: 1 to VMLANE_MAX_WORKLOADS, chosen by the CNI plugin. A class id has
// 16 bits.
#ifndef VMLANE_WORKLOAD_LAYOUT_BPF_H
#define VMLANE_WORKLOAD_LAYOUT_BPF_H

#include <linux/types.h>

// By them the array of vmlane_plain has 64 KiB.
#define VMLANE_MAX_WORKLOADS 2047

// What the bulk of a workload's honest traffic is told by; all zeros is nobody's. In an array, since a lookup
// there costs a fifth of one in a hash. NOLINTBEGIN(readability-identifier-naming)
struct vmlane_plain {
  __u8 mac[6];
  __u16 reserved;
  __be32 ipv4;  // 0: none
  __u32 more_reserved;
  __be32 ipv6[4];  // all zeros: none
};
// NOLINTEND(readability-identifier-naming)

#endif
