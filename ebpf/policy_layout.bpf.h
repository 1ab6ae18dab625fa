// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What policy.bpf.c and those who write and read its maps share. The tables themselves are those of
// policy/verdict.h, the connections those of policy/connection.h.
#ifndef VMLANE_POLICY_LAYOUT_BPF_H
#define VMLANE_POLICY_LAYOUT_BPF_H

#include <linux/types.h>

// NOLINTBEGIN(readability-identifier-naming)

// Slots of the outer map of tables: two that take turns, and one for waiting only.
#define VMLANE_POLICY_SLOTS 2
#define VMLANE_POLICY_SPARE_SLOT 2
#define VMLANE_POLICY_OUTER 3

// Marks a frame as an answer of vmlane's own, in the last word of __sk_buff::cb: no policy is about it.
#define VMLANE_ANSWER_MARK 0x766d6c61

// Rises with each change of a structure here, in policy/connection.h or policy/subject.h: builds of one
// layout go on with each other's connections and entries. Of another layout only the places of the epoch and
// this number are the same, whose an entry is (vmlane_policy_owner.attachment), and by what its connections
// are told and its default verdict (vmlane_policy_workload.incarnation, .flags).
#define VMLANE_POLICY_LAYOUT 2

// The one value of the map of state.
struct vmlane_policy_state {
  __u64 epoch;            // generation << 1 | slot; 0: nothing is published
  __u32 seed;             // of the connections' hash
  __u32 connection_mask;  // number of sets minus one
  __u32 layout;           // VMLANE_POLICY_LAYOUT of who publishes
  __u32 uncounted;        // verdicts since the counters began, for which there was no room among them
};

#define VMLANE_POLICY_REASONS 8         // as many as VMLANE_STAGE_REASONS, a power of two
#define VMLANE_POLICY_EVENTS_A_TICK 10  // of a workload

// What only the slower ways through the program need of a workload.
struct vmlane_policy_owner {
  __u8 attachment[16];
  __u32 node_ipv4;  // addresses under which the node was seen while there were no tables
  __u32 node_ipv6[4];
  __u32 event_tick;
  __u32 events;  // told in that tick
  __u32 reserved;
  __u64 untold;                          // drops, and what audit let pass, without an event
  __u64 loose;                           // passed as either end's connection, see policy/stage.h
  __u64 dropped[VMLANE_POLICY_REASONS];  // by VMLANE_STAGE_*
};

// With the direction of a counter: connections that passed, but would have been denied were the policy not in
// audit.
#define VMLANE_POLICY_COUNT_AUDITED 2

// By rule; rule VMLANE_POLICY_NO_RULE counts what a policy's isolation dropped.
struct vmlane_policy_counter_key {
  __u32 policy;
  __u32 rule;       // index in the policy's list
  __u32 direction;  // perhaps with VMLANE_POLICY_COUNT_AUDITED
};

struct vmlane_policy_counter {
  __u64 hits;  // connections judged by it
  __u64 last;  // ns since boot, coarse
};

// With the reason of an event: the packet passed, and the event tells what would have dropped it but for
// audit.
#define VMLANE_POLICY_EVENT_AUDITED 0x80

// A packet that was dropped, or the first one of a connection that only policies in audit deny.
struct vmlane_policy_event {
  __u64 time;  // ns since boot, coarse
  __u32 key;   // of the workload
  __u32 incarnation;
  __u32 source[4];
  __u32 destination[4];
  __u16 source_port;
  __u16 destination_port;
  __u8 v6;
  __u8 protocol;
  __u8 direction;
  __u8 reason;           // VMLANE_STAGE_*, perhaps with VMLANE_POLICY_EVENT_AUDITED
  __u32 verdict_reason;  // VMLANE_POLICY_*, when `reason` is BY_POLICY
  __u32 policy;
  __u32 rule;
  __u32 generation;
};

// NOLINTEND(readability-identifier-naming)

#endif
