// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What a datapath needs to answer one guest's DHCP, DHCPv6, router solicitations, ARP and neighbour
// solicitations without a process: the plugin builds it once from the attachment's record (answers/build.h),
// the kernel program and the switch only copy and patch. No pointers, one layout for C and C++, so that it
// can be a map's value. All zeros answers nothing.
#pragma once

#include <linux/types.h>

// Named as C in the kernel is.
// NOLINTBEGIN(readability-identifier-naming)

#define VMLANE_TEMPLATE_BYTES 1024u   // a frame at most, without what is taken over from a request
#define VMLANE_ANSWERED_ADDRESSES 4u  // of each family, for which ARP or ND is answered
#define VMLANE_TEMPLATE_CUTS 8u       // shorter forms of a template
#define VMLANE_GUEST_ADDRESSES 4u     // of IPv6, in one lease
#define VMLANE_DUID_BYTES 10u         // a DUID-LL of an Ethernet address (RFC 8415, 11.4)

// What is answered: bits of vmlane_answers.flags.
enum vmlane_answer_flag {
  VMLANE_ANSWER_DHCP4 = 1,
  VMLANE_ANSWER_DHCP6 = 2,
  VMLANE_ANSWER_RA = 4,
  VMLANE_ANSWER_ARP = 8,
  VMLANE_ANSWER_ND = 16,
};

// Whole frames from the gateway's MAC to the guest's, but for what each request decides.
enum vmlane_template_kind {
  VMLANE_TEMPLATE_LEASE4,   // offer and ack: the first option is the message type
  VMLANE_TEMPLATE_INFORM4,  // ack of an inform
  VMLANE_TEMPLATE_NAK4,
  VMLANE_TEMPLATE_LEASE6,   // advertise and reply: the first option is IA_NA
  VMLANE_TEMPLATE_INFORM6,  // reply to an information-request
  VMLANE_TEMPLATE_STATUS6,  // reply to confirm, release and decline: the first option is the status
  VMLANE_TEMPLATE_RA,
  VMLANE_TEMPLATE_REFRESH,  // an RA to all nodes that may stand in any frame's place: nothing is patched
  VMLANE_TEMPLATE_ARP,
  VMLANE_TEMPLATE_NA,
  VMLANE_TEMPLATES,
};

enum vmlane_answer_count {
  VMLANE_COUNT_OFFER,
  VMLANE_COUNT_ACK,
  VMLANE_COUNT_NAK,
  VMLANE_COUNT_INFORM,
  VMLANE_COUNT_ADVERTISE,
  VMLANE_COUNT_REPLY6,        // addresses: request, renew, rebind, rapid commit
  VMLANE_COUNT_INFORMATION6,  // information-request
  VMLANE_COUNT_STATUS6,       // confirm, release, decline
  VMLANE_COUNT_RA,            // to solicitations
  VMLANE_COUNT_RA_REFRESH,
  VMLANE_COUNT_ARP,
  VMLANE_COUNT_NA,
  VMLANE_COUNT_SILENT,     // for us, and no reply is due: DHCPv4 release and decline
  VMLANE_COUNT_MALFORMED,  // for us, and dropped
  VMLANE_COUNT_FAILED,     // the frame could not be made as long as the reply
  VMLANE_COUNTS,
};

struct vmlane_template {
  __u32 length;  // 0: there is none of this kind
  // Where it may end as well, the longest first, for a client that takes no more; 0: no further one.
  __u16 cuts[VMLANE_TEMPLATE_CUTS];
  __u8 frame[VMLANE_TEMPLATE_BYTES];
};

struct vmlane_answers {
  __u32 flags;
  __u32 ra_interval;  // seconds after which a passing frame brings an RA; 0: never
  __u8 guest_mac[6];
  __u8 gateway_mac[6];
  __be32 address4;                                  // the guest's
  __be32 server4;                                   // our DHCP server identifier
  __be32 arp_addresses[VMLANE_ANSWERED_ADDRESSES];  // 0: none
  __be32 addresses6[VMLANE_GUEST_ADDRESSES][4];     // the guest's; all zeros: none
  __be32 nd_addresses[VMLANE_ANSWERED_ADDRESSES][4];
  __u8 server_duid[VMLANE_DUID_BYTES];
  __u8 reserved[6];
  __u64 last_ra;  // nanoseconds of the boot clock; 0: none was sent
  __u64 counters[VMLANE_COUNTS];
  struct vmlane_template templates[VMLANE_TEMPLATES];
};

#define VMLANE_ANSWERS_LIMIT 12288u  // bytes: what an attachment may cost the kernel
#ifdef __cplusplus
static_assert(sizeof(struct vmlane_answers) <= VMLANE_ANSWERS_LIMIT);
#else
_Static_assert(sizeof(struct vmlane_answers) <= VMLANE_ANSWERS_LIMIT, "an attachment's answers are too long");
#endif
// NOLINTEND(readability-identifier-naming)
