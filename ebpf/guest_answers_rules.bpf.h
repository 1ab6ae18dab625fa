// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The rules of all protocols together: which frame is whose. For the kernel include guest_answers.bpf.h.
#pragma once

#include "guest_answers_dhcpv6.bpf.h"
#include "guest_answers_neighbour.bpf.h"

VMLANE_INLINE int vmlane_answer_ip6(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  __u8 next = 0;

  if (vmlane_load(frame, 20, &next, sizeof(next))) return VMLANE_NOT_OURS;
  if (next == 17 && (answers->flags & VMLANE_ANSWER_DHCP6)) return vmlane_answer_dhcp6(frame, answers);
  if (next == 58) return vmlane_answer_nd(frame, answers);
  return VMLANE_NOT_OURS;
}

// Whether the frame is a question, and then the reply in its place: an enum vmlane_verdict. A request with a
// VLAN tag, IP options, extension headers or in fragments is none.
VMLANE_PART int vmlane_answer_frame(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  struct vmlane_eth eth = {};

  if (!answers || !answers->flags || vmlane_is_special(frame)) return VMLANE_NOT_OURS;
  if (vmlane_load(frame, 0, &eth, sizeof(eth)) || !vmlane_same_mac(eth.source, answers->guest_mac))
    return VMLANE_NOT_OURS;
  if (eth.type == VMLANE_BE16(0x0800) && (answers->flags & VMLANE_ANSWER_DHCP4))
    return vmlane_answer_dhcp(frame, answers);
  if (eth.type == VMLANE_BE16(0x0806) && (answers->flags & VMLANE_ANSWER_ARP))
    return vmlane_answer_arp(frame, answers);
  if (eth.type == VMLANE_BE16(0x86dd)) return vmlane_answer_ip6(frame, answers);
  return VMLANE_NOT_OURS;
}
