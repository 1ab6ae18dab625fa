// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The source guard: what a workload may say it is. Frames that name another MAC, ARP sender, IP source or
// neighbour than the workload's are told apart by reason; DHCP servers, routers and link control are not a
// guest's business. Each protocol is a function of its own, which the verifier proves once. What cannot be
// read is malformed: nothing gets by for being odd.
#ifndef VMLANE_SOURCE_GUARD_BPF_H
#define VMLANE_SOURCE_GUARD_BPF_H

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "learned_addresses.bpf.h"
#include "source_guard_layout.bpf.h"

// The core takes the outermost tag off before a program sees the frame; so many may be left.
#define VMLANE_MAX_INLINE_TAGS 3
#define VMLANE_MAX_EXTENSION_HEADERS 6
#define VMLANE_MAX_ND_OPTIONS 8
#define VMLANE_VLAN_ID_MASK 0x0fff

#define VMLANE_ETH_P_RARP 0x8035
#define VMLANE_ETH_P_LLDP 0x88cc
#define VMLANE_DHCP_SERVER 67
#define VMLANE_DHCP_CLIENT 68
#define VMLANE_DHCPV6_CLIENT 546
#define VMLANE_DHCPV6_SERVER 547
#define VMLANE_MLD_QUERY 130
#define VMLANE_MLD_REPORT 131
#define VMLANE_MLD_DONE 132
#define VMLANE_ND_RS 133
#define VMLANE_ND_RA 134
#define VMLANE_ND_NS 135
#define VMLANE_ND_NA 136
#define VMLANE_ND_REDIRECT 137
#define VMLANE_MLDV2_REPORT 143
#define VMLANE_ND_SOURCE_OPTION 1
#define VMLANE_ND_TARGET_OPTION 2
#define VMLANE_ND_HOP_LIMIT 255

struct vmlane_guard_arp_packet {
  __be16 hardware_type;
  __be16 protocol_type;
  __u8 hardware_length;
  __u8 protocol_length;
  __be16 operation;
  __u8 sender[ETH_ALEN];
  __u8 sender_address[4];
  __u8 target[ETH_ALEN];
  __u8 target_address[4];
};

struct vmlane_vlan_tag {
  __be16 id;
  __be16 type;
};

// Where a neighbour discovery message has its target (RFC 4861, 4.3 and 4.4), and the options behind it.
#define VMLANE_ND_TARGET 8
#define VMLANE_ND_OPTIONS 24
#define VMLANE_RS_OPTIONS 8

// The beginning of an IPv6 header. The stack is scarce in the functions below, which call each other.
struct vmlane_ip6_head {
  __be32 version;
  __be16 length;
  __u8 next;
  __u8 hop_limit;
};
#define VMLANE_IP6_SOURCE 8

// An ND option that has a link-layer address.
struct vmlane_nd_option {
  __u8 type;
  __u8 length;  // in units of eight bytes
  __u8 mac[ETH_ALEN];
};

static __always_inline int vmlane_guard_same_mac(const __u8* a, const __u8* b) {
  int differs = 0;

#pragma unroll
  for (int i = 0; i < ETH_ALEN; i++) differs |= a[i] ^ b[i];
  return !differs;
}

static __always_inline int vmlane_is_tag(__be16 type) {
  return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

static __always_inline int vmlane_is_in_group(const struct ethhdr* ethernet, const __u8* group) {
  int differs = 0;

#pragma unroll
  for (int i = 0; i < ETH_ALEN - 1; i++) differs |= ethernet->h_dest[i] ^ group[i];
  return !differs;
}

// Ethernet types of link control, and the addresses that bridges never forward (IEEE 802.1Q, table 8-1) or by
// which switches of one vendor discover each other and span a tree for each VLAN.
static __always_inline int vmlane_is_control(const struct ethhdr* ethernet) {
  static const __u8 reserved[] = {0x01, 0x80, 0xc2, 0x00, 0x00};
  static const __u8 per_vlan[] = {0x01, 0x00, 0x0c, 0xcc, 0xcc};
  __u8 last = ethernet->h_dest[ETH_ALEN - 1];
  __be16 type = ethernet->h_proto;

  if (vmlane_is_in_group(ethernet, reserved) && last < 0x10) return 1;
  if (vmlane_is_in_group(ethernet, per_vlan) && (last == 0xcc || last == 0xcd)) return 1;
  return type == bpf_htons(ETH_P_PAUSE) || type == bpf_htons(ETH_P_SLOW) || type == bpf_htons(ETH_P_PAE) ||
         type == bpf_htons(VMLANE_ETH_P_LLDP);
}

static __always_inline int vmlane_owns_mac(const struct vmlane_guard* guard, const __u8* mac) {
  for (__u32 i = 0; i < VMLANE_GUARD_MAX_MACS && i < guard->mac_count; i++) {
    if (vmlane_guard_same_mac(mac, guard->macs[i])) return 1;
  }
  return 0;
}

static __always_inline int vmlane_owns_ipv4(const struct vmlane_guard* guard, __be32 address) {
  for (__u32 i = 0; i < VMLANE_GUARD_MAX_IPV4 && i < guard->ipv4_count; i++) {
    if ((address & guard->ipv4[i].mask) == guard->ipv4[i].address) return 1;
  }
  return 0;
}

// The workload's key in the maps.
static __always_inline __u32 vmlane_key_of(const struct __sk_buff* skb) {
  return skb->tc_classid & 0xffff;
}

// An address other than 0.0.0.0 that the workload may have: its own, an allowed or a learned one.
static __always_inline int vmlane_may_be_ipv4(struct vmlane_guard* guard, __be32 address, __u32 owner) {
  struct vmlane_network_address learned = {};

  if (vmlane_owns_ipv4(guard, address)) return 1;
  if (!(guard->flags & VMLANE_GUARD_LEARNS)) return !(guard->flags & VMLANE_GUARD_ADDRESSES);
  learned.network = guard->network;
  learned.address[2] = VMLANE_MAPPED;
  learned.address[3] = address;
  return vmlane_may_use(guard, &learned, owner);
}

static __always_inline int vmlane_guard_is_unspecified(const __be32* address) {
  return !(address[0] | address[1] | address[2] | address[3]);
}

static __always_inline int vmlane_is_link_local(const __be32* address) {
  return address[0] == bpf_htonl(0xfe800000) && address[1] == 0;
}

static __always_inline __u64 vmlane_interface_id(const __be32* address) {
  return (__u64)address[2] << 32 | address[3];
}

// Guests choose link-local addresses by the MAC or at random (RFC 7217, 8981); the first of them, but not the
// gateway's, are theirs from then on.
static __always_inline int vmlane_owns_link_local(struct vmlane_guard* guard, const __be32* address) {
  __u64 id = vmlane_interface_id(address);

  if (id == 0 || id == guard->gateway_link_local) return 0;
  if (id == guard->own_link_local) return 1;
#pragma unroll
  for (int i = 0; i < VMLANE_GUARD_MAX_LINK_LOCALS; i++) {
    __u64* slot = &guard->learned_link_locals[i];
    __u64 was = __sync_val_compare_and_swap(slot, 0, id);

    if (was == 0 || was == id) return 1;
  }
  return 0;
}

// An IPv6 address that the workload may have: its own, an allowed, a learned or a link-local one.
__noinline int vmlane_owns_ipv6(struct vmlane_guard* guard, struct vmlane_network_address* which,
                                __u32 owner) {
  const __be32* address;

  if (!guard || !which) return 0;
  if (!(guard->flags & (VMLANE_GUARD_ADDRESSES | VMLANE_GUARD_LEARNS))) return 1;
  address = which->address;
  for (__u32 i = 0; i < VMLANE_GUARD_MAX_IPV6 && i < guard->ipv6_count; i++) {
    const struct vmlane_guard_ipv6* allowed = &guard->ipv6[i];
    __be32 differs = 0;

#pragma unroll
    for (int word = 0; word < 4; word++)
      differs |= (address[word] & allowed->mask[word]) ^ allowed->address[word];
    if (!differs) return 1;
  }
  if (vmlane_is_link_local(address)) return !vmlane_binds(guard, 0) || vmlane_owns_link_local(guard, address);
  return guard->flags & VMLANE_GUARD_LEARNS && vmlane_may_use(guard, which, owner);
}

// The same of one that stands in the frame.
static __always_inline int vmlane_may_be_ipv6_at(struct __sk_buff* skb, struct vmlane_guard* guard,
                                                 __u32 at) {
  struct vmlane_network_address which = {.network = guard->network};

  return !bpf_skb_load_bytes(skb, at, which.address, sizeof(which.address)) &&
         vmlane_owns_ipv6(guard, &which, vmlane_key_of(skb));
}

// RFC 826 for Ethernet and IPv4, and RARP (RFC 903), by which QEMU announces a migrated guest. `source` is
// the frame's sender.
__noinline int vmlane_guard_arp(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 offset,
                                __u32 is_rarp) {
  __u8 source[ETH_ALEN];
  struct vmlane_guard_arp_packet arp;
  __be32 address;
  int may_be;

  if (!guard || offset > 64) return VMLANE_GUARD_MALFORMED;
  if (bpf_skb_load_bytes(skb, ETH_ALEN, source, sizeof(source)) ||
      bpf_skb_load_bytes(skb, offset, &arp, sizeof(arp)))
    return VMLANE_GUARD_BAD_ARP;
  if (arp.hardware_length != ETH_ALEN || !vmlane_guard_same_mac(arp.sender, source))
    return VMLANE_GUARD_BAD_ARP;
  if (!(guard->flags & VMLANE_GUARD_FULL) || is_rarp) return VMLANE_GUARD_PASS;
  if (arp.hardware_type != bpf_htons(1) || arp.protocol_type != bpf_htons(ETH_P_IP) ||
      arp.protocol_length != sizeof(address))
    return VMLANE_GUARD_BAD_ARP;
  if (arp.operation != bpf_htons(1) && arp.operation != bpf_htons(2)) return VMLANE_GUARD_BAD_ARP;
  __builtin_memcpy(&address, arp.sender_address, sizeof(address));
  // A probe has no sender address yet (RFC 5227).
  may_be = address == 0 ? !vmlane_binds(guard, 1) || arp.operation == bpf_htons(1)
                        : vmlane_may_be_ipv4(guard, address, vmlane_key_of(skb));
  return may_be ? VMLANE_GUARD_PASS : VMLANE_GUARD_BAD_ARP;
}

// Without a source address there is only the way to one: a DHCP client's broadcast.
static __always_inline int vmlane_guard_ports4(const struct vmlane_guard* guard, const struct iphdr* ip,
                                               const struct udphdr* udp) {
  int to_server = udp->source == bpf_htons(VMLANE_DHCP_CLIENT) && udp->dest == bpf_htons(VMLANE_DHCP_SERVER);

  if (udp->source == bpf_htons(VMLANE_DHCP_SERVER) && udp->dest == bpf_htons(VMLANE_DHCP_CLIENT) &&
      !(guard->flags & VMLANE_GUARD_TRUSTED))
    return VMLANE_GUARD_DHCP_SERVER;
  if (ip->saddr == 0 && !(to_server && ip->daddr == 0xffffffff) && vmlane_binds(guard, 1))
    return VMLANE_GUARD_BAD_IPV4;
  return VMLANE_GUARD_PASS;
}

__noinline int vmlane_guard_ipv4(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 offset) {
  struct udphdr udp;
  struct iphdr ip;

  if (!guard || offset > 64) return VMLANE_GUARD_MALFORMED;
  if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
    return VMLANE_GUARD_MALFORMED;
  if (ip.saddr != 0 && !vmlane_may_be_ipv4(guard, ip.saddr, vmlane_key_of(skb))) return VMLANE_GUARD_BAD_IPV4;
  // Only the first fragment has ports; without it the others come to nothing.
  if (ip.protocol != IPPROTO_UDP || (ip.frag_off & bpf_htons(0x1fff))) {
    if (ip.saddr == 0 && vmlane_binds(guard, 1)) return VMLANE_GUARD_BAD_IPV4;
    return VMLANE_GUARD_PASS;
  }
  if (bpf_skb_load_bytes(skb, offset + ip.ihl * 4, &udp, sizeof(udp))) return VMLANE_GUARD_MALFORMED;
  return vmlane_guard_ports4(guard, &ip, &udp);
}

// The length of the option at `offset`, 0 when it is not as it has to be: what it says of the sender's MAC
// must be the frame's source. Apart from the loop, which would have the verifier prove it again each time.
__noinline int vmlane_guard_nd_option(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 offset) {
  struct vmlane_nd_option option;

  if (!guard || bpf_skb_load_bytes(skb, offset, &option, sizeof(option))) return 0;
  if ((option.type == VMLANE_ND_SOURCE_OPTION || option.type == VMLANE_ND_TARGET_OPTION) &&
      !vmlane_owns_mac(guard, option.mac))
    return 0;
  return option.length * 8;
}

static __always_inline int vmlane_guard_nd_options(struct __sk_buff* skb, struct vmlane_guard* guard,
                                                   __u32 offset, __u32 end) {
  for (int i = 0; i < VMLANE_MAX_ND_OPTIONS; i++) {
    int length;

    if (offset + sizeof(struct vmlane_nd_option) > end) return VMLANE_GUARD_PASS;
    length = vmlane_guard_nd_option(skb, guard, offset);
    if (length <= 0) return VMLANE_GUARD_BAD_ND;
    offset += length;
  }
  return VMLANE_GUARD_BAD_ND;
}

// Neighbour discovery (RFC 4861), with `end` behind the IPv6 payload. What it advertises, or looks for
// duplicates of, must be what the workload may take.
static __always_inline int vmlane_guard_nd(struct __sk_buff* skb, struct vmlane_guard* guard, __u8 type,
                                           __u32 offset, __u32 end, int unspecified) {
  if (type == VMLANE_ND_RS) return vmlane_guard_nd_options(skb, guard, offset + VMLANE_RS_OPTIONS, end);
  if ((type == VMLANE_ND_NA || unspecified) && !vmlane_may_be_ipv6_at(skb, guard, offset + VMLANE_ND_TARGET))
    return VMLANE_GUARD_BAD_ND;
  return vmlane_guard_nd_options(skb, guard, offset + VMLANE_ND_OPTIONS, end);
}

// ICMPv6, with the IPv6 header at `ip_offset`, which has no source address when `unspecified`.
__noinline int vmlane_guard_icmpv6(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 ip_offset,
                                   __u32 offset, __u32 unspecified) {
  struct vmlane_ip6_head ip;
  __u32 end;
  __u8 type;

  if (!guard || ip_offset > 64 || offset > 1024) return VMLANE_GUARD_MALFORMED;
  if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof(ip)) ||
      bpf_skb_load_bytes(skb, offset, &type, sizeof(type)))
    return VMLANE_GUARD_MALFORMED;
  if (type == VMLANE_ND_RA || type == VMLANE_ND_REDIRECT)
    return guard->flags & VMLANE_GUARD_TRUSTED ? VMLANE_GUARD_PASS : VMLANE_GUARD_ROUTER;
  if (type == VMLANE_MLD_REPORT || type == VMLANE_MLDV2_REPORT) return VMLANE_GUARD_PASS;
  if (type != VMLANE_ND_RS && type != VMLANE_ND_NS && type != VMLANE_ND_NA)
    return unspecified ? VMLANE_GUARD_BAD_IPV6 : VMLANE_GUARD_PASS;
  if (ip.hop_limit != VMLANE_ND_HOP_LIMIT || (unspecified && type == VMLANE_ND_NA))
    return VMLANE_GUARD_BAD_ND;
  end = ip_offset + sizeof(struct ipv6hdr) + bpf_ntohs(ip.length);
  return vmlane_guard_nd(skb, guard, type, offset, end, unspecified);
}

static __always_inline int vmlane_is_extension(__u8 header) {
  return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING || header == IPPROTO_DSTOPTS ||
         header == IPPROTO_FRAGMENT || header == IPPROTO_AH;
}

// Finds the upper layer behind the extension headers: its offset, 0 for a later fragment, which has none, or
// below 0 for what cannot be read. `header` is in and out the number of the next header, `fragment` tells
// whether one was passed.
static __always_inline int vmlane_skip_extensions(struct __sk_buff* skb, __u32 offset, __u8* header,
                                                  int* fragment) {
  struct {
    __u8 next;
    __u8 length;
    __be16 fragment_offset;
  } extension;

  for (int i = 0; i < VMLANE_MAX_EXTENSION_HEADERS; i++) {
    if (!vmlane_is_extension(*header)) return offset;
    if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension))) return -1;
    if (*header == IPPROTO_FRAGMENT) {
      *fragment = 1;
      if (extension.fragment_offset & bpf_htons(0xfff8)) return 0;
      offset += 8;
    } else if (*header == IPPROTO_AH) {
      offset += (extension.length + 2) * 4;
    } else {
      offset += (extension.length + 1) * 8;
    }
    *header = extension.next;
    if (offset > 1024) return -1;
  }
  return vmlane_is_extension(*header) ? -1 : (int)offset;
}

__noinline int vmlane_guard_ipv6(struct __sk_buff* skb, struct vmlane_guard* guard, __u32 offset) {
  struct vmlane_network_address source = {};
  struct vmlane_ip6_head ip;
  struct udphdr udp;
  int fragment = 0;
  int unspecified;
  int upper;
  __u8 header;

  if (!guard || offset > 64) return VMLANE_GUARD_MALFORMED;
  if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) ||
      (ip.version & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000) ||
      bpf_skb_load_bytes(skb, offset + VMLANE_IP6_SOURCE, source.address, sizeof(source.address)))
    return VMLANE_GUARD_MALFORMED;
  source.network = guard->network;
  unspecified = vmlane_guard_is_unspecified(source.address);
  if (!unspecified && !vmlane_owns_ipv6(guard, &source, vmlane_key_of(skb))) return VMLANE_GUARD_BAD_IPV6;
  header = ip.next;
  upper = vmlane_skip_extensions(skb, offset + sizeof(struct ipv6hdr), &header, &fragment);
  if (upper < 0) return VMLANE_GUARD_MALFORMED;
  if (upper == 0) return unspecified ? VMLANE_GUARD_BAD_IPV6 : VMLANE_GUARD_PASS;
  if (header == IPPROTO_ICMPV6) {
    int reason = vmlane_guard_icmpv6(skb, guard, offset, upper, unspecified);
    __u8 type = 0;

    // Neighbour discovery in fragments is what guards cannot read: RFC 6980 forbids it.
    if (reason != VMLANE_GUARD_PASS || !fragment) return reason;
    if (bpf_skb_load_bytes(skb, upper, &type, sizeof(type))) return VMLANE_GUARD_MALFORMED;
    return type >= VMLANE_ND_RS && type <= VMLANE_ND_REDIRECT ? VMLANE_GUARD_BAD_ND : VMLANE_GUARD_PASS;
  }
  if (unspecified) return VMLANE_GUARD_BAD_IPV6;
  if (header != IPPROTO_UDP || guard->flags & VMLANE_GUARD_TRUSTED) return VMLANE_GUARD_PASS;
  if (bpf_skb_load_bytes(skb, upper, &udp, sizeof(udp))) return VMLANE_GUARD_MALFORMED;
  return udp.source == bpf_htons(VMLANE_DHCPV6_SERVER) && udp.dest == bpf_htons(VMLANE_DHCPV6_CLIENT)
             ? VMLANE_GUARD_DHCP_SERVER
             : VMLANE_GUARD_PASS;
}

static __always_inline int vmlane_guard_protocol(struct __sk_buff* skb, struct vmlane_guard* guard,
                                                 __be16 type, __u32 offset) {
  if (type == bpf_htons(ETH_P_ARP) || type == bpf_htons(VMLANE_ETH_P_RARP))
    return vmlane_guard_arp(skb, guard, offset, type == bpf_htons(VMLANE_ETH_P_RARP));
  if (!(guard->flags & VMLANE_GUARD_FULL)) return VMLANE_GUARD_PASS;
  if (type == bpf_htons(ETH_P_IP)) return vmlane_guard_ipv4(skb, guard, offset);
  if (type == bpf_htons(ETH_P_IPV6)) return vmlane_guard_ipv6(skb, guard, offset);
  return VMLANE_GUARD_PASS;
}

// The whole guard for a frame from the workload: VMLANE_GUARD_PASS or the reason to drop it. Frames in a VLAN
// are checked by the same addresses: a workload has no others.
__noinline int vmlane_guard_frame(struct __sk_buff* skb, struct vmlane_guard* guard) {
  struct ethhdr ethernet;
  struct vmlane_vlan_tag tag;
  __u32 offset = sizeof(ethernet);
  __be16 type;
  int tagged;

  if (!guard) return VMLANE_GUARD_MALFORMED;
  if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet))) return VMLANE_GUARD_MALFORMED;
  if (!vmlane_owns_mac(guard, ethernet.h_source)) return VMLANE_GUARD_BAD_MAC;
  if ((guard->flags & (VMLANE_GUARD_FULL | VMLANE_GUARD_TRUSTED)) == VMLANE_GUARD_FULL &&
      vmlane_is_control(&ethernet))
    return VMLANE_GUARD_CONTROL;
  type = ethernet.h_proto;
  // A tag of VLAN 0 has a priority and no VLAN.
  tagged = skb->vlan_present && (skb->vlan_tci & VMLANE_VLAN_ID_MASK);
#pragma unroll
  for (int i = 0; i < VMLANE_MAX_INLINE_TAGS; i++) {
    if (!vmlane_is_tag(type)) break;
    if (bpf_skb_load_bytes(skb, offset, &tag, sizeof(tag))) return VMLANE_GUARD_MALFORMED;
    tagged |= tag.id & bpf_htons(VMLANE_VLAN_ID_MASK);
    type = tag.type;
    offset += sizeof(tag);
  }
  if (guard->flags & VMLANE_GUARD_FULL) {
    if (tagged && !(guard->flags & VMLANE_GUARD_TAGS)) return VMLANE_GUARD_VLAN;
    if (vmlane_is_tag(type)) return VMLANE_GUARD_MALFORMED;
  }
  return vmlane_guard_protocol(skb, guard, type, offset);
}

#endif
