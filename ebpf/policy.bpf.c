// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The policy of a workload's link, behind its guard: what policy/stage.h says, over tables that a publisher (the agent) makes and
// hangs into maps of maps. Loaded once for all links of a node; a filter's class id tells which workload it is. Nothing that is
// large is made here: an empty slot means that each workload has its default verdict.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

#define VMLANE_STAGE_CONTEXT struct __sk_buff *
// What returns structures has to be inlined for this target.
#define inline __attribute__((always_inline)) inline
#include "../policy/stage.h"
#undef inline

#include "policy_layout.bpf.h"
#include "workload_layout.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VMLANE_MAX_WORKLOADS + 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct vmlane_policy_workload);
} vmlane_subjects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VMLANE_MAX_WORKLOADS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct vmlane_policy_owner);
} vmlane_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct vmlane_policy_state);
} vmlane_state SEC(".maps");

// The inner maps say sizes instead of types, of which clang would keep nothing.
struct vmlane_lines {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, VMLANE_POLICY_LINE);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, VMLANE_POLICY_OUTER);
	__type(key, __u32);
	__array(values, struct vmlane_lines);
} vmlane_tables SEC(".maps");

struct vmlane_sets {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct vmlane_connection_set));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct vmlane_sets);
} vmlane_connections SEC(".maps");

struct vmlane_counts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct vmlane_policy_counter_key));
	__uint(value_size, sizeof(struct vmlane_policy_counter));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct vmlane_counts);
} vmlane_counters SEC(".maps");

struct vmlane_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct vmlane_ring);
} vmlane_events SEC(".maps");

// One packet at a time on each processor: nothing interrupts a program that is on a link.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vmlane_stage);
} vmlane_desk SEC(".maps");

static __always_inline struct vmlane_packet_view view_of(const struct __sk_buff *skb)
{
	struct vmlane_packet_view view = {(void *)(long)skb->data, (void *)(long)skb->data_end};

	return view;
}

// Whether more of a frame can be had than the kernel has in one piece.
static __always_inline int pull(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < VMLANE_PACKET_HEADERS + 64 ? skb->len : VMLANE_PACKET_HEADERS + 64;

	return skb->data_end - skb->data < wanted && !bpf_skb_pull_data(skb, wanted);
}

static __always_inline int parse(struct __sk_buff *skb, struct vmlane_packet *packet)
{
	struct vmlane_packet_view view = view_of(skb);

	vmlane_packet_read(&view, packet);
	return packet->kind;
}

__noinline int vmlane_read_pulled(struct __sk_buff *skb, struct vmlane_packet *packet)
{
	if (!packet || !pull(skb))
		return 0;
	__builtin_memset(packet, 0, sizeof(*packet));
	return parse(skb, packet);
}

__noinline int vmlane_read_frame(struct __sk_buff *skb, struct vmlane_packet *packet)
{
	if (!packet)
		return 0;
	return parse(skb, packet);
}

__noinline int vmlane_read_quoted(struct __sk_buff *skb, struct vmlane_packet *quoted, __u32 offset)
{
	struct vmlane_packet_view view;

	if (!quoted)
		return 0;
	pull(skb);
	view = view_of(skb);
	vmlane_packet_read_quoted(&view, offset, quoted);
	return 0;
}

// The compiler gives a function anything for what it does not use, which its verifier would not take for the frame.
static __always_inline void keep(const struct __sk_buff *skb)
{
	asm volatile("" : : "r"(skb));
}

VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_tables(struct __sk_buff *skb, uint32_t slot, struct vmlane_policy_tables *tables)
{
	keep(skb);
	tables->slot = slot;
	tables->lines = bpf_map_lookup_elem(&vmlane_tables, &slot);
	return !!tables->lines;
}

__noinline int vmlane_policy_scan_slot(uint32_t slot, struct vmlane_policy_rows *rows)
{
	struct vmlane_policy_tables tables = {bpf_map_lookup_elem(&vmlane_tables, &slot), slot};

	return rows && tables.lines ? vmlane_policy_scan(&tables, rows) : VMLANE_POLICY_NO_RULE;
}

__noinline int vmlane_count_rule(struct vmlane_policy_counter_key *counted)
{
	struct vmlane_policy_counter_key on_stack;
	struct vmlane_policy_counter *counter;
	struct vmlane_policy_counter fresh = {};
	__u32 zero = 0;
	void *counters = bpf_map_lookup_elem(&vmlane_counters, &zero);

	if (!counted || !counters)
		return 0;
	// Linux 6.1 takes a key from nowhere else.
	on_stack = *counted;
	counter = bpf_map_lookup_elem(counters, &on_stack);
	if (!counter) {
		bpf_map_update_elem(counters, &on_stack, &fresh, BPF_NOEXIST);
		counter = bpf_map_lookup_elem(counters, &on_stack);
	}
	if (!counter) {
		struct vmlane_policy_state *state = bpf_map_lookup_elem(&vmlane_state, &zero);

		if (state)
			__sync_fetch_and_add(&state->uncounted, 1);
		return 0;
	}
	__sync_fetch_and_add(&counter->hits, 1);
	counter->last = bpf_ktime_get_coarse_ns();
	return 0;
}

VMLANE_STAGE_FUNCTION void vmlane_stage_count(struct __sk_buff *skb, const struct vmlane_stage_question *question)
{
	const struct vmlane_policy_answer *answer = &question->answer;
	struct vmlane_policy_counter_key key = {answer->policy, answer->rule, question->direction};

	keep(skb);
	if (answer->reason == VMLANE_POLICY_BY_RULE || answer->reason == VMLANE_POLICY_ISOLATED)
		vmlane_count_rule(&key);
	if (!question->audited)
		return;
	key.policy = question->would.policy;
	key.rule = question->would.rule;
	key.direction |= VMLANE_POLICY_COUNT_AUDITED;
	vmlane_count_rule(&key);
}

VMLANE_STAGE_FUNCTION struct vmlane_connection_set *vmlane_stage_set(struct __sk_buff *skb, uint32_t index)
{
	__u32 zero = 0;
	void *sets = bpf_map_lookup_elem(&vmlane_connections, &zero);

	keep(skb);
	return sets ? bpf_map_lookup_elem(sets, &index) : 0;
}

VMLANE_STAGE_FUNCTION void vmlane_stage_quoted(struct __sk_buff *skb, uint32_t offset, struct vmlane_packet *quoted)
{
	vmlane_read_quoted(skb, quoted, offset);
}

static __always_inline struct vmlane_policy_owner *owner_of(const struct __sk_buff *skb)
{
	__u32 key = skb->tc_classid & 0xffff;

	return bpf_map_lookup_elem(&vmlane_owners, &key);
}

VMLANE_STAGE_FUNCTION void vmlane_stage_meet_node(struct __sk_buff *skb, uint32_t v6, const uint32_t *address)
{
	struct vmlane_policy_owner *owner = owner_of(skb);

	if (!owner)
		return;
	if (!v6) {
		owner->node_ipv4 = address[0];
		return;
	}
	for (int word = 0; word < 4; word++)
		owner->node_ipv6[word] = address[word];
}

VMLANE_STAGE_FUNCTION uint32_t vmlane_stage_has_met(struct __sk_buff *skb, uint32_t v6, const uint32_t *address)
{
	const struct vmlane_policy_owner *owner = owner_of(skb);

	if (!owner)
		return 0;
	return v6 ? vmlane_stage_same(owner->node_ipv6, address) : owner->node_ipv4 == address[0];
}

// A flood of drops must not cost a processor: a workload has a few events in a tick, and the rest is counted.
static __always_inline int may_tell(struct vmlane_policy_owner *owner, __u32 now)
{
	if (owner->event_tick != now) {
		owner->event_tick = now;
		owner->events = 0;
	}
	if (owner->events >= VMLANE_POLICY_EVENTS_A_TICK)
		return 0;
	owner->events++;
	return 1;
}

// Whether there was room.
static __always_inline int tell(const struct __sk_buff *skb, const struct vmlane_stage *stage, __u32 reason)
{
	const struct vmlane_policy_answer *answer = reason == VMLANE_STAGE_PASS ? &stage->would : &stage->answer;
	const struct vmlane_packet *packet = &stage->packet;
	struct vmlane_policy_event *event;
	__u32 zero = 0;
	void *ring = bpf_map_lookup_elem(&vmlane_events, &zero);

	if (!ring)
		return 0;
	event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);
	if (!event)
		return 0;
	event->time = bpf_ktime_get_coarse_ns();
	event->key = skb->tc_classid & 0xffff;
	event->incarnation = stage->incarnation;
	for (int word = 0; word < 4; word++) {
		event->source[word] = packet->source[word];
		event->destination[word] = packet->destination[word];
	}
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->v6 = packet->v6;
	event->protocol = packet->protocol;
	event->direction = stage->direction;
	event->reason = reason == VMLANE_STAGE_PASS ? stage->audited | VMLANE_POLICY_EVENT_AUDITED : reason;
	event->verdict_reason = answer->reason;
	event->policy = answer->policy;
	event->rule = answer->rule;
	event->generation = stage->generation;
	bpf_ringbuf_submit(event, 0);
	return 1;
}

// Of a packet that is dropped, or that passes by audit alone.
static __always_inline void note(const struct __sk_buff *skb, const struct vmlane_stage *stage, __u32 reason)
{
	struct vmlane_policy_owner *owner = owner_of(skb);

	if (!owner)
		return;
	if (reason != VMLANE_STAGE_PASS)
		__sync_fetch_and_add(&owner->dropped[reason & (VMLANE_POLICY_REASONS - 1)], 1);
	if (!may_tell(owner, stage->now) || !tell(skb, stage, reason))
		__sync_fetch_and_add(&owner->untold, 1);
}

static __always_inline void note_loose(const struct __sk_buff *skb)
{
	struct vmlane_policy_owner *owner = owner_of(skb);

	if (owner)
		__sync_fetch_and_add(&owner->loose, 1);
}

// The generation and slot in force, and the workload's number in that slot's tables.
static __always_inline void choose_tables(struct vmlane_stage *stage, struct vmlane_policy_workload *workload)
{
	__u32 zero = 0;
	struct vmlane_policy_state *state = bpf_map_lookup_elem(&vmlane_state, &zero);
	__u64 epoch, endpoint;

	if (!state)
		return;
	epoch = *(volatile __u64 *)&state->epoch;
	if (!epoch)
		return;
	stage->slot = epoch & 1;
	stage->generation = epoch >> 1;
	stage->seed = state->seed;
	stage->set_mask = state->connection_mask;
	endpoint = *(volatile __u64 *)&workload->endpoint[epoch & 1];
	if (endpoint >> 32 == stage->incarnation)
		stage->endpoint = endpoint;
}

static __always_inline void read_frame(struct __sk_buff *skb, struct vmlane_packet *packet)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	vmlane_read_frame(skb, packet);
	if (packet->kind == VMLANE_PACKET_TRUNCATED)
		vmlane_read_pulled(skb, packet);
}

static __always_inline void lay_out(struct __sk_buff *skb, struct vmlane_stage *stage, struct vmlane_policy_workload *workload,
				    __u32 direction)
{
	__builtin_memset(stage, 0, offsetof(struct vmlane_stage, packet));
	stage->incarnation = workload->incarnation;
	stage->flags = workload->flags;
	stage->loose_until = workload->loose_until;
	stage->dhcp_until = workload->dhcp_until;
	stage->now = bpf_ktime_get_coarse_ns() >> VMLANE_CONNECTION_TICK_BITS;
	stage->direction = direction;
	stage->from_node = direction == VMLANE_POLICY_INGRESS && skb->ingress_ifindex == 0;
	choose_tables(stage, workload);
	read_frame(skb, &stage->packet);
}

static __always_inline int judge(struct __sk_buff *skb, __u32 direction)
{
	__u32 key = skb->tc_classid & 0xffff;
	__u32 zero = 0;
	struct vmlane_policy_workload *workload = bpf_map_lookup_elem(&vmlane_subjects, &key);
	struct vmlane_stage *stage = bpf_map_lookup_elem(&vmlane_desk, &zero);
	__u32 reason;

	if (!workload || !workload->incarnation || !stage)
		return TC_ACT_SHOT;
	if (skb->cb[4] == VMLANE_ANSWER_MARK)
		return TC_ACT_UNSPEC;
	lay_out(skb, stage, workload, direction);
	reason = vmlane_stage_decide(skb, stage, direction);
	if (stage->dhcp_until != workload->dhcp_until)
		workload->dhcp_until = stage->dhcp_until;
	if (reason != VMLANE_STAGE_PASS || stage->audited)
		note(skb, stage, reason);
	if (reason != VMLANE_STAGE_PASS)
		return TC_ACT_SHOT;
	if (stage->loose)
		note_loose(skb);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int vmlane_judge_from(struct __sk_buff *skb)
{
	return judge(skb, VMLANE_POLICY_EGRESS);
}

SEC("tc")
int vmlane_judge_to(struct __sk_buff *skb)
{
	return judge(skb, VMLANE_POLICY_INGRESS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
