// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What servers of the network grant a workload whose addresses nobody named, read off the frames towards it,
// and what it gives back, read off its own.
#ifndef VMLANE_LEASE_WATCH_BPF_H
#define VMLANE_LEASE_WATCH_BPF_H

#include "guest_answers_dhcpv6.bpf.h"
#include "learned_addresses.bpf.h"
#include "source_guard.bpf.h"

#define VMLANE_MAX_RA_OPTIONS 16
#define VMLANE_RA_OPTIONS_AT 70u
#define VMLANE_PREFIX_OPTION 3
#define VMLANE_PREFIX_AUTOCONF 0x40
#define VMLANE_LEASE_WITHOUT_END 0xffffffffu

// A look at the headers that spares all other traffic the reading: a DHCP or DHCPv6 server's, or a router's.
static __always_inline int vmlane_may_grant(const struct __sk_buff* skb) {
  const __u8* data = (const __u8*)(long)skb->data;
  const __u8* end = (const __u8*)(long)skb->data_end;

  if (data + 56 > end) return 1;
  if (skb->protocol == bpf_htons(ETH_P_IP)) return data[23] == IPPROTO_UDP && data[34] == 0 && data[35] == 67;
  if (skb->protocol != bpf_htons(ETH_P_IPV6)) return 0;
  if (data[20] == IPPROTO_ICMPV6) return data[54] == VMLANE_ND_RA;
  return data[20] == IPPROTO_UDP && data[54] == (547 >> 8) && data[55] == (547 & 0xff);
}

static __always_inline __u64 vmlane_end_of(__u32 seconds) {
  return seconds == VMLANE_LEASE_WITHOUT_END ? VMLANE_WITHOUT_END
                                             : bpf_ktime_get_boot_ns() + seconds * VMLANE_NS;
}

// What was granted now may end before what was known.
static __always_inline void vmlane_look_now(__u32 owner) {
  struct vmlane_plain* plain = bpf_map_lookup_elem(&vmlane_plains, &owner);

  if (plain) plain->look_at = 0;
}

// A client has one DHCP lease: another ends those before it.
static __always_inline void vmlane_end_other_ipv4(struct vmlane_guard* guard, __be32 address, __u32 owner) {
  struct vmlane_network_address scratch;

  for (__u32 slot = 0; slot < VMLANE_GUARD_MAX_LEARNED; slot++) {
    struct vmlane_learned* learned = &guard->learned[slot];

    if (!learned->until || !vmlane_is_ipv4(learned->address) || learned->address[3] == address) continue;
    vmlane_drop_claim(guard, slot, owner, &scratch);
    learned->until = 0;
  }
}

__noinline int vmlane_take_lease4(struct vmlane_guard* guard, struct vmlane_dhcp* reply, __u32 owner) {
  struct vmlane_network_address address = {};

  if (!guard || !reply) return 0;
  address.network = guard->network;
  address.address[2] = VMLANE_MAPPED;
  address.address[3] = reply->head.yours;
  if (!vmlane_learn(guard, &address, owner, vmlane_end_of(bpf_ntohl(reply->lease)))) return 0;
  __sync_fetch_and_or(&guard->bound, VMLANE_BOUND_IPV4);
  vmlane_end_other_ipv4(guard, reply->head.yours, owner);
  vmlane_look_now(owner);
  return 1;
}

// Whether the frame is a whole DHCP message between these ports, of BOOTP's operation (1: of a client, 2: of
// a server), for the workload's own MAC.
__noinline int vmlane_watched_dhcp(struct __sk_buff* skb, struct vmlane_guard* guard,
                                   struct vmlane_dhcp* message, __u32 operation) {
  __be16 server = bpf_htons(67), client = bpf_htons(68);
  struct vmlane_ip4_udp ip = {};
  __be32 cookie = 0;
  int walk = VMLANE_WALK_ON;

  if (!guard || !message || bpf_skb_load_bytes(skb, VMLANE_ETH_HEADER, &ip, sizeof(ip)) ||
      ip.version != 0x45 || ip.protocol != IPPROTO_UDP || (ip.fragment & bpf_htons(0x3fff)) ||
      ip.source_port != (operation == 2 ? server : client) ||
      ip.destination_port != (operation == 2 ? client : server))
    return 0;
  if (bpf_skb_load_bytes(skb, VMLANE_DHCP_AT, &message->head, sizeof(message->head)) ||
      message->head.operation != operation ||
      !vmlane_guard_same_mac(message->head.hardware_address, guard->macs[0]))
    return 0;
  if (bpf_skb_load_bytes(skb, VMLANE_DHCP_COOKIE_AT, &cookie, sizeof(cookie)) ||
      cookie != bpf_htonl(VMLANE_DHCP_COOKIE))
    return 0;
  message->at = VMLANE_DHCP_OPTIONS_AT;
  message->end = VMLANE_L4_OF_IP4 + bpf_ntohs(ip.udp_length);
  for (__u32 i = 0; i < VMLANE_DHCP_MAX_OPTIONS; i++) {
    walk = vmlane_dhcp_option(skb, message);
    if (walk != VMLANE_WALK_ON) break;
  }
  return walk == VMLANE_WALK_DONE;
}

// An ACK (RFC 2131).
__noinline int vmlane_watch_dhcp(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 owner) {
  struct vmlane_dhcp reply = {};

  if (!guard || !vmlane_watched_dhcp(skb, guard, &reply, 2) || reply.type != VMLANE_DHCP_ACK ||
      !reply.head.yours || !reply.lease)
    return 0;
  return vmlane_take_lease4(guard, &reply, owner);
}

// Others may have the address from now on, and the workload when it is granted again.
__noinline int vmlane_give_back(struct vmlane_guard* guard, struct vmlane_network_address* address,
                                __u32 owner) {
  struct vmlane_network_address scratch;

  if (!guard || !address) return 0;
  for (__u32 slot = 0; slot < VMLANE_GUARD_MAX_LEARNED; slot++) {
    struct vmlane_learned* learned = &guard->learned[slot];

    if (!learned->until || learned->address[0] != address->address[0] ||
        learned->address[1] != address->address[1] || learned->address[2] != address->address[2] ||
        learned->address[3] != address->address[3])
      continue;
    vmlane_drop_claim(guard, slot, owner, &scratch);
    learned->until = 0;
  }
  vmlane_look_now(owner);
  return 1;
}

// A RELEASE (RFC 2131, 4.4.6), which goes to the server by unicast.
__noinline int vmlane_watch_release(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 owner) {
  struct vmlane_network_address address = {};
  struct vmlane_dhcp message = {};

  if (!guard || !vmlane_watched_dhcp(skb, guard, &message, 1) || message.type != VMLANE_DHCP_RELEASE)
    return 0;
  address.address[2] = VMLANE_MAPPED;
  address.address[3] = message.head.client;
  return vmlane_give_back(guard, &address, owner);
}

struct vmlane_walk6 {
  __u32 at;
  __u32 end;
  __u32 is_release;  // the addresses are given back, not granted
};

// Takes one option of a message in. Those of an IA_NA or IA_TA are walked as the message's own.
__noinline int vmlane_watch_option6(struct __sk_buff* skb, struct vmlane_guard* guard,
                                    struct vmlane_walk6* walk, __u32 owner) {
  struct vmlane_network_address address = {};
  struct vmlane_option6 option;
  __be32 valid;
  __u32 at, code;

  if (!guard || !walk) return VMLANE_WALK_BROKEN;
  at = walk->at;
  if (at + sizeof(option) > walk->end) return VMLANE_WALK_DONE;
  if (bpf_skb_load_bytes(skb, at, &option, sizeof(option))) return VMLANE_WALK_BROKEN;
  code = bpf_ntohs(option.code);
  if (code == VMLANE_OPTION_IA_NA || code == VMLANE_OPTION_IA_TA) {
    walk->at = at + (code == VMLANE_OPTION_IA_NA ? 16 : 8);
    return VMLANE_WALK_ON;
  }
  walk->at = at + sizeof(option) + bpf_ntohs(option.length);
  if (code != VMLANE_OPTION_IA_ADDRESS || bpf_ntohs(option.length) < 24) return VMLANE_WALK_ON;
  if (bpf_skb_load_bytes(skb, at + 4, address.address, sizeof(address.address)) ||
      bpf_skb_load_bytes(skb, at + 24, &valid, sizeof(valid)))
    return VMLANE_WALK_BROKEN;
  if (walk->is_release) {
    vmlane_give_back(guard, &address, owner);
    return VMLANE_WALK_ON;
  }
  address.network = guard->network;
  if (!valid || !vmlane_learn(guard, &address, owner, vmlane_end_of(bpf_ntohl(valid)))) return VMLANE_WALK_ON;
  __sync_fetch_and_or(&guard->bound, VMLANE_BOUND_IPV6);
  vmlane_look_now(owner);
  return VMLANE_WALK_ON;
}

// The addresses of a message (RFC 8415): of a Reply, which goes to the client's own link-local address, or of
// the client's Release.
__noinline int vmlane_watch_dhcp6(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 owner,
                                  __u32 is_release) {
  __be16 server = bpf_htons(VMLANE_DHCPV6_SERVER), client = bpf_htons(VMLANE_DHCPV6_CLIENT);
  struct vmlane_walk6 walk = {.at = VMLANE_DHCP6_OPTIONS_AT, .is_release = is_release};
  struct udphdr udp;
  __u8 type;

  if (!guard || bpf_skb_load_bytes(skb, VMLANE_L4_OF_IP6, &udp, sizeof(udp)) ||
      udp.source != (is_release ? client : server) || udp.dest != (is_release ? server : client) ||
      bpf_skb_load_bytes(skb, VMLANE_DHCP6_AT, &type, sizeof(type)) ||
      type != (is_release ? VMLANE_DHCP6_RELEASE : VMLANE_DHCP6_REPLY))
    return 0;
  walk.end = VMLANE_L4_OF_IP6 + bpf_ntohs(udp.len);
  for (__u32 i = 0; i < VMLANE_DHCP6_MAX_OPTIONS; i++) {
    if (vmlane_watch_option6(skb, guard, &walk, owner) != VMLANE_WALK_ON) break;
  }
  return 0;
}

// A router advertisement that lets guests make addresses of their own.
__noinline int vmlane_watch_ra(struct __sk_buff* skb, struct vmlane_guard* guard) {
  struct {
    __u8 type;
    __u8 length;
    __u8 prefix_length;
    __u8 flags;
  } option;
  __u32 at = VMLANE_RA_OPTIONS_AT;
  struct ipv6hdr ip;
  __u8 type;

  if (!guard || bpf_skb_load_bytes(skb, VMLANE_ETH_HEADER, &ip, sizeof(ip)) ||
      ip.hop_limit != VMLANE_ND_HOP_LIMIT || bpf_skb_load_bytes(skb, VMLANE_L4_OF_IP6, &type, sizeof(type)) ||
      type != VMLANE_ND_RA)
    return 0;
  for (int i = 0; i < VMLANE_MAX_RA_OPTIONS; i++) {
    if (bpf_skb_load_bytes(skb, at, &option, sizeof(option)) || !option.length) break;
    if (option.type == VMLANE_PREFIX_OPTION && option.flags & VMLANE_PREFIX_AUTOCONF)
      __sync_fetch_and_or(&guard->bound, VMLANE_AUTOCONF);
    at += option.length * 8;
  }
  return 0;
}

// To be called for each frame that gets to a workload whose addresses are learned.
static __always_inline void vmlane_watch(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 owner) {
  __u8 protocol = 0;

  if (!vmlane_may_grant(skb) || skb->vlan_present) return;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    vmlane_watch_dhcp(skb, guard, owner);
    return;
  }
  if (skb->protocol != bpf_htons(ETH_P_IPV6) || bpf_skb_load_bytes(skb, 20, &protocol, sizeof(protocol)))
    return;
  if (protocol == IPPROTO_UDP)
    vmlane_watch_dhcp6(skb, guard, owner, 0);
  else if (protocol == IPPROTO_ICMPV6)
    vmlane_watch_ra(skb, guard);
}

// To be called for each frame of such a workload that passed the guard, but for those of the short way.
static __always_inline void vmlane_watch_sent(struct __sk_buff* skb, struct vmlane_guard* guard,
                                              __u32 owner) {
  __u8 protocol = 0;

  if (skb->vlan_present) return;
  if (skb->protocol == bpf_htons(ETH_P_IP))
    vmlane_watch_release(skb, guard, owner);
  else if (skb->protocol == bpf_htons(ETH_P_IPV6) &&
           !bpf_skb_load_bytes(skb, 20, &protocol, sizeof(protocol)) && protocol == IPPROTO_UDP)
    vmlane_watch_dhcp6(skb, guard, owner, 1);
}

#endif
