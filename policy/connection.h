/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VMLANE_POLICY_CONNECTION_H
#define VMLANE_POLICY_CONNECTION_H

/*
 * The connections that an endpoint's policy has let through, so that their replies pass and a packet of a
 * known one is not judged again. Freestanding C17 that is C++ as well, for the kernel's programs and native
 * code.
 *
 * A table is an array of sets. A set has 8 entries of one line, and before them a line with a tag for each: a
 * packet of no connection has looked at that line alone. A connection is in the set that its hash says and
 * nowhere else. Nobody collects what has ended: an entry says when it was last used, and the next one that
 * needs room takes the place of one that is over. When all 8 are alive the place is taken from one
 * that was never answered, else from one that is closing, else from the one that is longest unused of those
 * that are no TCP connections; a TCP connection that is in use never gives its place. One endpoint has at
 * most 6 places of a set, so that nobody can fill the table for the others.
 *
 * Entries are found and taken without a lock. A place is claimed by its tag, which readers look at before and
 * after the rest; two writers of one connection at once may make it twice, of which one then runs out.
 */

#include "verdict.h"

/* NOLINTBEGIN(readability-identifier-naming,modernize-use-nullptr) */

enum {
  VMLANE_CONNECTION_WAYS = 8,
  VMLANE_CONNECTION_CAP = 6, /* of one endpoint, in a set */
  VMLANE_CONNECTION_FREE = 0,
  VMLANE_CONNECTION_WRITING = 1,
  VMLANE_CONNECTION_NO_RULE = 0xffff
};

/* Time is the kernel's monotonic clock, in ticks of 2^30 ns: a little more than a second. */
enum { VMLANE_CONNECTION_TICK_BITS = 30 };
#define VMLANE_CONNECTION_SECONDS(seconds) \
  (VMLANE_POLICY_CAST(uint32_t, ((seconds)*1000000000ULL) >> VMLANE_CONNECTION_TICK_BITS))

/* How long an entry lives after its last packet, in seconds. */
enum {
  VMLANE_LIFE_TCP_OPENING = 60,
  VMLANE_LIFE_TCP_OPEN = 7200,
  VMLANE_LIFE_TCP_HALF_CLOSED = 600,
  VMLANE_LIFE_TCP_CLOSED = 10,
  VMLANE_LIFE_ANSWERED = 180,
  VMLANE_LIFE_UNANSWERED = 30,
  VMLANE_LIFE_FRAGMENT = 30
};

/* What an entry is about. Fragments of a packet have its identification in the place of ports. */
enum { VMLANE_CONNECTION_V6 = 1, VMLANE_CONNECTION_FRAGMENTS = 2 };

enum { VMLANE_STATE_NEW = 0, VMLANE_STATE_OPEN = 1, VMLANE_STATE_HALF_CLOSED = 2, VMLANE_STATE_CLOSED = 3 };

/* Bits of vmlane_connection.flags. */
enum {
  VMLANE_CONNECTION_INGRESS = 1,  /* the peer opened it */
  VMLANE_CONNECTION_ANSWERED = 2, /* packets went in both directions */
  VMLANE_CONNECTION_BLOCKED = 4,  /* a change of policy denies it; kept, so that what its other end still
                                     sends is not taken for a new connection */
  VMLANE_CONNECTION_NODE = 8,     /* opened by the endpoint's own node */
  VMLANE_CONNECTION_FIN_OPENER = 16,
  VMLANE_CONNECTION_FIN_OTHER = 32
};

/* What tells a connection of an endpoint from its others. */
struct vmlane_connection_key {
  uint32_t owner; /* the endpoint; not 0 */
  uint32_t local[4];
  uint32_t remote[4];
  uint16_t local_port;
  uint16_t remote_port;
  uint8_t protocol;
  uint8_t kind; /* VMLANE_CONNECTION_V6, _FRAGMENTS */
  uint8_t reserved[2];
};

struct vmlane_connection { /* one line */
  uint32_t reserved;
  uint32_t owner;
  uint32_t local[4];
  uint32_t remote[4];
  uint16_t local_port;
  uint16_t remote_port;
  uint8_t protocol;
  uint8_t kind;
  uint8_t state;
  uint8_t flags;
  uint32_t used;       /* tick of the last packet */
  uint32_t generation; /* of the tables by which it was judged last */
  uint32_t policy;     /* the one that decided then */
  uint16_t rule;
  uint16_t port; /* the destination port that was judged */
};

struct vmlane_connection_set {
  uint32_t tag[VMLANE_CONNECTION_WAYS]; /* of each way: FREE, WRITING, or what its key's hash says */
  uint32_t reserved[VMLANE_CONNECTION_WAYS];
  struct vmlane_connection way[VMLANE_CONNECTION_WAYS];
};

static inline uint64_t vmlane_connection_pair(uint32_t low, uint32_t high) {
  return VMLANE_POLICY_CAST(uint64_t, high) << 32 | low;
}

static inline uint64_t vmlane_connection_mix(uint64_t hash, uint64_t words) {
  hash = (hash ^ words) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 32);
}

/* `seed` is the table's own, so that nobody outside can aim at one set. Two words a round: each waits for the
   one before. */
static inline uint32_t vmlane_connection_hash(const struct vmlane_connection_key* key, uint32_t seed) {
  const uint32_t ports = VMLANE_POLICY_CAST(uint32_t, key->local_port) << 16 | key->remote_port;
  const uint32_t kind = VMLANE_POLICY_CAST(uint32_t, key->protocol) << 8 | key->kind;
  uint64_t hash = vmlane_connection_pair(seed, ~seed);
  hash = vmlane_connection_mix(hash, vmlane_connection_pair(key->remote[0], key->local[0]));
  hash = vmlane_connection_mix(hash, vmlane_connection_pair(ports, key->owner ^ kind << 16));
  if (key->kind & VMLANE_CONNECTION_V6) {
    for (uint32_t word = 1; word < 4; word++)
      hash = vmlane_connection_mix(hash, vmlane_connection_pair(key->remote[word], key->local[word]));
  }
  return VMLANE_POLICY_CAST(uint32_t, hash);
}

/* Neither FREE nor WRITING. The set is told by the lower bits. */
static inline uint32_t vmlane_connection_tag(uint32_t hash) {
  return hash | 2;
}

static inline uint32_t vmlane_connection_read_tag(const struct vmlane_connection_set* set, uint32_t way) {
  return *VMLANE_POLICY_CAST(const volatile uint32_t*, &set->tag[way]);
}

static inline uint32_t vmlane_connection_is(const struct vmlane_connection* entry,
                                            const struct vmlane_connection_key* key) {
  if (entry->owner != key->owner) return 0;
  if (entry->local_port != key->local_port || entry->remote_port != key->remote_port) return 0;
  if (entry->protocol != key->protocol || entry->kind != key->kind) return 0;
  if (entry->remote[0] != key->remote[0] || entry->local[0] != key->local[0]) return 0;
  if (!(key->kind & VMLANE_CONNECTION_V6)) return 1;
  return entry->remote[1] == key->remote[1] && entry->remote[2] == key->remote[2] &&
         entry->remote[3] == key->remote[3] && entry->local[1] == key->local[1] &&
         entry->local[2] == key->local[2] && entry->local[3] == key->local[3];
}

/* In ticks. */
static inline uint32_t vmlane_connection_life(const struct vmlane_connection* entry) {
  if (entry->kind & VMLANE_CONNECTION_FRAGMENTS) return VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_FRAGMENT);
  if (entry->protocol != VMLANE_POLICY_TCP)
    return entry->flags & VMLANE_CONNECTION_ANSWERED ? VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_ANSWERED)
                                                     : VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_UNANSWERED);
  if (entry->state == VMLANE_STATE_CLOSED) return VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_TCP_CLOSED);
  if (entry->state == VMLANE_STATE_HALF_CLOSED) return VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_TCP_HALF_CLOSED);
  if (entry->state == VMLANE_STATE_OPEN) return VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_TCP_OPEN);
  return VMLANE_CONNECTION_SECONDS(VMLANE_LIFE_TCP_OPENING);
}

/* Ticks since an entry was used; another processor's clock may be one ahead. */
static inline uint32_t vmlane_connection_idle(const struct vmlane_connection* entry, uint32_t now) {
  const uint32_t idle = now - entry->used;
  return idle > 0x7fffffffU ? 0 : idle;
}

static inline uint32_t vmlane_connection_is_over(const struct vmlane_connection* entry, uint32_t now) {
  return vmlane_connection_idle(entry, now) > vmlane_connection_life(entry);
}

/* The entry of a connection that is still alive, or a null pointer. */
static inline struct vmlane_connection* vmlane_connection_find(struct vmlane_connection_set* set,
                                                               uint32_t tag,
                                                               const struct vmlane_connection_key* key,
                                                               uint32_t now) {
  for (uint32_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
    if (vmlane_connection_read_tag(set, way) != tag) continue;
    struct vmlane_connection* entry = &set->way[way];
    if (!vmlane_connection_is(entry, key) || vmlane_connection_is_over(entry, now)) continue;
    return vmlane_connection_read_tag(set, way) == tag ? entry : 0;
  }
  return 0;
}

/* How readily a living entry gives its place: 0 never. */
static inline uint32_t vmlane_connection_worth(const struct vmlane_connection* entry) {
  if (!(entry->flags & VMLANE_CONNECTION_ANSWERED) || entry->flags & VMLANE_CONNECTION_BLOCKED) return 3;
  if (entry->protocol != VMLANE_POLICY_TCP) return 1;
  return entry->state == VMLANE_STATE_OPEN || entry->state == VMLANE_STATE_NEW ? 0 : 2;
}

/* How good a place is to take: 0 not at all, and all that is over before anything that is alive. */
static inline uint32_t vmlane_connection_score(const struct vmlane_connection_set* set, uint32_t way,
                                               uint32_t now) {
  const struct vmlane_connection* entry = &set->way[way];
  const uint32_t tag = vmlane_connection_read_tag(set, way);
  if (tag == VMLANE_CONNECTION_FREE) return 0xffffffffU;
  if (tag == VMLANE_CONNECTION_WRITING) return 0;
  if (vmlane_connection_is_over(entry, now)) return 0xfffffffeU;
  const uint32_t worth = vmlane_connection_worth(entry);
  if (!worth) return 0;
  const uint32_t idle = vmlane_connection_idle(entry, now);
  return worth << 24 | (idle > 0xffffffU ? 0xffffffU : idle);
}

/* Where a place is chosen. In memory: the kernel's verifier would follow each way that numbers in registers
   can take. */
struct vmlane_connection_choice {
  uint32_t held; /* places that are the owner's already */
  uint32_t way;
  uint32_t score;
};

/* Claims the best place for a new connection: its way, or WAYS when there is none. Its tag is WRITING then.
 */
static inline uint32_t vmlane_connection_claim(struct vmlane_connection_set* set, uint32_t owner,
                                               uint32_t now,
                                               volatile struct vmlane_connection_choice* choice) {
  choice->held = 0;
  choice->way = 0;
  choice->score = 0;
  for (uint32_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
    const struct vmlane_connection* entry = &set->way[way];
    if (vmlane_connection_read_tag(set, way) < 2 || entry->owner != owner) continue;
    if (!vmlane_connection_is_over(entry, now)) choice->held = choice->held + 1;
  }
  const uint32_t own_only = choice->held >= VMLANE_CONNECTION_CAP;
  for (uint32_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
    const uint32_t score = vmlane_connection_score(set, way, now);
    if (own_only && (score >= 0xfffffffeU || set->way[way].owner != owner)) continue;
    if (score <= choice->score) continue;
    choice->score = score;
    choice->way = way;
  }
  if (!choice->score) return VMLANE_CONNECTION_WAYS;
  const uint32_t best = choice->way & (VMLANE_CONNECTION_WAYS - 1);
  const uint32_t was = vmlane_connection_read_tag(set, best);
  if (was == VMLANE_CONNECTION_WRITING) return VMLANE_CONNECTION_WAYS;
  if (__sync_val_compare_and_swap(&set->tag[best], was, VMLANE_CONNECTION_WRITING) == was) return best;
  return VMLANE_CONNECTION_WAYS;
}

/* Fills a claimed place; its state is NEW. */
static inline void vmlane_connection_fill(struct vmlane_connection* entry,
                                          const struct vmlane_connection_key* key, uint32_t flags,
                                          uint32_t now) {
  entry->owner = key->owner;
  for (uint32_t word = 0; word < 4; word++) {
    entry->local[word] = key->local[word];
    entry->remote[word] = key->remote[word];
  }
  entry->local_port = key->local_port;
  entry->remote_port = key->remote_port;
  entry->protocol = key->protocol;
  entry->kind = key->kind;
  entry->state = VMLANE_STATE_NEW;
  entry->flags = VMLANE_POLICY_CAST(uint8_t, flags);
  entry->used = now;
}

/* Lets others see a place that is filled. */
static inline void vmlane_connection_show(struct vmlane_connection_set* set, uint32_t way, uint32_t tag) {
  (void)__sync_val_compare_and_swap(&set->tag[way], VMLANE_CONNECTION_WRITING, tag);
}

static inline uint32_t vmlane_connection_is_reply(const struct vmlane_connection* entry, uint32_t direction) {
  return (entry->flags & VMLANE_CONNECTION_INGRESS ? VMLANE_POLICY_INGRESS : VMLANE_POLICY_EGRESS) !=
         direction;
}

/* How TCP goes on by a packet: it is open when the opener has answered the answer. */
static inline uint32_t vmlane_connection_tcp(uint32_t state, uint32_t flags, uint32_t is_reply,
                                             uint32_t tcp_flags) {
  if (tcp_flags & 4 /* RST */) return VMLANE_STATE_CLOSED;
  if (state == VMLANE_STATE_CLOSED) return state;
  const uint32_t both = VMLANE_CONNECTION_FIN_OPENER | VMLANE_CONNECTION_FIN_OTHER;
  if ((flags & both) == both) return VMLANE_STATE_CLOSED;
  if (flags & both) return VMLANE_STATE_HALF_CLOSED;
  if (state == VMLANE_STATE_NEW && !is_reply && flags & VMLANE_CONNECTION_ANSWERED &&
      !(tcp_flags & 2 /* SYN */))
    return VMLANE_STATE_OPEN;
  return state;
}

/* A packet of the connection passes. Writes only what changes: other processors have the line too. */
static inline void vmlane_connection_note(struct vmlane_connection* entry, uint32_t direction,
                                          uint32_t tcp_flags, uint32_t now) {
  const uint32_t is_reply = vmlane_connection_is_reply(entry, direction);
  uint32_t flags = entry->flags;
  if (is_reply) flags |= VMLANE_CONNECTION_ANSWERED;
  if (entry->protocol == VMLANE_POLICY_TCP) {
    if (tcp_flags & 1 /* FIN */)
      flags |= is_reply ? VMLANE_CONNECTION_FIN_OTHER : VMLANE_CONNECTION_FIN_OPENER;
    const uint32_t state = vmlane_connection_tcp(entry->state, flags, is_reply, tcp_flags);
    if (state != entry->state) entry->state = VMLANE_POLICY_CAST(uint8_t, state);
  }
  if (flags != entry->flags) entry->flags = VMLANE_POLICY_CAST(uint8_t, flags);
  if (now != entry->used) entry->used = now;
}

/* NOLINTEND(readability-identifier-naming,modernize-use-nullptr) */

#endif
