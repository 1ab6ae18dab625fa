// SPDX-License-Identifier: Apache-2.0
// What the source guard takes from the kernel's helpers, for frames in memory: found in the place of libbpf's
// header of this name when the guard is compiled for the switch.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))

int bpf_skb_load_bytes(const struct __sk_buff* skb, __u32 offset, void* to, __u32 length);
