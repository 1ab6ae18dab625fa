// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What guards a workload's link, loaded once for all links of a node. Its filter's class id tells a program which workload it
// works for: the key under which the maps have what it must know.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "guest_answers.bpf.h"
#include "lease_watch.bpf.h"
#include "policy_layout.bpf.h"
#include "source_guard.bpf.h"
#include "workload_layout.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VMLANE_MAX_WORKLOADS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct vmlane_guard);
} vmlane_guards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VMLANE_MAX_WORKLOADS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct vmlane_answers);
} vmlane_answers SEC(".maps");

static __always_inline int drop(struct vmlane_guard *guard, __u32 reason)
{
	__sync_fetch_and_add(&guard->dropped[reason & (VMLANE_GUARD_COUNTERS - 1)], 1);
	return TC_ACT_SHOT;
}

// Neither end of the UDP header at `udp` is a server that the guard or the answers care for.
static __always_inline int is_plain_udp(const struct udphdr *udp, const void *end, __be16 server)
{
	return (const void *)(udp + 1) <= end && udp->source != server && udp->dest != server;
}

static __always_inline int is_plain_ipv4(const struct iphdr *ip, const void *end, const struct vmlane_plain *own)
{
	if ((const void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return 0;
	if (ip->saddr != own->ipv4 || ip->saddr == 0)
		return 0;
	if (own->flags & VMLANE_PLAIN_LEARNS && bpf_jiffies64() >= own->look_at)
		return 0;
	if (ip->protocol != IPPROTO_UDP)
		return 1;
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
		return 0;
	return is_plain_udp((const struct udphdr *)(ip + 1), end, bpf_htons(VMLANE_DHCP_SERVER));
}

static __always_inline int is_plain_ipv6(const struct ipv6hdr *ip, const void *end, const struct vmlane_plain *own)
{
	const __be32 *source = ip->saddr.in6_u.u6_addr32;

	if ((const void *)(ip + 1) > end || ip->version != 6)
		return 0;
	// No global address begins with a zero word.
	if (!own->ipv6[0] || source[0] != own->ipv6[0] || source[1] != own->ipv6[1] || source[2] != own->ipv6[2] ||
	    source[3] != own->ipv6[3])
		return 0;
	if (bpf_jiffies64() >= own->look_at)
		return 0;
	if (ip->nexthdr == IPPROTO_TCP)
		return 1;
	return ip->nexthdr == IPPROTO_UDP &&
	       is_plain_udp((const struct udphdr *)(ip + 1), end, bpf_htons(VMLANE_DHCPV6_SERVER));
}

// The bulk of what an honest workload sends, told by the first bytes: untagged IP to a station, from its own MAC and address,
// with nothing for the guard to read on. The rest is for vmlane_guard_frame, which lets all of this pass as well.
static __always_inline int is_plain(struct __sk_buff *skb, const struct vmlane_plain *own)
{
	const struct ethhdr *ethernet = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;

	if (!own || (const void *)(ethernet + 1) > end || skb->vlan_present)
		return 0;
	if (ethernet->h_dest[0] & 1 || !vmlane_guard_same_mac(ethernet->h_source, own->mac))
		return 0;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return is_plain_ipv4((const struct iphdr *)(ethernet + 1), end, own);
	return ethernet->h_proto == bpf_htons(ETH_P_IPV6) &&
	       is_plain_ipv6((const struct ipv6hdr *)(ethernet + 1), end, own);
}

static __always_inline int is_for(struct __sk_buff *skb, const struct vmlane_plain *own)
{
	const struct ethhdr *ethernet = (void *)(long)skb->data;

	return own && (const void *)(ethernet + 1) <= (const void *)(long)skb->data_end &&
	       !(ethernet->h_dest[0] & 1) && vmlane_guard_same_mac(ethernet->h_dest, own->mac) &&
	       !(own->flags & VMLANE_PLAIN_LEARNS && vmlane_may_grant(skb));
}

// IPv6 frames are plain again until the next router advertisement is due.
static __always_inline void look_again(const struct vmlane_answers *answers, __u32 key)
{
	struct vmlane_plain *plain = bpf_map_lookup_elem(&vmlane_plains, &key);
	__u64 age = (bpf_ktime_get_boot_ns() - answers->last_ra) / VMLANE_NS_PER_SECOND;

	if (plain && plain->look_at <= bpf_jiffies64() && answers->last_ra && age < answers->ra_interval)
		plain->look_at = bpf_jiffies64() + (answers->ra_interval - age) * VMLANE_LEAST_HZ;
}

// A question is answered by turning it into the reply, which goes back where it came from.
static __always_inline int answer(struct __sk_buff *skb, const struct vmlane_guard *guard, __u32 key)
{
	struct vmlane_answers *answers = bpf_map_lookup_elem(&vmlane_answers, &key);
	int on_egress = guard->flags & VMLANE_GUARD_ON_EGRESS;
	int verdict;

	if (!answers)
		return TC_ACT_UNSPEC;
	verdict = vmlane_refresh_ra(skb, answers, on_egress ? 0 : BPF_F_INGRESS);
	look_again(answers, key);
	if (verdict == VMLANE_NOT_OURS)
		verdict = vmlane_answer(skb, answers);
	if (verdict == VMLANE_REPLY) {
		skb->cb[4] = VMLANE_ANSWER_MARK;
		return bpf_redirect(skb->ifindex, on_egress ? BPF_F_INGRESS : 0);
	}
	return verdict == VMLANE_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// No entry: the workload is being taken down, or was never set up.
SEC("tc")
int vmlane_from_workload(struct __sk_buff *skb)
{
	__u32 key = vmlane_key_of(skb);
	struct vmlane_guard *guard;
	int reason;

	if (is_plain(skb, bpf_map_lookup_elem(&vmlane_plains, &key)))
		return TC_ACT_UNSPEC;
	guard = bpf_map_lookup_elem(&vmlane_guards, &key);
	if (!guard)
		return TC_ACT_SHOT;
	if (guard->flags & VMLANE_GUARD_MACS) {
		reason = vmlane_guard_frame(skb, guard);
		if (reason != VMLANE_GUARD_PASS)
			return drop(guard, reason);
	}
	if (guard->flags & VMLANE_GUARD_LEARNS)
		vmlane_watch_sent(skb, guard, key);
	return guard->flags & VMLANE_GUARD_ANSWERS ? answer(skb, guard, key) : TC_ACT_UNSPEC;
}

// A bridge floods what it has no port for; only frames for the workload may get to it.
SEC("tc")
int vmlane_to_workload(struct __sk_buff *skb)
{
	__u32 key = vmlane_key_of(skb);
	struct vmlane_guard *guard;
	__u8 destination[ETH_ALEN];

	if (is_for(skb, bpf_map_lookup_elem(&vmlane_plains, &key)))
		return TC_ACT_UNSPEC;
	guard = bpf_map_lookup_elem(&vmlane_guards, &key);
	if (!guard || bpf_skb_load_bytes(skb, 0, destination, sizeof(destination)))
		return TC_ACT_SHOT;
	if (!(guard->flags & VMLANE_GUARD_FULL))
		return TC_ACT_UNSPEC;
	if (destination[0] & 1 || vmlane_owns_mac(guard, destination)) {
		if (guard->flags & VMLANE_GUARD_LEARNS)
			vmlane_watch(skb, guard, key);
		return TC_ACT_UNSPEC;
	}
	if (guard->flags & VMLANE_GUARD_ANY_DESTINATION)
		return TC_ACT_UNSPEC;
	return drop(guard, VMLANE_GUARD_FOREIGN_DESTINATION);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
