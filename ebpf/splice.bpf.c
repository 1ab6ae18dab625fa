// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The splice of the tap lane: what arrives on one of two devices leaves by the other, as it is. One copy is loaded for
// each pair, with both as constants, and attached to both.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// In the namespace that both devices are in.
const volatile __u32 first_ifindex = 0;
const volatile __u32 second_ifindex = 0;

// Egress and not ingress of the other device: the frame must come out at its far end, QEMU or the host.
SEC("tc")
int vmlane_splice(struct __sk_buff *skb)
{
	return bpf_redirect(skb->ifindex == first_ifindex ? second_ifindex : first_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
