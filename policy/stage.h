/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VMLANE_POLICY_STAGE_H
#define VMLANE_POLICY_STAGE_H

/*
 * What policy makes of each packet of an endpoint: the order in which packet.h, connection.h and verdict.h
 * are asked, the same in the kernel's programs and in native code. Freestanding C17 that is C++ as well.
 *
 *   ARP, neighbour and listener discovery, the endpoint's own DHCP       pass
 *   no tables yet, or none that know the endpoint                        its default verdict
 *   an ICMP error about a known connection                               passes
 *   a packet of a known connection                                       passes, judged again by new tables
 *   everything else                                                      is judged, and kept when it passes
 *
 * A TCP packet that opens nothing and belongs to no known connection was opened by one end or the other. It
 * passes when both ways round are allowed; for some seconds after an endpoint that was let through unjudged
 * got its first tables, when one of them is.
 *
 * How tables and sets are reached differs: a user of this header defines VMLANE_STAGE_CONTEXT, and after it
 * the functions that are only declared here (vmlane_stage_set, _tables, _count, _quoted, _meet_node,
 * _has_met). For the kernel the slower parts are functions that its verifier proves once, each by itself;
 * they take numbers and plain structures.
 */

#include "connection.h"
#include "packet.h"
#include "subject.h"
#include "verdict.h"

/* NOLINTBEGIN(readability-identifier-naming,modernize-use-nullptr) */

struct vmlane_stage_question {
  uint32_t slot;
  uint32_t endpoint;
  uint32_t address[4]; /* the peer's */
  uint16_t port;       /* destination port */
  uint8_t protocol;
  uint8_t v6;
  uint8_t direction;
  uint8_t from_node; /* the node itself made the packet, or a connection that it opened */
  uint8_t no_node;
  uint8_t not_ip;                      /* there is no peer and no port: of group 0, as what no policy knows */
  uint32_t unwatched;                  /* out: no policy is about the endpoint in any direction */
  uint32_t unenforced;                 /* out: policies are about it, but all that could deny are in audit */
  uint32_t profile;                    /* out: what says something about the endpoint in that direction */
  uint32_t relaxed;                    /* out: the same without the denials of policies in audit */
  uint32_t audited;                    /* out: allowed, but policies in audit would deny it: see `would` */
  struct vmlane_policy_question asked; /* out: in the words of verdict.h */
  struct vmlane_policy_answer answer;  /* out */
  struct vmlane_policy_answer would;   /* out, when audited */
};

/* A packet on its way. Large for a stack of the kernel's: its programs have one for each processor. Above
   `packet` is what the caller tells (all that is not named is 0), below it what is made of it. */
struct vmlane_stage {
  uint32_t incarnation;
  uint32_t flags;
  uint32_t loose_until;
  uint32_t dhcp_until; /* in and out */
  uint32_t endpoint;   /* number in the tables, plus one; 0 when they do not know it */
  uint32_t slot;
  uint32_t generation;
  uint32_t seed;
  uint32_t set_mask; /* number of sets, a power of two, minus one */
  uint32_t now;      /* ticks */
  uint8_t direction;
  uint8_t from_node;
  uint8_t loose;      /* out: passed only because the connection may have been opened the other way round */
  uint8_t is_unknown; /* the packet's key has no connection */
  uint32_t audited;   /* out: VMLANE_STAGE_* that a packet that passes would be dropped for but for audit */
  struct vmlane_policy_answer answer; /* out, when tables or a known connection decided */
  struct vmlane_packet packet;

  struct vmlane_policy_answer would; /* out, when audited is VMLANE_STAGE_BY_POLICY */
  struct vmlane_packet quoted;       /* by an ICMP error */
  struct vmlane_connection_key key;
  uint32_t hash; /* of the key */
  /* Of the connection that was found, or is to be made. */
  uint8_t found_flags;
  uint8_t found_state;
  uint16_t found_port;
  uint32_t found_policy;
  uint16_t found_rule;
  uint16_t more_reserved;
  struct vmlane_connection_choice choice;
  struct vmlane_stage_question question;
  struct vmlane_stage_question turned; /* with the ends exchanged */
};

#ifdef __bpf__
#define VMLANE_STAGE_FUNCTION static __attribute__((always_inline)) inline
#define VMLANE_STAGE_PART __attribute__((noinline))
#else
#define VMLANE_STAGE_FUNCTION static inline
#define VMLANE_STAGE_PART static inline
#endif

VMLANE_STAGE_FUNCTION struct vmlane_connection_set* vmlane_stage_set(VMLANE_STAGE_CONTEXT context,
                                                                     uint32_t index);
/* 0 when there are none in that slot. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_tables(VMLANE_STAGE_CONTEXT context, uint32_t slot,
                                                   struct vmlane_policy_tables* tables);
/* Counts what decided. */
VMLANE_STAGE_FUNCTION void vmlane_stage_count(VMLANE_STAGE_CONTEXT context,
                                              const struct vmlane_stage_question* question);
/* Reads what an ICMP error quotes into `quoted`, which has nothing but the family. */
VMLANE_STAGE_FUNCTION void vmlane_stage_quoted(VMLANE_STAGE_CONTEXT context, uint32_t offset,
                                               struct vmlane_packet* quoted);
/* Remembers an address of the endpoint's node, and whether it was remembered. */
VMLANE_STAGE_FUNCTION void vmlane_stage_meet_node(VMLANE_STAGE_CONTEXT context, uint32_t v6,
                                                  const uint32_t* address);
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_has_met(VMLANE_STAGE_CONTEXT context, uint32_t v6,
                                                    const uint32_t* address);

VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_same(const uint32_t* a, const uint32_t* b) {
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* Whether a time that was set a little ahead of the clock is still to come. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_before(uint32_t now, uint32_t until) {
  return until && until - now < 0x80000000U;
}

/* Whether a packet may be the first of a connection. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_opens(const struct vmlane_packet* packet) {
  const uint32_t told = VMLANE_TCP_SYN | VMLANE_TCP_ACK | VMLANE_TCP_RST | VMLANE_TCP_FIN;
  return packet->protocol != VMLANE_POLICY_TCP || (packet->tcp_flags & told) == VMLANE_TCP_SYN;
}

/* Makes the key of a packet that the endpoint sends (EGRESS) or gets. */
VMLANE_STAGE_FUNCTION void vmlane_stage_make_key(struct vmlane_stage* stage,
                                                 const struct vmlane_packet* packet, uint32_t direction) {
  struct vmlane_connection_key* key = &stage->key;
  const uint32_t sends = direction == VMLANE_POLICY_EGRESS;
  const uint32_t* local = sends ? packet->source : packet->destination;
  const uint32_t* remote = sends ? packet->destination : packet->source;
  key->owner = stage->incarnation;
  for (uint32_t word = 0; word < 4; word++) {
    key->local[word] = local[word];
    key->remote[word] = remote[word];
  }
  key->local_port = sends ? packet->source_port : packet->destination_port;
  key->remote_port = sends ? packet->destination_port : packet->source_port;
  /* A connection to itself has one key for both of its ways. */
  if (key->local_port > key->remote_port && vmlane_stage_same(packet->source, packet->destination)) {
    const uint16_t larger = key->local_port;
    key->local_port = key->remote_port;
    key->remote_port = larger;
  }
  key->protocol = packet->protocol;
  key->kind = packet->v6 ? VMLANE_CONNECTION_V6 : 0;
  key->reserved[0] = key->reserved[1] = 0;
  stage->hash = vmlane_connection_hash(key, stage->seed);
}

/* Fragments are told by their identification alone: a later one need not say the protocol. */
VMLANE_STAGE_FUNCTION void vmlane_stage_make_fragment_key(struct vmlane_stage* stage) {
  struct vmlane_connection_key* key = &stage->key;
  vmlane_stage_make_key(stage, &stage->packet, stage->direction);
  key->local_port = VMLANE_POLICY_CAST(uint16_t, stage->packet.fragment >> 16);
  key->remote_port = VMLANE_POLICY_CAST(uint16_t, stage->packet.fragment & 0xffff);
  key->protocol = 0;
  key->kind |= VMLANE_CONNECTION_FRAGMENTS;
  stage->hash = vmlane_connection_hash(key, stage->seed);
}

VMLANE_STAGE_FUNCTION struct vmlane_connection* vmlane_stage_find(VMLANE_STAGE_CONTEXT context,
                                                                  const struct vmlane_stage* stage) {
  struct vmlane_connection_set* set = vmlane_stage_set(context, stage->hash & stage->set_mask);
  return set ? vmlane_connection_find(set, vmlane_connection_tag(stage->hash), &stage->key, stage->now) : 0;
}

/* Who the peer of a question is; 0 when the tables do not know the endpoint. */
VMLANE_STAGE_PART int vmlane_stage_find_peer(VMLANE_STAGE_CONTEXT context,
                                             struct vmlane_stage_question* question) {
  struct vmlane_policy_tables tables;
  if (!question || !vmlane_stage_tables(context, question->slot, &tables)) return 0;
  const struct vmlane_policy_header* header = vmlane_policy_header_of(&tables);
  if (!header) return 0;
  const struct vmlane_policy_endpoint* endpoint =
      vmlane_policy_endpoint_in(&tables, header, question->endpoint);
  if (!endpoint) return 0;
  const uint32_t active = vmlane_policy_active(endpoint);
  const struct vmlane_policy_facts* facts = &endpoint->facts[active];
  const struct vmlane_policy_relaxed* relaxed = &endpoint->relaxed[active];
  question->unwatched = !facts->profile[0] && !facts->profile[1];
  question->unenforced = (!facts->profile[0] || relaxed->profile[0] == VMLANE_POLICY_EVERYTHING) &&
                         (!facts->profile[1] || relaxed->profile[1] == VMLANE_POLICY_EVERYTHING);
  question->relaxed = question->direction & 1 ? relaxed->profile[1] : relaxed->profile[0];
  question->profile = question->direction & 1 ? facts->profile[1] : facts->profile[0];
  question->asked.endpoint = question->endpoint;
  question->asked.port = question->port;
  question->asked.protocol = question->protocol;
  question->asked.direction = question->direction;
  if (question->not_ip) return 1;
  const uint32_t node = facts->node;
  const struct vmlane_policy_peer peer =
      vmlane_policy_peer_in(&tables, header, endpoint->network, question->v6, question->address);
  question->asked.group = peer.group;
  question->asked.own_node = peer.node && peer.node == node && !question->no_node &&
                             (question->direction == VMLANE_POLICY_EGRESS || question->from_node);
  return 1;
}

VMLANE_STAGE_PART int vmlane_stage_judge(VMLANE_STAGE_CONTEXT context,
                                         struct vmlane_stage_question* question) {
  struct vmlane_policy_tables tables;
  if (!question || !vmlane_stage_tables(context, question->slot, &tables)) return 0;
  question->answer = vmlane_policy_judge_by(&tables, question->profile, &question->asked);
  return 1;
}

/* After a denial: whether more than policies in audit deny. */
VMLANE_STAGE_PART int vmlane_stage_relax(VMLANE_STAGE_CONTEXT context,
                                         struct vmlane_stage_question* question) {
  struct vmlane_policy_tables tables;
  if (!question || !vmlane_stage_tables(context, question->slot, &tables)) return 0;
  question->would = question->answer;
  question->answer = vmlane_policy_judge_relaxed(&tables, question->relaxed, &question->asked);
  question->audited = question->answer.allowed;
  return 1;
}

VMLANE_STAGE_FUNCTION void vmlane_stage_ask(VMLANE_STAGE_CONTEXT context,
                                            struct vmlane_stage_question* question) {
  question->audited = question->unwatched = question->unenforced = 0;
  question->answer = vmlane_policy_say(0, VMLANE_POLICY_BAD_TABLES, 0, VMLANE_POLICY_NO_RULE);
  if (!vmlane_stage_find_peer(context, question)) return;
  if (question->unwatched) {
    question->answer = vmlane_policy_say(1, VMLANE_POLICY_NOT_ISOLATED, 0, VMLANE_POLICY_NO_RULE);
    return;
  }
  vmlane_stage_judge(context, question);
  if (vmlane_policy_may_relax(&question->answer, question->relaxed)) vmlane_stage_relax(context, question);
  vmlane_stage_count(context, question);
}

VMLANE_STAGE_FUNCTION void vmlane_stage_put(VMLANE_STAGE_CONTEXT context, const struct vmlane_stage* stage,
                                            struct vmlane_stage_question* question) {
  question->slot = stage->slot;
  question->endpoint = stage->endpoint - 1;
  question->no_node = !!(stage->flags & VMLANE_STAGE_NO_NODE);
  question->not_ip = 0;
  vmlane_stage_ask(context, question);
}

/* Remembers for who tells of it that a packet passes by audit alone. */
VMLANE_STAGE_FUNCTION void vmlane_stage_audit(struct vmlane_stage* stage,
                                              const struct vmlane_stage_question* question) {
  if (!question->audited) return;
  stage->audited = VMLANE_STAGE_BY_POLICY;
  stage->would = question->would;
}

/* Makes an entry what is known of a new connection. */
VMLANE_STAGE_FUNCTION void vmlane_stage_write(const struct vmlane_stage* stage,
                                              struct vmlane_connection* entry) {
  vmlane_connection_fill(entry, &stage->key, stage->found_flags, stage->now);
  entry->generation = stage->generation;
  entry->policy = stage->found_policy;
  entry->rule = stage->found_rule;
  entry->port = stage->found_port;
  if (!(entry->kind & VMLANE_CONNECTION_FRAGMENTS))
    vmlane_connection_note(entry, stage->direction, stage->packet.tcp_flags, stage->now);
}

/* A place for a new connection; 0 when there is none. */
VMLANE_STAGE_PART int vmlane_stage_claim(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return 0;
  struct vmlane_connection_set* set = vmlane_stage_set(context, stage->hash & stage->set_mask);
  if (!set) return 0;
  const uint32_t way = vmlane_connection_claim(set, stage->incarnation, stage->now, &stage->choice);
  if (way >= VMLANE_CONNECTION_WAYS) return 0;
  vmlane_stage_write(stage, &set->way[way]);
  vmlane_connection_show(set, way, vmlane_connection_tag(stage->hash));
  return 1;
}

/* Remembers a connection, in the place of an earlier one of the same key. */
VMLANE_STAGE_PART int vmlane_stage_insert(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return 0;
  struct vmlane_connection* entry = vmlane_stage_find(context, stage);
  if (!entry) return vmlane_stage_claim(context, stage);
  vmlane_stage_write(stage, entry);
  return 1;
}

/* Judges a known connection by tables that are newer than its last verdict. */
VMLANE_STAGE_FUNCTION void vmlane_stage_judge_again(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage,
                                                    struct vmlane_connection* entry) {
  struct vmlane_stage_question* question = &stage->question;
  const uint32_t is_fragments = entry->kind & VMLANE_CONNECTION_FRAGMENTS;
  for (uint32_t word = 0; word < 4; word++) question->address[word] = entry->remote[word];
  question->port = entry->port;
  question->protocol = is_fragments ? VMLANE_POLICY_CAST(uint8_t, entry->policy) : entry->protocol;
  question->v6 = entry->kind & VMLANE_CONNECTION_V6;
  question->direction =
      entry->flags & VMLANE_CONNECTION_INGRESS ? VMLANE_POLICY_INGRESS : VMLANE_POLICY_EGRESS;
  question->from_node = !!(entry->flags & VMLANE_CONNECTION_NODE);
  question->answer = vmlane_policy_say(1, VMLANE_POLICY_NOT_ISOLATED, 0, VMLANE_POLICY_NO_RULE);
  question->audited = 0;
  if (!vmlane_stage_same(entry->local, entry->remote)) vmlane_stage_put(context, stage, question);
  vmlane_stage_audit(stage, question);
  if (!is_fragments) {
    entry->policy = question->answer.policy;
    entry->rule = VMLANE_POLICY_CAST(uint16_t, question->answer.rule);
  }
  stage->answer = question->answer;
  uint32_t flags = entry->flags | VMLANE_CONNECTION_BLOCKED;
  if (question->answer.allowed) flags = entry->flags & ~VMLANE_CONNECTION_BLOCKED;
  entry->flags = VMLANE_POLICY_CAST(uint8_t, flags);
  entry->generation = stage->generation;
}

/* What is known of a connection, judged again where the tables have changed: 0 not known, 1 may pass, 2
   denied. `found_*` has the rest. */
VMLANE_STAGE_PART int vmlane_stage_look(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return 0;
  struct vmlane_connection* entry = vmlane_stage_find(context, stage);
  if (!entry) return 0;
  stage->answer = vmlane_policy_say(0, VMLANE_POLICY_BY_RULE, entry->policy, entry->rule);
  if (entry->rule == VMLANE_CONNECTION_NO_RULE)
    stage->answer = vmlane_policy_say(0, VMLANE_POLICY_ISOLATED, entry->policy, VMLANE_POLICY_NO_RULE);
  if (entry->generation != stage->generation) vmlane_stage_judge_again(context, stage, entry);
  stage->found_flags = entry->flags;
  stage->found_state = entry->state;
  stage->found_port = entry->port;
  if (!(entry->flags & VMLANE_CONNECTION_BLOCKED)) return 1;
  /* As long as the denied end goes on, the other one's packets are replies to it. */
  if (!vmlane_connection_is_reply(entry, stage->direction)) entry->used = stage->now;
  return 2;
}

/* A packet of a connection that may pass. */
VMLANE_STAGE_PART int vmlane_stage_note(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return 0;
  struct vmlane_connection* entry = vmlane_stage_find(context, stage);
  if (entry) vmlane_connection_note(entry, stage->direction, stage->packet.tcp_flags, stage->now);
  return 0;
}

/* May the connection of this packet be opened, in the packet's direction or (`turned`) by its receiver? */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_may_open(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage,
                                                     uint32_t turned,
                                                     struct vmlane_stage_question* question) {
  const struct vmlane_connection_key* key = &stage->key;
  for (uint32_t word = 0; word < 4; word++) question->address[word] = key->remote[word];
  question->direction = VMLANE_POLICY_CAST(uint8_t, stage->direction ^ turned);
  question->port = question->direction == VMLANE_POLICY_EGRESS ? key->remote_port : key->local_port;
  if (key->protocol == VMLANE_IP_ICMP || key->protocol == VMLANE_IP_ICMPV6) question->port = 0;
  question->protocol = key->protocol;
  question->v6 = key->kind & VMLANE_CONNECTION_V6;
  question->from_node = stage->from_node && !turned;
  vmlane_stage_put(context, stage, question);
  return question->answer.allowed;
}

/* Which way round a connection is that is not known: 0 as the packet goes, 1 turned, else 2 denied, 3 not
   told by TCP. */
VMLANE_STAGE_PART int vmlane_stage_way(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return 2;
  const uint32_t loose = vmlane_stage_before(stage->now, stage->loose_until);
  const uint32_t opens = vmlane_stage_opens(&stage->packet);
  const uint32_t forward = vmlane_stage_may_open(context, stage, 0, &stage->question);
  stage->answer = stage->question.answer;
  if (opens && (forward || !loose || stage->packet.protocol == VMLANE_POLICY_TCP)) return forward ? 0 : 2;
  if (!loose && !forward) return 2;
  const uint32_t turned = vmlane_stage_may_open(context, stage, 1, &stage->turned);
  if (!loose && !turned) return 3;
  if (!forward && !turned) return 2;
  stage->loose = !forward || !turned;
  /* Both may be: a service has the lower port. */
  return forward && (!turned || stage->question.port <= stage->turned.port) ? 0 : 1;
}

/* What an endpoint sends to itself is nobody else's business, but comes back only if it was sent. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_to_itself(struct vmlane_stage* stage) {
  struct vmlane_stage_question* question = &stage->question;
  if (stage->direction == VMLANE_POLICY_INGRESS) return 3;
  question->direction = VMLANE_POLICY_EGRESS;
  question->from_node = 0;
  question->port = stage->key.remote_port;
  question->unwatched = 1;
  question->audited = 0;
  question->answer = vmlane_policy_say(1, VMLANE_POLICY_NOT_ISOLATED, 0, VMLANE_POLICY_NO_RULE);
  return 0;
}

VMLANE_STAGE_FUNCTION void vmlane_stage_take(struct vmlane_stage* stage,
                                             const struct vmlane_stage_question* question) {
  uint32_t flags = question->direction == VMLANE_POLICY_INGRESS ? VMLANE_CONNECTION_INGRESS : 0;
  if (question->from_node) flags |= VMLANE_CONNECTION_NODE;
  stage->answer = question->answer;
  vmlane_stage_audit(stage, question);
  stage->found_flags = VMLANE_POLICY_CAST(uint8_t, flags);
  stage->found_port = question->port;
  stage->found_policy = question->answer.policy;
  stage->found_rule = VMLANE_POLICY_CAST(uint16_t, question->answer.rule);
}

/* A packet that opens a connection, or of one that is not known. With `keep` its key has a connection that
   stays what it is, whatever becomes of the packet: its end will refuse the attempt. */
VMLANE_STAGE_PART int vmlane_stage_new(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage,
                                       uint32_t keep) {
  if (!stage) return VMLANE_STAGE_MALFORMED;
  const uint32_t is_to_itself = vmlane_stage_same(stage->key.local, stage->key.remote);
  const int way = is_to_itself ? VMLANE_POLICY_CAST(int, vmlane_stage_to_itself(stage))
                               : vmlane_stage_way(context, stage);
  if (way == 2) return VMLANE_STAGE_BY_POLICY;
  if (way != 0 && way != 1) return VMLANE_STAGE_NO_CONNECTION;
  if (way)
    vmlane_stage_take(stage, &stage->turned);
  else
    vmlane_stage_take(stage, &stage->question);
  if (keep || stage->packet.flags & VMLANE_PACKET_ICMP_ERROR || stage->packet.tcp_flags & VMLANE_TCP_RST)
    return VMLANE_STAGE_PASS;
  if (vmlane_stage_insert(context, stage)) return VMLANE_STAGE_PASS;
  if (stage->question.unwatched) return VMLANE_STAGE_PASS;
  if (!stage->question.unenforced) return VMLANE_STAGE_FULL;
  stage->audited = VMLANE_STAGE_FULL;
  return VMLANE_STAGE_PASS;
}

/* After the first fragment of a packet: lets the others pass as it did. */
VMLANE_STAGE_PART int vmlane_stage_expect_fragments(VMLANE_STAGE_CONTEXT context,
                                                    struct vmlane_stage* stage) {
  if (!stage) return 0;
  vmlane_stage_make_fragment_key(stage);
  stage->found_flags &= VMLANE_CONNECTION_INGRESS | VMLANE_CONNECTION_NODE;
  stage->found_policy = stage->packet.protocol;
  return vmlane_stage_insert(context, stage);
}

/* What has no peer or no ports: `reason` unless nothing is said about the endpoint, or what is not IP at all
   is let through by what is said. */
VMLANE_STAGE_PART int vmlane_stage_unreadable(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage,
                                              uint32_t reason) {
  if (!stage) return VMLANE_STAGE_MALFORMED;
  struct vmlane_stage_question* question = &stage->question;
  question->slot = stage->slot;
  question->endpoint = stage->endpoint - 1;
  question->port = 0;
  question->protocol = 0;
  question->direction = stage->direction;
  question->not_ip = 1;
  question->asked.group = 0;
  question->asked.own_node = 0;
  vmlane_stage_ask(context, question);
  stage->answer = question->answer;
  if (question->unwatched) return VMLANE_STAGE_PASS;
  if (reason == VMLANE_STAGE_NOT_IP && question->answer.allowed) {
    vmlane_stage_audit(stage, question);
    return VMLANE_STAGE_PASS;
  }
  if (question->unenforced) {
    stage->audited = reason;
    return VMLANE_STAGE_PASS;
  }
  return VMLANE_POLICY_CAST(int, reason);
}

VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_later_fragment(VMLANE_STAGE_CONTEXT context,
                                                           struct vmlane_stage* stage) {
  vmlane_stage_make_fragment_key(stage);
  const int known = vmlane_stage_look(context, stage);
  if (!known)
    return VMLANE_POLICY_CAST(uint32_t, vmlane_stage_unreadable(context, stage, VMLANE_STAGE_LOST_FRAGMENT));
  return known == 1 ? VMLANE_STAGE_PASS : VMLANE_STAGE_BY_POLICY;
}

/* Whether an ICMP error is about a packet of a known connection that is not denied. */
VMLANE_STAGE_PART int vmlane_stage_is_related(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return 0;
  struct vmlane_packet* quoted = &stage->quoted;
  const struct vmlane_packet none = {.v6 = 0};
  *quoted = none;
  quoted->v6 = stage->packet.v6;
  vmlane_stage_quoted(context, stage->packet.quoted, quoted);
  if (quoted->kind != VMLANE_PACKET_IP) return 0;
  const uint32_t same = stage->direction == VMLANE_POLICY_EGRESS
                            ? vmlane_stage_same(stage->packet.source, quoted->destination)
                            : vmlane_stage_same(stage->packet.destination, quoted->source);
  if (!same) return 0;
  vmlane_stage_make_key(stage, quoted, stage->direction ^ 1);
  return vmlane_stage_look(context, stage) == 1;
}

/* A packet with everything known about it. */
VMLANE_STAGE_PART int vmlane_stage_packet(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return VMLANE_STAGE_MALFORMED;
  /* The key is there already, unless that of a quoted packet has taken its place. */
  if (stage->packet.flags & VMLANE_PACKET_ICMP_ERROR)
    vmlane_stage_make_key(stage, &stage->packet, stage->direction);
  const int known = stage->is_unknown ? 0 : vmlane_stage_look(context, stage);
  if (!known) return vmlane_stage_new(context, stage, 0);
  const uint32_t opened =
      stage->found_flags & VMLANE_CONNECTION_INGRESS ? VMLANE_POLICY_INGRESS : VMLANE_POLICY_EGRESS;
  const uint32_t is_closing = stage->found_state >= VMLANE_STATE_HALF_CLOSED;
  /* A port that is used again, or an attempt from the other end, is a connection of its own. */
  if (stage->packet.protocol == VMLANE_POLICY_TCP && vmlane_stage_opens(&stage->packet) &&
      (is_closing || opened != stage->direction))
    return vmlane_stage_new(context, stage, known == 1 && !is_closing);
  if (known == 2) return VMLANE_STAGE_BY_POLICY;
  vmlane_stage_note(context, stage);
  return VMLANE_STAGE_PASS;
}

/* All but the shortest ways. */
VMLANE_STAGE_PART int vmlane_stage_slowly(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage) {
  if (!stage) return VMLANE_STAGE_MALFORMED;
  const uint32_t kind = stage->packet.kind;
  if (kind == VMLANE_PACKET_FRAGMENT)
    return VMLANE_POLICY_CAST(int, vmlane_stage_later_fragment(context, stage));
  if (kind != VMLANE_PACKET_IP)
    return vmlane_stage_unreadable(
        context, stage, kind == VMLANE_PACKET_OTHER ? VMLANE_STAGE_NOT_IP : VMLANE_STAGE_MALFORMED);
  if (stage->packet.flags & VMLANE_PACKET_ICMP_ERROR && vmlane_stage_is_related(context, stage))
    return VMLANE_STAGE_PASS;
  const int reason = vmlane_stage_packet(context, stage);
  if (reason == VMLANE_STAGE_PASS && stage->packet.flags & VMLANE_PACKET_FIRST_FRAGMENT)
    vmlane_stage_expect_fragments(context, stage);
  return reason;
}

VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_is_dhcp(const struct vmlane_packet* packet,
                                                    uint32_t server_sends) {
  const uint32_t server = packet->v6 ? VMLANE_DHCPV6_SERVER_PORT : VMLANE_DHCP_SERVER_PORT;
  const uint32_t client = packet->v6 ? VMLANE_DHCPV6_CLIENT_PORT : VMLANE_DHCP_CLIENT_PORT;
  return packet->protocol == VMLANE_POLICY_UDP && packet->source_port == (server_sends ? server : client) &&
         packet->destination_port == (server_sends ? client : server);
}

/* What no policy keeps from an endpoint. A DHCP server is heard only while it is asked. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_is_exempt(struct vmlane_stage* stage, uint32_t direction) {
  const struct vmlane_packet* packet = &stage->packet;
  if (packet->kind == VMLANE_PACKET_ARP) return 1;
  if (packet->kind != VMLANE_PACKET_IP || packet->flags & VMLANE_PACKET_FIRST_FRAGMENT) return 0;
  if (packet->flags & VMLANE_PACKET_NEIGHBOUR) return 1;
  if (direction == VMLANE_POLICY_INGRESS)
    return vmlane_stage_is_dhcp(packet, 1) && vmlane_stage_before(stage->now, stage->dhcp_until);
  if (!vmlane_stage_is_dhcp(packet, 0)) return 0;
  stage->dhcp_until = stage->now + VMLANE_CONNECTION_SECONDS(VMLANE_STAGE_DHCP_SECONDS);
  return 1;
}

/* Without tables. Under deny the node's own packets get through, and what is said in reply to them. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_default(VMLANE_STAGE_CONTEXT context,
                                                    const struct vmlane_stage* stage) {
  const struct vmlane_packet* packet = &stage->packet;
  if (!(stage->flags & VMLANE_STAGE_DENY)) return VMLANE_STAGE_PASS;
  if (stage->flags & VMLANE_STAGE_NO_NODE || packet->kind != VMLANE_PACKET_IP) return VMLANE_STAGE_BY_DEFAULT;
  if (stage->direction == VMLANE_POLICY_INGRESS) {
    if (!stage->from_node) return VMLANE_STAGE_BY_DEFAULT;
    vmlane_stage_meet_node(context, packet->v6, packet->source);
    return VMLANE_STAGE_PASS;
  }
  if (packet->protocol == VMLANE_POLICY_TCP && vmlane_stage_opens(packet)) return VMLANE_STAGE_BY_DEFAULT;
  return vmlane_stage_has_met(context, packet->v6, packet->destination) ? VMLANE_STAGE_PASS
                                                                        : VMLANE_STAGE_BY_DEFAULT;
}

/* A packet of a connection that is known, judged and goes on as it was. Leaves the packet's key. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_is_established(VMLANE_STAGE_CONTEXT context,
                                                           struct vmlane_stage* stage, uint32_t direction) {
  const struct vmlane_packet* packet = &stage->packet;
  if (packet->kind != VMLANE_PACKET_IP) return 0;
  vmlane_stage_make_key(stage, packet, direction);
  struct vmlane_connection* entry = vmlane_stage_find(context, stage);
  stage->is_unknown = !entry;
  if (!entry || packet->flags || entry->generation != stage->generation) return 0;
  if (packet->protocol == VMLANE_POLICY_TCP && packet->tcp_flags & VMLANE_TCP_SYN) return 0;
  if (entry->flags & VMLANE_CONNECTION_BLOCKED) return 0;
  vmlane_connection_note(entry, direction, packet->tcp_flags, stage->now);
  return 1;
}

/* VMLANE_STAGE_PASS or the reason to drop. `direction` is stage->direction, which the kernel's programs know
   when they are compiled. */
VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_decide(VMLANE_STAGE_CONTEXT context, struct vmlane_stage* stage,
                                                   uint32_t direction) {
  if (vmlane_stage_is_exempt(stage, direction)) return VMLANE_STAGE_PASS;
  if (!stage->endpoint) return vmlane_stage_default(context, stage);
  if (vmlane_stage_is_established(context, stage, direction)) return VMLANE_STAGE_PASS;
  return VMLANE_POLICY_CAST(uint32_t, vmlane_stage_slowly(context, stage));
}

/* NOLINTEND(readability-identifier-naming,modernize-use-nullptr) */

#endif
