// SPDX-License-Identifier: Apache-2.0
// The rules of the guest answers, compiled for programs that hold frames in memory.
#include "ebpf/guest_answers_rules.bpf.h"

int vmlane_native_answer(__u8 *data, __u32 *length, __u32 capacity, struct vmlane_answers *answers);
int vmlane_native_advertise(__u8 *data, __u32 *length, __u32 capacity, struct vmlane_answers *answers);

int vmlane_native_answer(__u8 *data, __u32 *length, __u32 capacity, struct vmlane_answers *answers)
{
	struct vmlane_frame frame = {data, *length, capacity};
	int verdict = vmlane_answer_frame(&frame, answers);

	*length = frame.length;
	return verdict;
}

int vmlane_native_advertise(__u8 *data, __u32 *length, __u32 capacity, struct vmlane_answers *answers)
{
	struct vmlane_frame frame = {data, *length, capacity};
	struct vmlane_ip6 to_all = {0};
	int verdict = answers->flags & VMLANE_ANSWER_RA ? vmlane_send_ra(&frame, answers, &to_all) : VMLANE_NOT_OURS;

	*length = frame.length;
	if (verdict == VMLANE_REPLY)
		vmlane_count(answers, VMLANE_COUNT_RA_REFRESH, verdict);
	return verdict;
}
