// SPDX-License-Identifier: Apache-2.0
// A frame in memory, for the rules of the guest answers outside the kernel. C, as the rules are.
#pragma once

#include <arpa/inet.h>
#include <linux/types.h>
#include <string.h>

#define VMLANE_PART static
#define VMLANE_INLINE static inline
#define VMLANE_FORGET(number) ((void)(number))
#define VMLANE_ADD(counter) __atomic_fetch_add(&(counter), 1, __ATOMIC_RELAXED)
#define VMLANE_BE16(number) htons(number)
#define VMLANE_BE32(number) htonl(number)

struct vmlane_frame {
  __u8* data;
  __u32 length;
  __u32 capacity;
};

VMLANE_INLINE __u32 vmlane_length(const struct vmlane_frame* frame) {
  return frame->length;
}

VMLANE_INLINE int vmlane_holds(const struct vmlane_frame* frame, __u32 at, __u32 length) {
  return at <= frame->length && length <= frame->length - at;
}

VMLANE_INLINE int vmlane_load(const struct vmlane_frame* frame, __u32 at, void* to, __u32 length) {
  if (!vmlane_holds(frame, at, length)) return -1;
  memcpy(to, frame->data + at, length);
  return 0;
}

VMLANE_INLINE int vmlane_store(struct vmlane_frame* frame, __u32 at, const void* from, __u32 length) {
  if (!vmlane_holds(frame, at, length)) return -1;
  memcpy(frame->data + at, from, length);
  return 0;
}

VMLANE_INLINE int vmlane_resize(struct vmlane_frame* frame, __u32 length) {
  if (length > frame->capacity) return -1;
  if (length > frame->length) memset(frame->data + frame->length, 0, length - frame->length);
  frame->length = length;
  return 0;
}

// Whoever holds frames in memory hands in plain ones.
VMLANE_INLINE int vmlane_is_special(const struct vmlane_frame* frame) {
  (void)frame;
  return 0;
}

// RFC 768: a sum of zero is sent as all ones.
VMLANE_INLINE void vmlane_complete(struct vmlane_frame* frame, __u32 at, __u16 partial, __u16 whole) {
  (void)partial;
  if (whole == 0) whole = 0xffff;
  vmlane_store(frame, at, &whole, sizeof(whole));
}
