// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The keys of the maps of workload.bpf.c: 1 to VMLANE_MAX_WORKLOADS, chosen by the CNI plugin. A class id has
// 16 bits.
#ifndef VMLANE_WORKLOAD_LAYOUT_BPF_H
#define VMLANE_WORKLOAD_LAYOUT_BPF_H

#include <linux/types.h>

// By them the array of vmlane_plain has 80 KiB.
#define VMLANE_MAX_WORKLOADS 2047

// Bits of vmlane_plain::flags.
#define VMLANE_PLAIN_LEARNS 1  // the addresses are learned, and hold until look_at

// What the bulk of a workload's honest traffic is told by; all zeros is nobody's. In an array, since a lookup
// there costs a fifth of one in a hash. NOLINTBEGIN(readability-identifier-naming)
struct vmlane_plain {
  __u8 mac[6];
  __u16 flags;
  __be32 ipv4;  // 0: none
  __u32 reserved;
  __be32 ipv6[4];  // all zeros: none
  // From then on, in jiffies, a frame is looked at closely, if only to set this anew: an address may have
  // expired or a router advertisement be due. The program can read the clock of jiffies for next to nothing,
  // and does not know how many there are in a second: at least VMLANE_LEAST_HZ, so it looks early.
  __u64 look_at;
};
// NOLINTEND(readability-identifier-naming)

#define VMLANE_LEAST_HZ 100ull
#define VMLANE_LOOK_NEVER (~0ull)

#endif
