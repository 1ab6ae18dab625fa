// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The splice of the tap lane: what arrives on the device this is attached to leaves by another, as it is. One copy is
// loaded for each direction, with its device as a constant.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// In the namespace of the device that the program is attached to.
const volatile __u32 target_ifindex = 0;

// Egress and not ingress of the target: the frame must come out at the target's far end, QEMU or the host.
SEC("tc")
int vmlane_splice(struct __sk_buff *skb)
{
	(void)skb;
	return bpf_redirect(target_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
