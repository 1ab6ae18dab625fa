// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What a part of the policy stage costs by itself, for tests/benchmark: the verdict on a new connection, which is that the packet's
// connection is looked for and not known, who its peer is, and what the rules say. It works on the maps of policy.bpf.c.
#include "policy.bpf.c"

// Not on a link's hook, so it has no entry to find a key by; the packet is for the workload with key 0.
SEC("tc")
int vmlane_probe_verdict(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct vmlane_policy_workload *workload = bpf_map_lookup_elem(&vmlane_subjects, &zero);
	struct vmlane_stage *stage = bpf_map_lookup_elem(&vmlane_desk, &zero);

	if (!workload || !stage)
		return TC_ACT_SHOT;
	lay_out(skb, stage, workload, VMLANE_POLICY_INGRESS);
	if (vmlane_stage_is_established(skb, stage, VMLANE_POLICY_INGRESS) || !stage->is_unknown)
		return TC_ACT_SHOT;
	return vmlane_stage_may_open(skb, stage, 0, &stage->question) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}
