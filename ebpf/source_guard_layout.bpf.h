// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What the source guard knows of one NIC: written by the CNI plugin, read by the kernel program. Addresses
// are in network byte order; all zeros guards nothing.
#ifndef VMLANE_SOURCE_GUARD_LAYOUT_BPF_H
#define VMLANE_SOURCE_GUARD_LAYOUT_BPF_H

#include <linux/types.h>

// Named as C in the kernel is.
// NOLINTBEGIN(readability-identifier-naming)

#define VMLANE_GUARD_MAX_MACS 8
#define VMLANE_GUARD_MAX_IPV4 16
#define VMLANE_GUARD_MAX_IPV6 16
#define VMLANE_GUARD_MAX_LINK_LOCALS 2
#define VMLANE_GUARD_MAX_LEARNED 8
#define VMLANE_MAX_CLAIMS 4096  // of a node

// Bits of vmlane_guard::flags.
#define VMLANE_GUARD_MACS 1       // Ethernet and ARP senders are checked
#define VMLANE_GUARD_FULL 2       // and all else: ND, DHCP and router advertisements, tags, control frames
#define VMLANE_GUARD_ADDRESSES 4  // the IPv4 and IPv6 addresses are known and checked
#define VMLANE_GUARD_TRUSTED 8    // may serve DHCP, advertise itself as a router, take part in link control
#define VMLANE_GUARD_TAGS 16      // may send VLAN tags: the bridge judges them
#define VMLANE_GUARD_ANY_DESTINATION 32  // gets frames to other stations too: nested or promiscuous
#define VMLANE_GUARD_ANSWERS 64          // its questions are answered: vmlane_answers has what
#define VMLANE_GUARD_ON_EGRESS 128       // what the workload sends leaves by the link's egress: a macvtap's

// Addresses that nobody named are learned: from the leases that DHCP and DHCPv6 servers grant; or whoever of
// the network is first to use one has it.
#define VMLANE_GUARD_LEARN_LEASES 256
#define VMLANE_GUARD_LEARN_FIRST 512
#define VMLANE_GUARD_LEARNS (VMLANE_GUARD_LEARN_LEASES | VMLANE_GUARD_LEARN_FIRST)

// Bits of vmlane_guard::bound. Until there is a lease of a family its addresses are not known.
#define VMLANE_BOUND_IPV4 1
#define VMLANE_BOUND_IPV6 2
#define VMLANE_AUTOCONF 4  // guests make IPv6 addresses of their own (RFC 4862): leases are not all they have

// Why a frame was dropped. The names for people are in ebpf/workload.cpp, in this order.
enum vmlane_guard_reason {
  VMLANE_GUARD_PASS,
  VMLANE_GUARD_BAD_MAC,
  VMLANE_GUARD_BAD_ARP,
  VMLANE_GUARD_BAD_IPV4,
  VMLANE_GUARD_BAD_IPV6,
  VMLANE_GUARD_BAD_ND,
  VMLANE_GUARD_DHCP_SERVER,
  VMLANE_GUARD_ROUTER,
  VMLANE_GUARD_VLAN,
  VMLANE_GUARD_CONTROL,
  VMLANE_GUARD_MALFORMED,
  VMLANE_GUARD_FOREIGN_DESTINATION,  // towards the workload
  VMLANE_GUARD_REASONS,
};

// Room for counters, a power of two: an index is bounded by a mask.
#define VMLANE_GUARD_COUNTERS 16

struct vmlane_guard_ipv4 {
  __be32 address;
  __be32 mask;
};

struct vmlane_guard_ipv6 {
  __be32 address[4];
  __be32 mask[4];
};

// An address of a network; of IPv4 as ::ffff:0:0/96 has it.
struct vmlane_network_address {
  __u32 network;
  __be32 address[4];
};

// Whose it is: nobody else of the network may use it.
struct vmlane_claim {
  __u32 owner;  // the workload's key
  __u32 slot;   // of vmlane_guard::learned, VMLANE_GUARD_MAX_LEARNED when it was not learned
  __u64 until;  // nanoseconds of the boot clock
};
#define VMLANE_WITHOUT_END (~0ull)

// An address that a workload came by; free when `until` has passed.
struct vmlane_learned {
  __be32 address[4];
  __u64 until;
};

struct vmlane_guard {
  __u8 owner[16];                       // the attachment id
  __u8 macs[VMLANE_GUARD_MAX_MACS][8];  // six bytes each; the first is the NIC's own
  __u32 flags;
  __u32 mac_count;
  __u32 ipv4_count;
  __u32 ipv6_count;
  struct vmlane_guard_ipv4 ipv4[VMLANE_GUARD_MAX_IPV4];  // the first is the NIC's own
  struct vmlane_guard_ipv6 ipv6[VMLANE_GUARD_MAX_IPV6];
  // Interface ids of link-local addresses: the one made from the MAC (RFC 4291), that of the network's
  // gateway, which no guest may take, and those that the guest was first to use; 0 is none.
  __u64 own_link_local;
  __u64 gateway_link_local;
  __u64 learned_link_locals[VMLANE_GUARD_MAX_LINK_LOCALS];
  __u32 network;
  __u32 bound;
  struct vmlane_learned learned[VMLANE_GUARD_MAX_LEARNED];
  __u64 dropped[VMLANE_GUARD_COUNTERS];  // by reason
};

// NOLINTEND(readability-identifier-naming)

#endif
