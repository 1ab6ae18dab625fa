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

// A refresh takes the place of any IPv6 frame, or of ARP.
VMLANE_INLINE int vmlane_may_refresh(const struct __sk_buff* skb) {
  const __u8* data = (const __u8*)(long)skb->data;
  const __u8* end = (const __u8*)(long)skb->data_end;

  if (skb->protocol == bpf_htons(0x0806)) return 1;
  if (skb->protocol != bpf_htons(0x86dd) || data + VMLANE_L4_OF_IP6 > end) return 0;
  return data[20] == 58 || data[20] == 6 || data[20] == 17;
}

// What left its checksum to the device still does when it has become an RA, at the place of its own protocol:
// of TCP and UDP that is within the option of the template for refreshes, of ICMPv6 it is the RA's own.
VMLANE_PART int vmlane_become_ra(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  struct vmlane_reply reply = {};
  struct vmlane_ip6 to_all = {};
  __u8 next = 58;

  if (!answers) return VMLANE_DROP;
  if (frame->protocol == bpf_htons(0x86dd) && vmlane_load(frame, 20, &next, sizeof(next))) return VMLANE_DROP;
  if (next == 58) return vmlane_send_ra(frame, answers, &to_all);
  reply.kind = VMLANE_TEMPLATE_REFRESH;
  if (vmlane_place(frame, answers, &reply)) return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return VMLANE_REPLY;
}

// The rest of vmlane_refresh_ra.
VMLANE_PART int vmlane_send_refresh(struct __sk_buff* skb, struct vmlane_answers* answers, __u64 copy_flags) {
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
  verdict = vmlane_become_ra(skb, answers);
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
