// SPDX-License-Identifier: Apache-2.0
// The rules of the source guard, compiled for frames in memory: the same file as in the kernel.
#include <stddef.h>
#include <string.h>

#include "dataplane/source_guard.h"

// In the place of ebpf/learned_addresses.bpf.h, which keeps what it learns in the kernel's maps: a guard of the switch has the
// addresses that its record names, and learns none.
#define VMLANE_LEARNED_ADDRESSES_BPF_H
#define VMLANE_MAPPED bpf_htonl(0xffff)

static int vmlane_binds(const struct vmlane_guard *guard, int is_ipv4)
{
	(void)is_ipv4;
	return guard->flags & VMLANE_GUARD_ADDRESSES;
}

static int vmlane_may_use(struct vmlane_guard *guard, struct vmlane_network_address *address, __u32 owner)
{
	(void)guard;
	(void)address;
	(void)owner;
	return 0;
}

#include "ebpf/source_guard.bpf.h"

// The rules know a frame by its socket buffer, of which they use nothing but this.
struct frame {
	struct __sk_buff skb;
	const __u8 *data;
	__u32 length;
};

int bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	const struct frame *frame = (const struct frame *)skb;

	if (offset > frame->length || length > frame->length - offset)
		return -1;
	memcpy(to, frame->data + offset, length);
	return 0;
}

int vmlane_native_guard(const __u8 *data, __u32 length, struct vmlane_guard *guard)
{
	struct frame frame = {.data = data, .length = length};

	return vmlane_guard_frame(&frame.skb, guard);
}
