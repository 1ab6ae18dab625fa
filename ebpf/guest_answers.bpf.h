// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Guest answers in the kernel: what a program on a guest's port calls for each frame from the guest, after
// its sender was checked. On a host's end of a veth pair that is TC ingress and a reply goes back by
// bpf_redirect(ifindex, 0); on a macvtap it is TC egress and bpf_redirect(ifindex, BPF_F_INGRESS).
#pragma once

#include "guest_answers_rules.bpf.h"

#define VMLANE_NS_PER_SECOND 1000000000ull

// A look at the headers that spares all other traffic the rules' calls. What is not in the linear part may be
// a question.
VMLANE_INLINE int vmlane_may_ask(const struct __sk_buff* skb) {
  const __u8* data = (const __u8*)(long)skb->data;
  const __u8* end = (const __u8*)(long)skb->data_end;

  if (skb->protocol == bpf_htons(0x0806)) return 1;
  if (skb->protocol == bpf_htons(0x0800)) {
    if (data + 38 > end) return 1;
    return data[23] == 17 && data[36] == 0 && data[37] == 67;
  }
  if (skb->protocol != bpf_htons(0x86dd)) return 0;
  if (data + 58 > end) return 1;
  if (data[20] == 58)
    return data[54] == VMLANE_ROUTER_SOLICITATION || data[54] == VMLANE_NEIGHBOUR_SOLICITATION;
  return data[20] == 17 && data[56] == (547 >> 8) && data[57] == (547 & 0xff);
}

// 0: not for us, the frame is untouched. 1: the frame is the reply, send it back. 2: drop it.
VMLANE_INLINE int vmlane_answer(struct __sk_buff* skb, struct vmlane_answers* answers) {
  if (!answers || !vmlane_may_ask(skb)) return VMLANE_NOT_OURS;
  return vmlane_answer_frame(skb, answers);
}

// Only ARP and ICMPv6 bring a refresh: a guest that talks sends some before a neighbour entry is a minute
// old, and none of them leaves a checksum at another place than an RA's to the device.
VMLANE_INLINE int vmlane_may_refresh(const struct __sk_buff* skb) {
  const __u8* data = (const __u8*)(long)skb->data;
  const __u8* end = (const __u8*)(long)skb->data_end;

  if (skb->protocol == bpf_htons(0x0806)) return 1;
  return skb->protocol == bpf_htons(0x86dd) && data + VMLANE_L4_OF_IP6 <= end && data[20] == 58;
}

// The rest of vmlane_refresh_ra.
VMLANE_PART int vmlane_send_refresh(struct __sk_buff* skb, struct vmlane_answers* answers, __u64 copy_flags) {
  struct vmlane_ip6 to_all = {};
  __u8 source[6] = {};
  __u64 last, now;
  int verdict;

  if (!answers || !(answers->flags & VMLANE_ANSWER_RA) || !answers->ra_interval || vmlane_is_special(skb))
    return VMLANE_NOT_OURS;
  last = answers->last_ra;
  now = bpf_ktime_get_boot_ns();
  if (last && now - last < answers->ra_interval * VMLANE_NS_PER_SECOND) return VMLANE_NOT_OURS;
  if (bpf_skb_load_bytes(skb, 6, source, sizeof(source)) || !vmlane_same_mac(source, answers->guest_mac))
    return VMLANE_NOT_OURS;
  // One processor sends it; the copy, which passes here too, finds it sent.
  if (__sync_val_compare_and_swap(&answers->last_ra, last, now) != last) return VMLANE_NOT_OURS;
  if (bpf_clone_redirect(skb, skb->ifindex, copy_flags)) return VMLANE_NOT_OURS;
  verdict = vmlane_send_ra(skb, answers, &to_all);
  return verdict == VMLANE_REPLY ? vmlane_count(answers, VMLANE_COUNT_RA_REFRESH, verdict) : verdict;
}

// To be called before vmlane_answer, whose verdicts it shares: routers must advertise themselves again and
// again, and a program cannot by a timer. When the last RA is older than ra_interval, a copy of the frame
// takes its way through the device once more (`copy_flags` is BPF_F_INGRESS for a program on ingress, 0 on
// egress), and the frame in hand becomes an RA. Nearly always 0: nothing was done.
VMLANE_INLINE int vmlane_refresh_ra(struct __sk_buff* skb, struct vmlane_answers* answers, __u64 copy_flags) {
  if (!answers || !vmlane_may_refresh(skb)) return VMLANE_NOT_OURS;
  return vmlane_send_refresh(skb, answers, copy_flags);
}
