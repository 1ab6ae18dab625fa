// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The guard on the host's end of a workload's link: frames whose sender is not the workload's MAC are dropped, and ARP that
// says another one is. One copy is loaded for each link, with the MAC as a constant.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// As the kernel's ARP has it: the sender's hardware address follows this, and is as long as it says.
struct arp_start {
	__be16 hardware_type;
	__be16 protocol_type;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender[ETH_ALEN];
};

struct vlan_tag {
	__be16 id;
	__be16 type;
};

// The kernel takes one tag off before this program sees the frame; a second and third may be left.
#define MAX_TAGS 2

const volatile __u8 workload_mac[ETH_ALEN] = {};

static __always_inline int is_workload(const __u8 *mac)
{
	int differs = 0;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differs |= mac[i] ^ workload_mac[i];
	return !differs;
}

static __always_inline int is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

// What cannot be read is dropped: nothing may get by for being odd.
SEC("tc")
int vmlane_macguard(struct __sk_buff *skb)
{
	struct ethhdr ethernet;
	struct arp_start arp;
	struct vlan_tag tag;
	__u32 offset = sizeof(ethernet);
	__be16 type;

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return TC_ACT_SHOT;
	if (!is_workload(ethernet.h_source))
		return TC_ACT_SHOT;
	type = ethernet.h_proto;
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		if (!is_tag(type))
			break;
		if (bpf_skb_load_bytes(skb, offset, &tag, sizeof(tag)))
			return TC_ACT_SHOT;
		type = tag.type;
		offset += sizeof(tag);
	}
	if (type != bpf_htons(ETH_P_ARP) && type != bpf_htons(ETH_P_RARP))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, offset, &arp, sizeof(arp)))
		return TC_ACT_SHOT;
	if (arp.hardware_length != ETH_ALEN || !is_workload(arp.sender))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
