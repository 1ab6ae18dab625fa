// SPDX-License-Identifier: Apache-2.0
// The program on a workload's link as it stands, compiled for this machine: bpf/bpf_helpers.h is the one beside this file.
#include "ebpf/workload.bpf.c"

#include "workload_program.h"

const void *const vmlane_plains_map = &vmlane_plains;
const void *const vmlane_guards_map = &vmlane_guards;
const void *const vmlane_answers_map = &vmlane_answers;
const void *const vmlane_claims_map = &vmlane_claims;

int vmlane_is_plain(struct __sk_buff *skb, const struct vmlane_plain *own)
{
	return is_plain(skb, own);
}
