// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The guest answers by themselves, for tests, with one guest.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "guest_answers.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vmlane_answers);
} guest SEC(".maps");

// The verdict itself, for BPF_PROG_TEST_RUN.
SEC("tc")
int vmlane_verdict(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct vmlane_answers *answers = bpf_map_lookup_elem(&guest, &key);

	return answers ? vmlane_answer(skb, answers) : VMLANE_NOT_OURS;
}

static __always_inline int answering(struct __sk_buff *skb, __u64 copy_flags, __u64 reply_flags)
{
	__u32 key = 0;
	struct vmlane_answers *answers = bpf_map_lookup_elem(&guest, &key);
	int verdict;

	if (!answers)
		return TC_ACT_UNSPEC;
	verdict = vmlane_refresh_ra(skb, answers, copy_flags);
	if (verdict == VMLANE_NOT_OURS)
		verdict = vmlane_answer(skb, answers);
	if (verdict == VMLANE_REPLY)
		return bpf_redirect(skb->ifindex, reply_flags);
	return verdict == VMLANE_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// For the ingress of a host's end of a veth pair.
SEC("tc")
int vmlane_answering(struct __sk_buff *skb)
{
	return answering(skb, BPF_F_INGRESS, 0);
}

// For the egress of a macvtap.
SEC("tc")
int vmlane_answering_tap(struct __sk_buff *skb)
{
	return answering(skb, 0, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
