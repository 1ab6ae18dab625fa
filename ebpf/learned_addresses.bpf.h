// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Addresses that a network gives out by itself: whose they are, and how the guard learns it where no IPAM
// plugin says so. A claim is by network, so that no workload learns an address that is another's.
#ifndef VMLANE_LEARNED_ADDRESSES_BPF_H
#define VMLANE_LEARNED_ADDRESSES_BPF_H

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>

#include "source_guard_layout.bpf.h"
#include "workload_layout.bpf.h"

#define VMLANE_NS 1000000000ull  // in a second
// What was learned by use is forgotten when it is not used for so long.
#define VMLANE_IDLE (3600 * VMLANE_NS)
#define VMLANE_MAPPED bpf_htonl(0xffff)

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, VMLANE_MAX_WORKLOADS + 1);
  __type(key, __u32);
  __type(value, struct vmlane_plain);
} vmlane_plains SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VMLANE_MAX_CLAIMS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct vmlane_network_address);
  __type(value, struct vmlane_claim);
} vmlane_claims SEC(".maps");

static __always_inline int vmlane_is_ipv4(const __be32* address) {
  return !address[0] && !address[1] && address[2] == VMLANE_MAPPED;
}

// One that a station may have: of IPv6 a global or unique local one, of IPv4 none of the groups or the
// loopback's.
static __always_inline int vmlane_may_be_learned(const __be32* address) {
  __u32 first = bpf_ntohl(address[0]) >> 24;
  __u32 first4 = bpf_ntohl(address[3]) >> 24;

  if (vmlane_is_ipv4(address)) return first4 != 0 && first4 != 127 && first4 < 224;
  return (first & 0xe0) == 0x20 || (first & 0xfe) == 0xfc;
}

// Whether the family's addresses are those that are known, and no others.
static __always_inline int vmlane_binds(const struct vmlane_guard* guard, int is_ipv4) {
  __u32 bound = guard->bound;

  if (guard->flags & (VMLANE_GUARD_ADDRESSES | VMLANE_GUARD_LEARN_FIRST)) return 1;
  if (is_ipv4) return bound & VMLANE_BOUND_IPV4;
  return (bound & (VMLANE_BOUND_IPV6 | VMLANE_AUTOCONF)) == VMLANE_BOUND_IPV6;
}

static __always_inline void vmlane_renew(struct vmlane_guard* guard, struct vmlane_claim* claim,
                                         __u64 until) {
  __u32 slot = claim->slot;

  claim->until = until;
  if (slot < VMLANE_GUARD_MAX_LEARNED) guard->learned[slot].until = until;
}

// Takes the claim of a slot back, if it is still the workload's. The stack is scarce: `scratch` is the
// caller's.
static __always_inline void vmlane_drop_claim(struct vmlane_guard* guard, __u32 slot, __u32 owner,
                                              struct vmlane_network_address* scratch) {
  struct vmlane_claim* claim;

  scratch->network = guard->network;
  __builtin_memcpy(scratch->address, guard->learned[slot].address, sizeof(scratch->address));
  claim = bpf_map_lookup_elem(&vmlane_claims, scratch);
  if (claim && claim->owner == owner && claim->slot == slot) bpf_map_delete_elem(&vmlane_claims, scratch);
}

// A verifier of Linux 6.1 takes a map's key from the stack and not from what a function was given: the three
// functions below copy it.

// Takes a slot for the address until then. 1: done, 0: the slot is in use, below 0: it cannot be had.
__noinline int vmlane_learn_in(struct vmlane_guard* guard, struct vmlane_network_address* address,
                               __u32 owner, __u32 slot, __u64 until) {
  struct vmlane_claim claim = {.owner = owner, .slot = slot, .until = until};
  struct vmlane_network_address key;
  struct vmlane_learned* learned;
  __u64 was;

  if (!guard || !address || slot >= VMLANE_GUARD_MAX_LEARNED) return -1;
  learned = &guard->learned[slot & (VMLANE_GUARD_MAX_LEARNED - 1)];
  was = learned->until;
  // One processor has the slot, and the others take it for used.
  if (was > bpf_ktime_get_boot_ns()) return 0;
  if (__sync_val_compare_and_swap(&learned->until, was, VMLANE_WITHOUT_END) != was) return 0;
  if (was) vmlane_drop_claim(guard, slot & (VMLANE_GUARD_MAX_LEARNED - 1), owner, &key);
  key = *address;
  __builtin_memcpy(learned->address, key.address, sizeof(learned->address));
  if (bpf_map_update_elem(&vmlane_claims, &key, &claim, BPF_ANY)) {
    learned->until = 0;
    return -1;
  }
  learned->until = until;
  return 1;
}

// Whether the address is the workload's from now on, until then: nobody else's, and there is room.
__noinline int vmlane_learn(struct vmlane_guard* guard, struct vmlane_network_address* address, __u32 owner,
                            __u64 until) {
  struct vmlane_network_address key;
  struct vmlane_claim* claim;

  if (!guard || !address || !vmlane_may_be_learned(address->address)) return 0;
  key = *address;
  claim = bpf_map_lookup_elem(&vmlane_claims, &key);
  if (claim && claim->until > bpf_ktime_get_boot_ns()) {
    if (claim->owner != owner) return 0;
    vmlane_renew(guard, claim, until);
    return 1;
  }
  for (__u32 slot = 0; slot < VMLANE_GUARD_MAX_LEARNED; slot++) {
    int done = vmlane_learn_in(guard, &key, owner, slot, until);

    if (done) return done > 0;
  }
  return 0;
}

// The jiffy before which an address that holds until then need not be looked at: early rather than late.
static __always_inline __u64 vmlane_look_at(__u64 now, __u64 until) {
  __u64 left = until > now ? (until - now) / VMLANE_NS : 0;

  if (left > 86400) left = 86400;
  return bpf_jiffies64() + left * (VMLANE_LEAST_HZ / 2);
}

// Lets the bulk of the traffic from a learned address take the short way.
static __always_inline void vmlane_make_plain(const struct vmlane_network_address* address, __u32 owner,
                                              __u64 until) {
  struct vmlane_plain* plain = bpf_map_lookup_elem(&vmlane_plains, &owner);
  __u64 look_at = vmlane_look_at(bpf_ktime_get_boot_ns(), until);

  if (!plain) return;
  if (plain->look_at <= bpf_jiffies64()) {  // what is known is no longer sure, of either family
    plain->ipv4 = 0;
    plain->ipv6[0] = 0;
    plain->look_at = VMLANE_LOOK_NEVER;
  }
  if (plain->look_at > look_at) plain->look_at = look_at;
  if (vmlane_is_ipv4(address->address)) {
    plain->ipv4 = address->address[3];
    return;
  }
  plain->ipv6[1] = address->address[1];
  plain->ipv6[2] = address->address[2];
  plain->ipv6[3] = address->address[3];
  plain->ipv6[0] = address->address[0];
}

// Whether the workload may use an address that neither an IPAM plugin nor a key names. While the family's
// addresses are not known it may use those that are nobody's.
__noinline int vmlane_may_use(struct vmlane_guard* guard, struct vmlane_network_address* address,
                              __u32 owner) {
  __u64 now = bpf_ktime_get_boot_ns();
  struct vmlane_network_address key;
  struct vmlane_claim* claim;
  __u64 until;

  if (!guard || !address) return 0;
  key = *address;
  claim = bpf_map_lookup_elem(&vmlane_claims, &key);
  if (claim && claim->until > now) {
    if (claim->owner != owner) return 0;
    until = claim->until;
    if (guard->flags & VMLANE_GUARD_LEARN_FIRST && until - now < VMLANE_IDLE / 2) {
      until = now + VMLANE_IDLE;
      vmlane_renew(guard, claim, until);
    }
  } else if (guard->flags & VMLANE_GUARD_LEARN_FIRST) {
    until = now + VMLANE_IDLE;
    if (!vmlane_learn(guard, &key, owner, until)) return 0;
  } else {
    return !vmlane_binds(guard, vmlane_is_ipv4(key.address));
  }
  vmlane_make_plain(&key, owner, until);
  return 1;
}

#endif
