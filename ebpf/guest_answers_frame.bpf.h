// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Bytes, lengths and sums of the frame at hand, for the rules of the guest answers. The rules are compiled
// twice: for the kernel, where the frame is an skb, and for programs that hold frames in memory
// (answers/native.h).
//
// A rule's part is a function of its own in the kernel: the verifier checks each once, whoever calls it.
#pragma once

#include "guest_answers.h"

#ifdef __bpf__

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>

#define vmlane_frame __sk_buff  // by name, since the verifier knows the context by it
#define VMLANE_PART __attribute__((noinline))
#define VMLANE_INLINE static __always_inline
// Makes the compiler forget what it knows of a number, so that the checks after it reach the verifier.
// Lengths are checked less one: a verifier of Linux 6.1 does not learn from "not 0" that a number is at
// least 1.
#define VMLANE_FORGET(number) asm volatile("" : "+r"(number))
#define VMLANE_ADD(counter) __sync_fetch_and_add(&(counter), 1)
#define VMLANE_BE16(number) bpf_htons(number)
#define VMLANE_BE32(number) bpf_htonl(number)

VMLANE_INLINE __u32 vmlane_length(const struct vmlane_frame* frame) {
  return frame->len;
}

// These three return 0, or anything else when the frame is too short or cannot be changed.
#define vmlane_load(frame, at, to, length) bpf_skb_load_bytes(frame, at, to, length)
#define vmlane_store(frame, at, from, length) \
  bpf_skb_store_bytes(frame, at, from, length, BPF_F_RECOMPUTE_CSUM)
#define vmlane_resize(frame, length) bpf_skb_change_tail(frame, length, 0)

// One skb of several packets, or with a VLAN tag beside the frame.
VMLANE_INLINE int vmlane_is_special(const struct vmlane_frame* frame) {
  return frame->gso_size || frame->vlan_present;
}

// `at` holds the sum of the pseudo header (`partial`). When the request left its checksum to the device, the
// reply does so too: the offsets stay on the skb, and this is what then has to stand there. Otherwise it
// becomes `whole`. The helper makes that difference: without BPF_F_PSEUDO_HDR it leaves the sums that a
// device completes alone.
VMLANE_INLINE void vmlane_complete(struct vmlane_frame* frame, __u32 at, __u16 partial, __u16 whole) {
  bpf_l4_csum_replace(frame, at, (__u16)~partial, (__u16)~whole,
                      sizeof(whole) | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE);
}

#else

#include "answers/native_frame.h"

#endif

#define VMLANE_ETH_HEADER 14u
#define VMLANE_IP4_HEADER 20u
#define VMLANE_IP6_HEADER 40u
#define VMLANE_UDP_HEADER 8u
#define VMLANE_L4_OF_IP4 (VMLANE_ETH_HEADER + VMLANE_IP4_HEADER)
#define VMLANE_L4_OF_IP6 (VMLANE_ETH_HEADER + VMLANE_IP6_HEADER)

// What a rule says of a frame.
enum vmlane_verdict {
  VMLANE_NOT_OURS,  // untouched
  VMLANE_REPLY,     // it is the reply now: send it back
  VMLANE_DROP,      // a question that gets no reply
};

struct vmlane_eth {
  __u8 destination[6];
  __u8 source[6];
  __be16 type;
};

struct vmlane_ip6 {
  __be32 version;  // with class and flow label
  __be16 length;
  __u8 next;
  __u8 hops;
  __be32 source[4];
  __be32 destination[4];
};

// A reply to be made: a template, then the request's bytes [echo_at, echo_at + echo_length), then `extra`
// bytes.
struct vmlane_reply {
  __u32 kind;
  __u32 echo_at;
  __u32 echo_length;
  __u32 extra;
  __u32 most;    // bytes that the asking client takes in all; 0: any
  __u32 length;  // in all; written by vmlane_place
};

VMLANE_INLINE int vmlane_same_mac(const __u8* one, const __u8* other) {
  int differs = 0;

  for (int i = 0; i < 6; i++) differs |= one[i] ^ other[i];
  return !differs;
}

VMLANE_INLINE int vmlane_same_ip6(const __be32* one, const __be32* other) {
  return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) | (one[3] ^ other[3]));
}

VMLANE_INLINE int vmlane_is_unspecified(const __be32* address) {
  return !(address[0] | address[1] | address[2] | address[3]);
}

#define VMLANE_MAX_EXTRA 64u

#define VMLANE_MOVE_STEP 64u
#define VMLANE_MOVE_STEPS 5u  // a client identifier with its header is 257 bytes at most

// At most VMLANE_MOVE_STEP bytes. Apart from the loop, which would have the verifier prove it again each
// time.
VMLANE_PART int vmlane_move_step(struct vmlane_frame* frame, __u32 from, __u32 to, __u32 count) {
  __u8 bytes[VMLANE_MOVE_STEP] = {};

  count--;
  VMLANE_FORGET(count);
  if (count > VMLANE_MOVE_STEP - 1) return -1;
  if (vmlane_load(frame, from, bytes, count + 1) || vmlane_store(frame, to, bytes, count + 1)) return -1;
  return 0;
}

// Moves bytes within the frame, which may overlap. Returns 0 or -1.
VMLANE_PART int vmlane_move(struct vmlane_frame* frame, __u32 from, __u32 to, __u32 length) {
  if (length > VMLANE_MOVE_STEP * VMLANE_MOVE_STEPS) return -1;
  for (__u32 step = 0; step < VMLANE_MOVE_STEPS; step++) {
    __u32 done = step * VMLANE_MOVE_STEP;
    __u32 count, at;

    if (done >= length) break;
    count = length - done;
    if (count > VMLANE_MOVE_STEP) count = VMLANE_MOVE_STEP;
    at = to > from ? length - done - count : done;
    if (vmlane_move_step(frame, from + at, to + at, count)) return -1;
  }
  return 0;
}

#define VMLANE_SUM_STEP 128u
#define VMLANE_SUM_STEPS 12u  // a template, a client identifier and what comes with it, in steps

// The sum of at most VMLANE_SUM_STEP bytes in 16-bit words, folded to less than 2^17; negative when they are
// not there. Apart from the loop, as vmlane_move_step is.
VMLANE_PART int vmlane_sum_step(struct vmlane_frame* frame, __u32 at, __u32 count) {
  __u32 words[VMLANE_SUM_STEP / 4] = {};
  __u64 sum = 0;

  count--;
  VMLANE_FORGET(count);
  if (count > VMLANE_SUM_STEP - 1) return -1;
  if (vmlane_load(frame, at, words, count + 1)) return -1;
  for (__u32 i = 0; i < VMLANE_SUM_STEP / 4; i++) sum += words[i];
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  return (int)((sum & 0xffff) + (sum >> 16));
}

// The one's complement sum (RFC 1071) of `length` bytes from `at` on as it stands in memory, not inverted;
// negative when they are not there.
VMLANE_PART int vmlane_sum(struct vmlane_frame* frame, __u32 at, __u32 length) {
  __u32 sum = 0;

  if (length > VMLANE_SUM_STEP * VMLANE_SUM_STEPS) return -1;
  for (__u32 step = 0; step < VMLANE_SUM_STEPS; step++) {
    __u32 done = step * VMLANE_SUM_STEP;
    __u32 count;
    int part;

    if (done >= length) break;
    count = length - done;
    if (count > VMLANE_SUM_STEP) count = VMLANE_SUM_STEP;
    part = vmlane_sum_step(frame, at + done, count);
    if (part < 0) return -1;
    sum += (__u32)part;
  }
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (int)(sum & 0xffff);
}

VMLANE_INLINE __u16 vmlane_fold(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)sum;
}

// The checksum at `at` of the transport header that begins at `l4` and goes to the end of the frame (RFC 768,
// 8200 8.1). Returns 0 or -1.
VMLANE_PART int vmlane_finish_l4(struct vmlane_frame* frame, __u32 l4, __u32 at, __u32 protocol) {
  __u32 addresses = l4 == VMLANE_L4_OF_IP4 ? 8 : 32;
  __u32 length = vmlane_length(frame) - l4;
  int sum = vmlane_sum(frame, l4 - addresses, addresses);
  __u16 partial, whole;

  if (sum < 0) return -1;
  partial = vmlane_fold((__u32)sum + VMLANE_BE16((__u16)length) + VMLANE_BE16((__u16)protocol));
  if (vmlane_store(frame, at, &partial, sizeof(partial))) return -1;
  sum = vmlane_sum(frame, l4, length);
  if (sum < 0) return -1;
  whole = (__u16)~sum;
  vmlane_complete(frame, at, partial, whole);
  return 0;
}

// The length fields and checksums of a UDP datagram that goes to the end of the frame, and of the IPv4 header
// below it.
VMLANE_PART int vmlane_finish_udp4(struct vmlane_frame* frame) {
  __u32 length = vmlane_length(frame);
  __be16 ip_length = VMLANE_BE16((__u16)(length - VMLANE_ETH_HEADER));
  __be16 udp_length = VMLANE_BE16((__u16)(length - VMLANE_L4_OF_IP4));
  __u16 checksum = 0;
  int sum;

  if (vmlane_store(frame, 16, &ip_length, sizeof(ip_length)) ||
      vmlane_store(frame, 24, &checksum, sizeof(checksum)))
    return -1;
  sum = vmlane_sum(frame, VMLANE_ETH_HEADER, VMLANE_IP4_HEADER);
  if (sum < 0) return -1;
  checksum = (__u16)~sum;
  if (vmlane_store(frame, 24, &checksum, sizeof(checksum)) ||
      vmlane_store(frame, 38, &udp_length, sizeof(udp_length)))
    return -1;
  return vmlane_finish_l4(frame, VMLANE_L4_OF_IP4, 40, 17);
}

VMLANE_PART int vmlane_finish_udp6(struct vmlane_frame* frame) {
  __be16 length = VMLANE_BE16((__u16)(vmlane_length(frame) - VMLANE_L4_OF_IP6));

  if (vmlane_store(frame, 18, &length, sizeof(length)) || vmlane_store(frame, 58, &length, sizeof(length)))
    return -1;
  return vmlane_finish_l4(frame, VMLANE_L4_OF_IP6, 60, 17);
}

// As much of the template as the client takes, with what is added to it; all of it when none is short enough.
VMLANE_INLINE __u32 vmlane_fitting(const struct vmlane_template* from, __u32 added, __u32 most) {
  if (!most || from->length + added <= most) return from->length;
  for (__u32 i = 0; i < VMLANE_TEMPLATE_CUTS; i++) {
    if (from->cuts[i] && from->cuts[i] + added <= most) return from->cuts[i];
  }
  return from->length;
}

// Makes the frame what `reply` says, in place: what is taken over from the request is moved to its place
// first, since the template is written over it. Returns 0, or -1 and leaves a frame that is good for nothing.
VMLANE_PART int vmlane_place(struct vmlane_frame* frame, struct vmlane_answers* answers,
                             struct vmlane_reply* reply) {
  __u32 kind, length;

  if (!answers || !reply) return -1;
  kind = reply->kind;
  if (kind >= VMLANE_TEMPLATES) return -1;
  length = vmlane_fitting(&answers->templates[kind], reply->echo_length + reply->extra, reply->most);
  if (!length || length > VMLANE_TEMPLATE_BYTES ||
      reply->echo_length > VMLANE_MOVE_STEP * VMLANE_MOVE_STEPS || reply->extra > VMLANE_MAX_EXTRA)
    return -1;
  reply->length = length + reply->echo_length + reply->extra;
  if (vmlane_length(frame) < reply->length && vmlane_resize(frame, reply->length)) return -1;
  if (reply->echo_length && vmlane_move(frame, reply->echo_at, length, reply->echo_length)) return -1;
  if (vmlane_length(frame) > reply->length && vmlane_resize(frame, reply->length)) return -1;
  length--;
  VMLANE_FORGET(length);
  if (length > VMLANE_TEMPLATE_BYTES - 1) return -1;
  return vmlane_store(frame, 0, answers->templates[kind].frame, length + 1) ? -1 : 0;
}

// Counts a frame by `which` and gives the verdict on.
VMLANE_INLINE int vmlane_count(struct vmlane_answers* answers, __u32 which, int verdict) {
  if (which < VMLANE_COUNTS) VMLANE_ADD(answers->counters[which]);
  return verdict;
}
