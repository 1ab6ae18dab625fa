/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VMLANE_POLICY_VERDICT_H
#define VMLANE_POLICY_VERDICT_H

/*
 * The verdict on a new connection, over tables that the compiler made. Freestanding C17 that is C++ as well:
 * no library, no pointer in the tables, loops of bounded length, no compiler builtins (clang crashes on some
 * of them for the BPF target). The same bytes serve the kernel's programs and native code; how a byte is
 * reached is the one thing that differs, in vmlane_policy_at().
 *
 * Layout: one block of little-endian 4-byte and 8-byte numbers. Every offset counts bytes from its start; 0
 * means "none". No structure, and nothing that is read at once, crosses a line of 64 bytes, so that an array
 * map with elements of one line can hold the block. A reader refuses another major version; a minor version
 * only adds what older readers may ignore.
 *
 * Readers run while the block changes (contracts 3.6 and 3.7; store.h has the writer's side). What a reader
 * may meet changing is one aligned number that it loads at once: the state and the peer of a slot, an entry
 * of a node, the class of a group, which facts of an endpoint are active. Everything else stays as it is for
 * as long as anything leads to it.
 *
 * An address leads to a peer group: the set of peers that no rule of the whole block tells apart. Exact
 * addresses are in a hash of slots, all others in a trie of 4 bits a step, one for each family. An endpoint
 * (a pod on a network) has a profile for each direction. The profile gives each group a class of peers and
 * each port a class of ports; a class is a row with one bit for each rule that it meets. The first bit that
 * both rows have is the rule that decides: rules stand in the order in which they are asked, first those of
 * the Admin tier, then those of NetworkPolicies, or else of the Baseline tier.
 *
 * A policy in audit allows what it allows, but denies nothing. Where an endpoint has such policies, a second
 * profile says what holds without their denials; it is asked only about what the first one denies, so that
 * audit costs nothing where nothing is denied.
 */

#ifdef __bpf__ /* the target has no stdint.h of its own; bpf_helpers.h is included before */
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
#else
#include <stdint.h>
#endif

/* C has other names, and no nullptr. */
/* NOLINTBEGIN(readability-identifier-naming,modernize-use-nullptr) */

#ifdef __cplusplus
#define VMLANE_POLICY_CAST(type, value) (static_cast<type>(value))
#else
#define VMLANE_POLICY_CAST(type, value) ((type)(value))
#endif

/* A number that may change meanwhile. What it leads to was written before it. */
#ifdef __bpf__
#define VMLANE_POLICY_LOAD(at) (*(const volatile __typeof__(*(at))*)(at))
#else
#define VMLANE_POLICY_LOAD(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
#endif

enum {
  VMLANE_POLICY_MAGIC = 0x4c4e4d56, /* "VMNL" */
  VMLANE_POLICY_MAJOR = 1,
  VMLANE_POLICY_MINOR = 1, /* 1: audit, before which everything was enforced */
  VMLANE_POLICY_LINE = 64,
  VMLANE_POLICY_MAX_RULES = 10240,
  VMLANE_POLICY_MAX_CLASSES = 65535,
  VMLANE_POLICY_PLAIN_WORDS = 8, /* rows with more words than these (512 rules) have a summary */
  VMLANE_POLICY_MAX_WORDS = VMLANE_POLICY_MAX_RULES / 64,
  VMLANE_POLICY_MAX_SUMMARY = (VMLANE_POLICY_MAX_WORDS + 63) / 64,
  VMLANE_POLICY_MAX_PROBES = 16, /* slots; the compiler makes the hash as large as that takes */
  VMLANE_POLICY_PAGE = 256,      /* ports, and pages */
  VMLANE_POLICY_EVERYTHING = 1,  /* in the place of a profile: it denies nothing */
  VMLANE_POLICY_NO_RULE = 0x7fffffff
};

enum { VMLANE_POLICY_EGRESS = 0, VMLANE_POLICY_INGRESS = 1 };
enum { VMLANE_POLICY_ACCEPT = 0, VMLANE_POLICY_DENY = 1, VMLANE_POLICY_PASS = 2 };
enum { VMLANE_POLICY_TCP = 6, VMLANE_POLICY_UDP = 17, VMLANE_POLICY_SCTP = 132 };

/* Why a verdict is as it is. */
enum {
  VMLANE_POLICY_NOT_ISOLATED = 0,
  VMLANE_POLICY_BY_RULE = 1,
  VMLANE_POLICY_ISOLATED = 2,
  VMLANE_POLICY_OWN_NODE = 3,
  VMLANE_POLICY_BROKEN = 4,    /* the pod's object cannot be read */
  VMLANE_POLICY_TOO_LARGE = 5, /* the pod's policies are past a limit */
  VMLANE_POLICY_BAD_TABLES = 6 /* an offset leads out of the block */
};

struct vmlane_policy_header { /* at offset 0 */
  uint32_t magic;
  uint16_t major;
  uint16_t minor;
  uint32_t size; /* of the block */
  uint32_t endpoints;
  uint32_t endpoint_count;
  uint32_t slots;
  uint32_t slot_mask; /* number of slots, a power of two, minus one */
  uint32_t trie;      /* offset of node 0 */
  uint32_t root_v4;   /* entries like those of a node */
  uint32_t root_v6;
  uint32_t group_count;
  uint32_t reserved[5];
};

struct vmlane_policy_slot { /* linear probing */
  uint32_t state;           /* VMLANE_POLICY_SLOT_* */
  uint32_t where;           /* the network times two, plus one for IPv6 */
  uint32_t address[4];      /* the first 4 bytes in [0], most significant first; IPv4 has only these */
  uint64_t peer;            /* group; in the upper half the node whose address it is, 0 for none */
};
enum {
  VMLANE_POLICY_SLOT_FREE = 0, /* and no address is further on */
  VMLANE_POLICY_SLOT_USED = 1,
  VMLANE_POLICY_SLOT_PASSED = 2 /* nobody's; go on */
};

struct vmlane_policy_node { /* an entry with bit 31 is a group, else the number of a node */
  uint32_t entry[16];
};

struct vmlane_policy_facts {
  uint32_t node;       /* on which the endpoint runs, 0 when that is not known */
  uint32_t group;      /* its own, while it has no address */
  uint32_t profile[2]; /* by direction; 0 when nothing is said about it */
};

/* With the facts of the same number: the profile by direction without the denials of policies in audit, or
   VMLANE_POLICY_EVERYTHING; 0 when none is in audit. */
struct vmlane_policy_relaxed {
  uint32_t profile[2];
};

struct vmlane_policy_endpoint { /* one line */
  uint32_t network;
  uint32_t active; /* which of the facts hold; the others may be changing */
  struct vmlane_policy_facts facts[2];
  struct vmlane_policy_relaxed relaxed[2];
  uint32_t reserved[2];
};

struct vmlane_policy_profile {
  uint32_t flags; /* VMLANE_POLICY_PROFILE_* */
  uint32_t rule_count;
  uint32_t admin_count; /* how many rules are of the Admin tier */
  uint32_t words;       /* of a row without its summary */
  uint32_t summary;     /* words of the summary, which follows the row; one bit a word that is not 0 */
  uint32_t peer_rows;
  uint32_t port_rows;
  uint32_t groups;   /* class of each group: 2 bytes each, or a hash, see group_mask */
  uint32_t pages[3]; /* TCP, UDP, SCTP: 256 numbers of pages, then pages of 256 classes, 2 bytes each */
  uint32_t any_port; /* class of what has no ports, and of a protocol without pages */
  uint32_t rules;
  uint32_t isolated_by; /* policy that isolates first; or the one that is too large */
  uint32_t group_count; /* later groups, and those that the hash has not, are of class 0 */
  uint32_t group_mask;  /* 0, or entries of the hash, a power of two, minus one */
};
enum {
  VMLANE_POLICY_PROFILE_ISOLATED = 1,
  VMLANE_POLICY_PROFILE_TOO_LARGE = 2,
  VMLANE_POLICY_PROFILE_BROKEN = 4 /* of endpoints that are not there, or whose objects cannot be read */
};

struct vmlane_policy_rule {
  uint32_t policy;
  uint16_t index; /* in the policy's list */
  uint8_t action;
  uint8_t tier;
};

/* An entry of a profile's hash of groups, with linear probing. */
struct vmlane_policy_group_class {
  uint64_t both; /* group plus one, 0 for a free entry; in the upper half its class */
};

#ifdef __bpf__
struct vmlane_policy_tables {
  void* lines;   /* an array map with elements of one line */
  uint32_t slot; /* where a map of maps has it */
};
#else
struct vmlane_policy_tables {
  const void* base;
  uint32_t size;
};
#endif

struct vmlane_policy_peer {
  uint32_t group;
  uint32_t node;
  uint32_t exact; /* the address is somebody's */
};

struct vmlane_policy_question {
  uint32_t endpoint;
  uint32_t group;    /* of the peer */
  uint32_t own_node; /* the peer is the node that the endpoint is on */
  uint16_t port;     /* destination port, 0 for protocols without */
  uint8_t protocol;
  uint8_t direction;
};

struct vmlane_policy_answer {
  uint32_t allowed;
  uint32_t reason;
  uint32_t policy; /* for BY_RULE, ISOLATED and TOO_LARGE */
  uint32_t rule;   /* index in the policy's list, or NO_RULE */
};

/* The bytes at `offset`, or a null pointer when they are not all in the block. `size` divides 64. */
static inline const void* vmlane_policy_at(const struct vmlane_policy_tables* tables, uint32_t offset,
                                           uint32_t size) {
#ifdef __bpf__
  const uint32_t index = offset / VMLANE_POLICY_LINE;
  const uint8_t* line = VMLANE_POLICY_CAST(const uint8_t*, bpf_map_lookup_elem(tables->lines, &index));
  if (!line || (offset & (size - 1)) != 0) return 0;
  return line + (offset & (VMLANE_POLICY_LINE - size));
#else
  if (offset >= tables->size || tables->size - offset < size || (offset & (size - 1)) != 0) return 0;
  return VMLANE_POLICY_CAST(const uint8_t*, tables->base) + offset;
#endif
}

static inline uint32_t vmlane_policy_u16(const struct vmlane_policy_tables* tables, uint32_t offset,
                                         uint32_t missing) {
  const void* at = vmlane_policy_at(tables, offset, sizeof(uint16_t));
  return at ? VMLANE_POLICY_LOAD(VMLANE_POLICY_CAST(const uint16_t*, at)) : missing;
}

static inline uint64_t vmlane_policy_u64(const struct vmlane_policy_tables* tables, uint32_t offset) {
  const void* at = vmlane_policy_at(tables, offset, sizeof(uint64_t));
  return at ? *VMLANE_POLICY_CAST(const uint64_t*, at) : 0;
}

static inline const struct vmlane_policy_header* vmlane_policy_header_of(
    const struct vmlane_policy_tables* tables) {
  const struct vmlane_policy_header* header = VMLANE_POLICY_CAST(
      const struct vmlane_policy_header*, vmlane_policy_at(tables, 0, sizeof(struct vmlane_policy_header)));
  if (!header || header->magic != VMLANE_POLICY_MAGIC || header->major != VMLANE_POLICY_MAJOR) return 0;
  return header;
}

/* Number of the lowest bit that is set; `value` is not 0. */
static inline uint32_t vmlane_policy_first_bit(uint64_t value) {
#ifdef __bpf__
  /* Without a branch, of which the verifier would follow both sides each time. A de Bruijn sequence has every
     number of 6 bits once. The compiler must not see what this is. */
  static const uint8_t numbers[64] = {0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28,
                                      62, 5,  39, 46, 44, 42, 22, 9,  24, 35, 59, 56, 49, 18, 29, 11,
                                      63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10,
                                      51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12};
  uint64_t place = (value & -value) * 0x022fdd63cc95386dULL;
  __asm__ volatile("" : "+r"(place));
  return numbers[place >> 58];
#else
  uint32_t bit = 0;
  if (!(value & 0xffffffffULL)) {
    bit += 32;
    value >>= 32;
  }
  if (!(value & 0xffffULL)) {
    bit += 16;
    value >>= 16;
  }
  if (!(value & 0xffULL)) {
    bit += 8;
    value >>= 8;
  }
  if (!(value & 0xfULL)) {
    bit += 4;
    value >>= 4;
  }
  if (!(value & 0x3ULL)) {
    bit += 2;
    value >>= 2;
  }
  return bit + !(value & 1ULL);
#endif
}

/* The bits of word `word` that are at or above bit `start` of the row. */
static inline uint64_t vmlane_policy_from(uint32_t word, uint32_t start) {
  if (word * 64 + 63 < start) return 0;
  if (word * 64 >= start) return ~0ULL;
  return ~0ULL << (start & 63);
}

/* Two rows, of peers and of ports, by their offsets; and from which rule on they are looked at. */
struct vmlane_policy_rows {
  uint32_t peer;
  uint32_t port;
  uint32_t words;
  uint32_t summary;
  uint32_t start;
};

static inline uint64_t vmlane_policy_both(const struct vmlane_policy_tables* tables,
                                          const struct vmlane_policy_rows* rows, uint32_t word) {
  return vmlane_policy_u64(tables, rows->peer + word * 8) & vmlane_policy_u64(tables, rows->port + word * 8);
}

/* First rule at or after `start` that both rows have, or NO_RULE. */
static inline uint32_t vmlane_policy_scan(const struct vmlane_policy_tables* tables,
                                          const struct vmlane_policy_rows* rows) {
  if (rows->summary == 0) {
    for (uint32_t word = 0; word < VMLANE_POLICY_PLAIN_WORDS && word < rows->words; word++) {
      const uint64_t both = vmlane_policy_both(tables, rows, word) & vmlane_policy_from(word, rows->start);
      if (both) return word * 64 + vmlane_policy_first_bit(both);
    }
    return VMLANE_POLICY_NO_RULE;
  }
  for (uint32_t part = 0; part < VMLANE_POLICY_MAX_SUMMARY && part < rows->summary; part++) {
    uint64_t words =
        vmlane_policy_both(tables, rows, rows->words + part) & vmlane_policy_from(part, rows->start / 64);
    for (uint32_t turn = 0; turn < 64 && words; turn++) {
      const uint32_t word = part * 64 + vmlane_policy_first_bit(words);
      const uint64_t both = vmlane_policy_both(tables, rows, word) & vmlane_policy_from(word, rows->start);
      if (both) return word * 64 + vmlane_policy_first_bit(both);
      words &= words - 1;
    }
  }
  return VMLANE_POLICY_NO_RULE;
}

#ifdef __bpf__
/* The same as a function of the program, which the kernel's verifier proves by itself. */
int vmlane_policy_scan_slot(uint32_t slot, struct vmlane_policy_rows* rows);
#define VMLANE_POLICY_SCAN(tables, rows) vmlane_policy_scan_slot((tables)->slot, rows)
#else
#define VMLANE_POLICY_SCAN(tables, rows) vmlane_policy_scan(tables, rows)
#endif

static inline uint32_t vmlane_policy_mix(uint32_t hash, uint32_t word) {
  hash = (hash ^ word) * 0x9e3779b1U;
  return hash ^ (hash >> 15);
}

static inline uint32_t vmlane_policy_hash(uint32_t where, const uint32_t* address) {
  uint32_t hash = vmlane_policy_mix(where, address[0]);
  if (where & 1) {
    hash = vmlane_policy_mix(hash, address[1]);
    hash = vmlane_policy_mix(hash, address[2]);
    hash = vmlane_policy_mix(hash, address[3]);
  }
  return vmlane_policy_mix(hash, hash >> 16);
}

/* The group of an address that is nobody's: that of the longest block with it. */
static inline uint32_t vmlane_policy_block(const struct vmlane_policy_tables* tables,
                                           const struct vmlane_policy_header* header, uint32_t v6,
                                           const uint32_t* address) {
  uint32_t entry = v6 ? header->root_v6 : header->root_v4;
  const uint32_t leaf = 0x80000000U;
  for (uint32_t step = 0; step < 32; step++) {
    if (entry & leaf) return entry & ~leaf;
    const uint32_t nibble = (address[step / 8] >> (28 - 4 * (step % 8))) & 15;
    const struct vmlane_policy_node* node = VMLANE_POLICY_CAST(
        const struct vmlane_policy_node*, vmlane_policy_at(tables, header->trie + entry * VMLANE_POLICY_LINE,
                                                           sizeof(struct vmlane_policy_node)));
    if (!node) return 0;
    entry = VMLANE_POLICY_LOAD(&node->entry[nibble]);
  }
  return entry & leaf ? entry & ~leaf : 0;
}

/* Who has `address` on `network`: address words as in a slot. `header` is that of the tables. */
static inline struct vmlane_policy_peer vmlane_policy_peer_in(const struct vmlane_policy_tables* tables,
                                                              const struct vmlane_policy_header* header,
                                                              uint32_t network, uint32_t v6,
                                                              const uint32_t* address) {
  struct vmlane_policy_peer peer = {0, 0, 0};
  const uint32_t where = network * 2 + v6;
  const uint32_t hash = vmlane_policy_hash(where, address);
  for (uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES; probe++) {
    const uint32_t index = (hash + probe) & header->slot_mask;
    const struct vmlane_policy_slot* slot = VMLANE_POLICY_CAST(
        const struct vmlane_policy_slot*,
        vmlane_policy_at(tables, header->slots + index * 32, sizeof(struct vmlane_policy_slot)));
    if (!slot) break;
    const uint32_t state = VMLANE_POLICY_LOAD(&slot->state);
    if (state == VMLANE_POLICY_SLOT_FREE) break;
    if (state != VMLANE_POLICY_SLOT_USED || slot->where != where || slot->address[0] != address[0]) continue;
    if (v6 &&
        (slot->address[1] != address[1] || slot->address[2] != address[2] || slot->address[3] != address[3]))
      continue;
    const uint64_t known = VMLANE_POLICY_LOAD(&slot->peer);
    peer.group = VMLANE_POLICY_CAST(uint32_t, known);
    peer.node = VMLANE_POLICY_CAST(uint32_t, known >> 32);
    peer.exact = 1;
    return peer;
  }
  peer.group = vmlane_policy_block(tables, header, v6, address);
  return peer;
}

/* The same, where the header was not looked up before. */
static inline struct vmlane_policy_peer vmlane_policy_find_peer(const struct vmlane_policy_tables* tables,
                                                                uint32_t network, uint32_t v6,
                                                                const uint32_t* address) {
  const struct vmlane_policy_peer nobody = {0, 0, 0};
  const struct vmlane_policy_header* header = vmlane_policy_header_of(tables);
  return header ? vmlane_policy_peer_in(tables, header, network, v6, address) : nobody;
}

static inline uint32_t vmlane_policy_group_hash(uint32_t group) {
  return vmlane_policy_mix(0, group);
}

/* The class of a group of peers. */
static inline uint32_t vmlane_policy_peer_class(const struct vmlane_policy_tables* tables,
                                                const struct vmlane_policy_profile* profile, uint32_t group) {
  if (group >= profile->group_count) return 0;
  if (!profile->group_mask) return vmlane_policy_u16(tables, profile->groups + group * 2, 0);
  const uint32_t hash = vmlane_policy_group_hash(group);
  for (uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES; probe++) {
    const uint32_t index = (hash + probe) & profile->group_mask;
    const struct vmlane_policy_group_class* entry = VMLANE_POLICY_CAST(
        const struct vmlane_policy_group_class*,
        vmlane_policy_at(tables, profile->groups + index * 8, sizeof(struct vmlane_policy_group_class)));
    if (!entry) return 0;
    const uint64_t both = VMLANE_POLICY_LOAD(&entry->both);
    if (!both) return 0;
    if (VMLANE_POLICY_CAST(uint32_t, both) == group + 1) return VMLANE_POLICY_CAST(uint32_t, both >> 32);
  }
  return 0;
}

/* The class of a port: of what the profile says for the protocol, else of what has no ports. */
static inline uint32_t vmlane_policy_port_class(const struct vmlane_policy_tables* tables,
                                                const struct vmlane_policy_profile* profile,
                                                uint32_t protocol, uint32_t port) {
  uint32_t pages = 0;
  if (protocol == VMLANE_POLICY_TCP) pages = profile->pages[0];
  if (protocol == VMLANE_POLICY_UDP) pages = profile->pages[1];
  if (protocol == VMLANE_POLICY_SCTP) pages = profile->pages[2];
  if (!pages) return profile->any_port;
  const uint32_t missing = VMLANE_POLICY_MAX_CLASSES;
  const uint32_t page = vmlane_policy_u16(tables, pages + (port >> 8) * 2, missing);
  return vmlane_policy_u16(tables, pages + ((page + 1) * VMLANE_POLICY_PAGE + (port & 255)) * 2, missing);
}

static inline const struct vmlane_policy_rule* vmlane_policy_rule_at(
    const struct vmlane_policy_tables* tables, const struct vmlane_policy_profile* profile, uint32_t rule) {
  return VMLANE_POLICY_CAST(
      const struct vmlane_policy_rule*,
      vmlane_policy_at(tables, profile->rules + rule * 8, sizeof(struct vmlane_policy_rule)));
}

static inline struct vmlane_policy_answer vmlane_policy_say(uint32_t allowed, uint32_t reason,
                                                            uint32_t policy, uint32_t rule) {
  struct vmlane_policy_answer answer = {allowed, reason, policy, rule};
  return answer;
}

static inline struct vmlane_policy_answer vmlane_policy_ask_profile(
    const struct vmlane_policy_tables* tables, const struct vmlane_policy_profile* profile,
    const struct vmlane_policy_question* question) {
  const uint32_t none = VMLANE_POLICY_NO_RULE;
  const uint32_t peer_class = vmlane_policy_peer_class(tables, profile, question->group);
  const uint32_t port_class = vmlane_policy_port_class(tables, profile, question->protocol, question->port);
  const uint32_t bytes = (profile->words + profile->summary) * 8;
  struct vmlane_policy_rows rows = {profile->peer_rows + peer_class * bytes,
                                    profile->port_rows + port_class * bytes, profile->words, profile->summary,
                                    0};
  for (uint32_t turn = 0; turn < 2; turn++) { /* the second turn follows a Pass of the Admin tier */
    const uint32_t found = VMLANE_POLICY_CAST(uint32_t, VMLANE_POLICY_SCAN(tables, &rows));
    if (question->own_node && (found >= profile->admin_count || found >= profile->rule_count))
      return vmlane_policy_say(1, VMLANE_POLICY_OWN_NODE, 0, none);
    if (found >= profile->rule_count) break;
    const struct vmlane_policy_rule* rule = vmlane_policy_rule_at(tables, profile, found);
    if (!rule) return vmlane_policy_say(0, VMLANE_POLICY_BAD_TABLES, 0, none);
    if (rule->action != VMLANE_POLICY_PASS || found >= profile->admin_count)
      return vmlane_policy_say(rule->action != VMLANE_POLICY_DENY, VMLANE_POLICY_BY_RULE, rule->policy,
                               rule->index);
    rows.start = profile->admin_count;
  }
  if (profile->flags & VMLANE_POLICY_PROFILE_ISOLATED)
    return vmlane_policy_say(0, VMLANE_POLICY_ISOLATED, profile->isolated_by, none);
  return vmlane_policy_say(1, VMLANE_POLICY_NOT_ISOLATED, 0, none);
}

static inline const struct vmlane_policy_endpoint* vmlane_policy_endpoint_in(
    const struct vmlane_policy_tables* tables, const struct vmlane_policy_header* header, uint32_t number) {
  if (number >= header->endpoint_count) return 0;
  return VMLANE_POLICY_CAST(const struct vmlane_policy_endpoint*,
                            vmlane_policy_at(tables, header->endpoints + number * VMLANE_POLICY_LINE,
                                             sizeof(struct vmlane_policy_endpoint)));
}

static inline const struct vmlane_policy_endpoint* vmlane_policy_endpoint_of(
    const struct vmlane_policy_tables* tables, uint32_t number) {
  const struct vmlane_policy_header* header = vmlane_policy_header_of(tables);
  return header ? vmlane_policy_endpoint_in(tables, header, number) : 0;
}

/* Which of an endpoint's facts hold now. */
static inline uint32_t vmlane_policy_active(const struct vmlane_policy_endpoint* endpoint) {
  return VMLANE_POLICY_LOAD(&endpoint->active) & 1;
}

/* What holds for an endpoint now, or a null pointer. */
static inline const struct vmlane_policy_facts* vmlane_policy_facts_of(
    const struct vmlane_policy_tables* tables, uint32_t number) {
  const struct vmlane_policy_endpoint* endpoint = vmlane_policy_endpoint_of(tables, number);
  if (!endpoint) return 0;
  return &endpoint->facts[vmlane_policy_active(endpoint)];
}

/* The verdict of one end on a new connection, by what its profile says: `offset` is that of the profile for
   the question's direction, 0 when it has none. */
static inline struct vmlane_policy_answer vmlane_policy_judge_by(
    const struct vmlane_policy_tables* tables, uint32_t offset,
    const struct vmlane_policy_question* question) {
  const uint32_t none = VMLANE_POLICY_NO_RULE;
  if (question->own_node && question->direction == VMLANE_POLICY_INGRESS)
    return vmlane_policy_say(1, VMLANE_POLICY_OWN_NODE, 0, none);
  if (!offset)
    return vmlane_policy_say(1, question->own_node ? VMLANE_POLICY_OWN_NODE : VMLANE_POLICY_NOT_ISOLATED, 0,
                             none);
  const struct vmlane_policy_profile* profile =
      VMLANE_POLICY_CAST(const struct vmlane_policy_profile*,
                         vmlane_policy_at(tables, offset, sizeof(struct vmlane_policy_profile)));
  if (!profile) return vmlane_policy_say(0, VMLANE_POLICY_BAD_TABLES, 0, none);
  if (profile->flags & (VMLANE_POLICY_PROFILE_TOO_LARGE | VMLANE_POLICY_PROFILE_BROKEN)) {
    if (question->own_node) return vmlane_policy_say(1, VMLANE_POLICY_OWN_NODE, 0, none);
    if (profile->flags & VMLANE_POLICY_PROFILE_BROKEN)
      return vmlane_policy_say(0, VMLANE_POLICY_BROKEN, 0, none);
    return vmlane_policy_say(0, VMLANE_POLICY_TOO_LARGE, profile->isolated_by, none);
  }
  return vmlane_policy_ask_profile(tables, profile, question);
}

/* Whether a denial may be one of policies in audit alone, so that the relaxed profile is asked. */
static inline uint32_t vmlane_policy_may_relax(const struct vmlane_policy_answer* answer, uint32_t relaxed) {
  return relaxed && !answer->allowed && answer->reason != VMLANE_POLICY_BROKEN &&
         answer->reason != VMLANE_POLICY_BAD_TABLES;
}

/* The verdict without the denials of policies in audit, by the relaxed profile. */
static inline struct vmlane_policy_answer vmlane_policy_judge_relaxed(
    const struct vmlane_policy_tables* tables, uint32_t relaxed,
    const struct vmlane_policy_question* question) {
  return vmlane_policy_judge_by(tables, relaxed == VMLANE_POLICY_EVERYTHING ? 0 : relaxed, question);
}

/* The verdict by the endpoint that the question names, and in `would` the verdict with everything in force,
   which is another one where only policies in audit deny. */
static inline struct vmlane_policy_answer vmlane_policy_judge_audited(
    const struct vmlane_policy_tables* tables, const struct vmlane_policy_question* question,
    struct vmlane_policy_answer* would) {
  const struct vmlane_policy_endpoint* endpoint = vmlane_policy_endpoint_of(tables, question->endpoint);
  *would = vmlane_policy_say(0, VMLANE_POLICY_BAD_TABLES, 0, VMLANE_POLICY_NO_RULE);
  if (!endpoint) return *would;
  const uint32_t active = vmlane_policy_active(endpoint);
  const uint32_t relaxed = endpoint->relaxed[active].profile[question->direction & 1];
  *would = vmlane_policy_judge_by(tables, endpoint->facts[active].profile[question->direction & 1], question);
  if (!vmlane_policy_may_relax(would, relaxed)) return *would;
  const struct vmlane_policy_answer answer = vmlane_policy_judge_relaxed(tables, relaxed, question);
  if (!answer.allowed) *would = answer;
  return answer;
}

static inline struct vmlane_policy_answer vmlane_policy_judge(const struct vmlane_policy_tables* tables,
                                                              const struct vmlane_policy_question* question) {
  struct vmlane_policy_answer would;
  return vmlane_policy_judge_audited(tables, question, &would);
}

/* NOLINTEND(readability-identifier-naming,modernize-use-nullptr) */

#endif
