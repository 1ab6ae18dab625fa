// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// ARP (RFC 826), neighbour and router solicitations (RFC 4861) for a gateway that only exists in the record.
#pragma once

#include "guest_answers_frame.bpf.h"

struct vmlane_arp {
  __be16 hardware;
  __be16 protocol;
  __u8 hardware_length;
  __u8 protocol_length;
  __be16 operation;
  __u8 sender_mac[6];
  __u8 sender[4];
  __u8 target_mac[6];
  __u8 target[4];
};

struct vmlane_icmp6 {
  __u8 type;
  __u8 code;
  __be16 checksum;
  __be32 flags;
};

#define VMLANE_ROUTER_SOLICITATION 133u
#define VMLANE_NEIGHBOUR_SOLICITATION 135u
#define VMLANE_ND_TARGET_AT 62u
// Router and override of a neighbour advertisement; solicited.
#define VMLANE_NA_FLAGS 0xa0000000u
#define VMLANE_NA_SOLICITED 0x40000000u

// A probe (RFC 5227) is answered as well: the gateway's address is taken.
VMLANE_PART int vmlane_answer_arp(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  struct vmlane_reply reply = {};
  struct vmlane_arp arp = {};
  __be32 target = 0, sender = 0;
  int known = 0;

  if (!answers || vmlane_load(frame, VMLANE_ETH_HEADER, &arp, sizeof(arp))) return VMLANE_NOT_OURS;
  if (arp.hardware != VMLANE_BE16(1) || arp.protocol != VMLANE_BE16(0x0800) || arp.hardware_length != 6 ||
      arp.protocol_length != 4 || arp.operation != VMLANE_BE16(1) ||
      !vmlane_same_mac(arp.sender_mac, answers->guest_mac))
    return VMLANE_NOT_OURS;
  __builtin_memcpy(&target, arp.target, sizeof(target));
  __builtin_memcpy(&sender, arp.sender, sizeof(sender));
  if (!target || target == sender) return VMLANE_NOT_OURS;
  for (__u32 i = 0; i < VMLANE_ANSWERED_ADDRESSES; i++) known |= answers->arp_addresses[i] == target;
  if (!known) return VMLANE_NOT_OURS;
  reply.kind = VMLANE_TEMPLATE_ARP;
  if (vmlane_place(frame, answers, &reply) || vmlane_store(frame, 28, &target, sizeof(target)) ||
      vmlane_store(frame, 38, &sender, sizeof(sender)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return vmlane_count(answers, VMLANE_COUNT_ARP, VMLANE_REPLY);
}

// The Ethernet address of ff02::1 (RFC 2464, 7). Bytes by hand here and elsewhere: a table would be one more
// map of constants for each program that includes this.
VMLANE_INLINE int vmlane_to_all_nodes(struct vmlane_frame* frame) {
  __u8 mac[6] = {};

  mac[0] = 0x33;
  mac[1] = 0x33;
  mac[5] = 1;
  return vmlane_store(frame, 0, mac, sizeof(mac)) ? -1 : 0;
}

// Makes the frame, whatever it is, an RA for `to`: one address of four words, or all nodes when that is all
// zeros.
VMLANE_PART int vmlane_send_ra(struct vmlane_frame* frame, struct vmlane_answers* answers,
                               struct vmlane_ip6* asked) {
  struct vmlane_reply reply = {};
  int failed;

  if (!answers || !asked) return VMLANE_DROP;
  reply.kind = VMLANE_TEMPLATE_RA;
  failed = vmlane_place(frame, answers, &reply);
  if (!failed && vmlane_is_unspecified(asked->source))  // the template's address is that of all nodes
    failed = vmlane_to_all_nodes(frame);
  else if (!failed)
    failed = vmlane_store(frame, 38, asked->source, sizeof(asked->source));
  if (failed || vmlane_finish_l4(frame, VMLANE_L4_OF_IP6, VMLANE_L4_OF_IP6 + 2, 58))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return VMLANE_REPLY;
}

// Who looks for duplicates of the gateway's address learns that there is one: all nodes do.
VMLANE_PART int vmlane_answer_ns(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                 struct vmlane_ip6* asked) {
  struct vmlane_reply reply = {};
  __be32 target[4] = {}, flags = VMLANE_BE32(VMLANE_NA_FLAGS);
  int known = 0, failed;

  if (!answers || !asked || vmlane_load(frame, VMLANE_ND_TARGET_AT, target, sizeof(target)) ||
      vmlane_is_unspecified(target))
    return VMLANE_NOT_OURS;
  for (__u32 i = 0; i < VMLANE_ANSWERED_ADDRESSES; i++)
    known |= vmlane_same_ip6(answers->nd_addresses[i], target);
  if (!known || vmlane_same_ip6(asked->source, target)) return VMLANE_NOT_OURS;
  reply.kind = VMLANE_TEMPLATE_NA;
  failed = vmlane_place(frame, answers, &reply);
  if (!failed && vmlane_is_unspecified(asked->source)) {  // the template's address is that of all nodes
    failed = vmlane_to_all_nodes(frame);
  } else if (!failed) {
    flags |= VMLANE_BE32(VMLANE_NA_SOLICITED);
    failed = vmlane_store(frame, 38, asked->source, sizeof(asked->source));
  }
  if (failed || vmlane_store(frame, 58, &flags, sizeof(flags)) ||
      vmlane_store(frame, 22, target, sizeof(target)) ||
      vmlane_store(frame, VMLANE_ND_TARGET_AT, target, sizeof(target)) ||
      vmlane_finish_l4(frame, VMLANE_L4_OF_IP6, VMLANE_L4_OF_IP6 + 2, 58))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return vmlane_count(answers, VMLANE_COUNT_NA, VMLANE_REPLY);
}

// Frames with ICMPv6 in IPv6.
VMLANE_PART int vmlane_answer_nd(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  struct vmlane_icmp6 icmp = {};
  struct vmlane_ip6 ip = {};
  int verdict;

  if (!answers || vmlane_load(frame, VMLANE_ETH_HEADER, &ip, sizeof(ip)) ||
      vmlane_load(frame, VMLANE_L4_OF_IP6, &icmp, sizeof(icmp)))
    return VMLANE_NOT_OURS;
  // A hop limit of 255 proves that no router passed it on (RFC 4861, 6.1.1 and 7.1.1).
  if (ip.hops != 255 || icmp.code || (ip.source[0] & VMLANE_BE32(0xff000000)) == VMLANE_BE32(0xff000000) ||
      VMLANE_BE16(ip.length) + VMLANE_L4_OF_IP6 > vmlane_length(frame))
    return VMLANE_NOT_OURS;
  if (icmp.type == VMLANE_NEIGHBOUR_SOLICITATION && (answers->flags & VMLANE_ANSWER_ND) &&
      VMLANE_BE16(ip.length) >= 24)
    return vmlane_answer_ns(frame, answers, &ip);
  if (icmp.type != VMLANE_ROUTER_SOLICITATION || !(answers->flags & VMLANE_ANSWER_RA) ||
      VMLANE_BE16(ip.length) < 8)
    return VMLANE_NOT_OURS;
  verdict = vmlane_send_ra(frame, answers, &ip);
  return verdict == VMLANE_REPLY ? vmlane_count(answers, VMLANE_COUNT_RA, verdict) : verdict;
}
