// SPDX-License-Identifier: Apache-2.0
// In place of libbpf's header: the helpers of the kernel as functions of this process
// (tests/fuzz/kernel_frame.h), so that a kernel program can be fuzzed as it stands.
#pragma once

#include <linux/bpf.h>

#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value)* name
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define __noinline __attribute__((noinline))

void* bpf_map_lookup_elem(void* map, const void* key);
long bpf_map_update_elem(void* map, const void* key, const void* value, __u64 flags);
long bpf_map_delete_elem(void* map, const void* key);
long bpf_skb_load_bytes(const void* skb, __u32 offset, void* to, __u32 length);
long bpf_skb_store_bytes(struct __sk_buff* skb, __u32 offset, const void* from, __u32 length, __u64 flags);
long bpf_skb_change_tail(struct __sk_buff* skb, __u32 length, __u64 flags);
long bpf_l4_csum_replace(struct __sk_buff* skb, __u32 offset, __u64 from, __u64 to, __u64 flags);
long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_clone_redirect(struct __sk_buff* skb, __u32 ifindex, __u64 flags);
__u64 bpf_ktime_get_boot_ns(void);
__u64 bpf_jiffies64(void);
