/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VMLANE_POLICY_PACKET_H
#define VMLANE_POLICY_PACKET_H

/*
 * What policy has to know of a frame. Freestanding C17 that is C++ as well, for the kernel's programs and
 * native code alike; little-endian machines only. Read are Ethernet with tags in the frame, IPv4 with
 * options, IPv6 with extension headers, fragments, and what an ICMP error quotes. Nothing of a frame is
 * changed.
 *
 * Headers count as far as they are within the first VMLANE_PACKET_HEADERS bytes. What cannot be read is said
 * to be so and never guessed.
 */

#include "verdict.h"

/* NOLINTBEGIN(readability-identifier-naming,modernize-use-nullptr) */

#ifdef __bpf__ /* loads at odd addresses are fine there, but not byte by byte */
#define VMLANE_PACKET_WIRE
#else
#define VMLANE_PACKET_WIRE __attribute__((packed))
#endif

enum {
  VMLANE_PACKET_HEADERS = 512,
  VMLANE_PACKET_MAX_TAGS = 3,
  VMLANE_PACKET_MAX_EXTENSIONS = 8,
  VMLANE_PACKET_ETHERNET = 14
};

enum {
  VMLANE_ETHERTYPE_IPV4 = 0x0800,
  VMLANE_ETHERTYPE_ARP = 0x0806,
  VMLANE_ETHERTYPE_RARP = 0x8035,
  VMLANE_ETHERTYPE_VLAN = 0x8100,
  VMLANE_ETHERTYPE_IPV6 = 0x86dd,
  VMLANE_ETHERTYPE_QINQ = 0x88a8
};
enum { VMLANE_IP_ICMP = 1, VMLANE_IP_ICMPV6 = 58 };
enum {
  VMLANE_IPV6_HOP_BY_HOP = 0,
  VMLANE_IPV6_ROUTING = 43,
  VMLANE_IPV6_FRAGMENT = 44,
  VMLANE_IPV6_AH = 51,
  VMLANE_IPV6_DESTINATION = 60,
  VMLANE_IPV6_MOBILITY = 135
};

/* What a frame is. */
enum {
  VMLANE_PACKET_OTHER = 0,     /* neither IP nor ARP */
  VMLANE_PACKET_ARP = 1,       /* or RARP */
  VMLANE_PACKET_IP = 2,        /* whole, or the first fragment: everything is known */
  VMLANE_PACKET_FRAGMENT = 3,  /* a later one: it has no ports */
  VMLANE_PACKET_MALFORMED = 4, /* or past a limit */
  VMLANE_PACKET_TRUNCATED = 5  /* it goes on where the view ends */
};

/* Bits of vmlane_packet.flags. */
enum {
  VMLANE_PACKET_FIRST_FRAGMENT = 1,
  VMLANE_PACKET_ICMP_ERROR = 2, /* `quoted` leads to what it is about */
  VMLANE_PACKET_NEIGHBOUR = 4   /* neighbour discovery or multicast listener discovery */
};

enum { VMLANE_TCP_FIN = 1, VMLANE_TCP_SYN = 2, VMLANE_TCP_RST = 4, VMLANE_TCP_ACK = 16 };

struct vmlane_packet {
  /* As in the slots of verdict.h. Aligned for the compiler, which makes a packet all zeros each time. */
  uint32_t source[4] __attribute__((aligned(8)));
  uint32_t destination[4];
  uint16_t source_port; /* 0 without ports; of an ICMP echo its identifier, in both */
  uint16_t destination_port;
  uint32_t fragment; /* the identification of a fragment */
  uint8_t kind;
  uint8_t v6;
  uint8_t protocol;
  uint8_t flags;
  uint8_t tcp_flags;
  uint8_t icmp_type;
  uint16_t quoted; /* offset of the IP header in an ICMP error */
};

/* The bytes that can be read, from the Ethernet header on. */
struct vmlane_packet_view {
  const uint8_t* data;
  const uint8_t* end;
};

struct vmlane_wire_ipv4 {
  uint8_t version_length;
  uint8_t service;
  uint16_t total_length;
  uint16_t id;
  uint16_t fragment;
  uint8_t ttl;
  uint8_t protocol;
  uint16_t checksum;
  uint32_t source;
  uint32_t destination;
} VMLANE_PACKET_WIRE;

struct vmlane_wire_ipv6 {
  uint32_t version_class_flow;
  uint16_t payload_length;
  uint8_t next;
  uint8_t hop_limit;
  uint32_t source[4];
  uint32_t destination[4];
} VMLANE_PACKET_WIRE;

struct vmlane_wire_extension {
  uint8_t next;
  uint8_t length; /* in units of 8 bytes after the first; AH: of 4 after the second */
  uint16_t fragment;
  uint32_t id;
} VMLANE_PACKET_WIRE;

struct vmlane_wire_upper { /* the first bytes of each protocol that is read */
  uint16_t first;          /* source port; ICMP: type and code */
  uint16_t second;         /* destination port; ICMP: checksum */
  uint16_t third;          /* ICMP echo: identifier */
  uint16_t fourth;
} VMLANE_PACKET_WIRE;

struct vmlane_wire_tcp {
  uint16_t source;
  uint16_t destination;
  uint32_t sequence;
  uint32_t acknowledgement;
  uint8_t offset;
  uint8_t flags;
  uint16_t window;
  uint16_t checksum;
  uint16_t urgent;
} VMLANE_PACKET_WIRE;

struct vmlane_wire_type {
  uint16_t type;
} VMLANE_PACKET_WIRE;

struct vmlane_wire_tag {
  uint16_t id;
  uint16_t type;
} VMLANE_PACKET_WIRE;

static inline uint16_t vmlane_packet_swap16(uint16_t value) {
  return __builtin_bswap16(value);
}

static inline uint32_t vmlane_packet_swap32(uint32_t value) {
  return __builtin_bswap32(value);
}

/* The bytes at `offset`, or a null pointer when they cannot be read. */
static inline const void* vmlane_packet_at(const struct vmlane_packet_view* view, uint32_t offset,
                                           uint32_t size) {
  if (offset > VMLANE_PACKET_HEADERS) return 0;
  const uint8_t* at = view->data + offset;
  return at + size > view->end ? 0 : at;
}

/* `offset` is too far, or the view has ended. */
static inline uint8_t vmlane_packet_unread(uint32_t offset) {
  return offset > VMLANE_PACKET_HEADERS ? VMLANE_PACKET_MALFORMED : VMLANE_PACKET_TRUNCATED;
}

static inline uint32_t vmlane_packet_is_icmp_error(const struct vmlane_packet* packet) {
  const uint32_t type = packet->icmp_type;
  if (packet->v6) return type >= 1 && type <= 4;
  return type == 3 || type == 11 || type == 12;
}

static inline uint32_t vmlane_packet_is_neighbour(uint32_t type) {
  return (type >= 130 && type <= 136) || type == 143;
}

static inline uint8_t vmlane_packet_icmp(const struct vmlane_wire_upper* upper, uint32_t offset,
                                         struct vmlane_packet* packet, int quoted) {
  packet->icmp_type = upper->first & 0xff;
  const uint32_t type = packet->icmp_type;
  if (packet->v6 ? type == 128 || type == 129 : type == 0 || type == 8) {
    packet->source_port = vmlane_packet_swap16(upper->third);
    packet->destination_port = packet->source_port;
  }
  if (quoted) return VMLANE_PACKET_IP;
  if (packet->v6 && vmlane_packet_is_neighbour(type)) packet->flags |= VMLANE_PACKET_NEIGHBOUR;
  if (vmlane_packet_is_icmp_error(packet)) {
    packet->flags |= VMLANE_PACKET_ICMP_ERROR;
    packet->quoted = VMLANE_POLICY_CAST(uint16_t, offset + 8);
  }
  return VMLANE_PACKET_IP;
}

/* The upper layer. An ICMP error need not quote more than 8 bytes of it. */
static inline uint8_t vmlane_packet_upper(const struct vmlane_packet_view* view, uint32_t offset,
                                          struct vmlane_packet* packet, int quoted) {
  const uint32_t protocol = packet->protocol;
  if (protocol == VMLANE_POLICY_TCP && !quoted) {
    const struct vmlane_wire_tcp* tcp = VMLANE_POLICY_CAST(
        const struct vmlane_wire_tcp*, vmlane_packet_at(view, offset, sizeof(struct vmlane_wire_tcp)));
    if (!tcp) return vmlane_packet_unread(offset);
    packet->source_port = vmlane_packet_swap16(tcp->source);
    packet->destination_port = vmlane_packet_swap16(tcp->destination);
    packet->tcp_flags = tcp->flags;
    return VMLANE_PACKET_IP;
  }
  const uint32_t icmp = packet->v6 ? VMLANE_IP_ICMPV6 : VMLANE_IP_ICMP;
  if (protocol != VMLANE_POLICY_TCP && protocol != VMLANE_POLICY_UDP && protocol != VMLANE_POLICY_SCTP &&
      protocol != icmp)
    return VMLANE_PACKET_IP;
  const struct vmlane_wire_upper* upper = VMLANE_POLICY_CAST(
      const struct vmlane_wire_upper*, vmlane_packet_at(view, offset, sizeof(struct vmlane_wire_upper)));
  if (!upper) return vmlane_packet_unread(offset);
  if (protocol == icmp) return vmlane_packet_icmp(upper, offset, packet, quoted);
  packet->source_port = vmlane_packet_swap16(upper->first);
  packet->destination_port = vmlane_packet_swap16(upper->second);
  return VMLANE_PACKET_IP;
}

static inline uint8_t vmlane_packet_ipv4(const struct vmlane_packet_view* view, uint32_t offset,
                                         struct vmlane_packet* packet, int quoted) {
  const struct vmlane_wire_ipv4* ip = VMLANE_POLICY_CAST(
      const struct vmlane_wire_ipv4*, vmlane_packet_at(view, offset, sizeof(struct vmlane_wire_ipv4)));
  if (!ip) return vmlane_packet_unread(offset);
  const uint32_t length = (ip->version_length & 15) * 4U;
  const uint32_t total = vmlane_packet_swap16(ip->total_length);
  /* The kernel has 0 for a segmented packet of more than 64 KiB. */
  if (ip->version_length >> 4 != 4 || length < 20 || (total && total < length))
    return VMLANE_PACKET_MALFORMED;
  packet->source[0] = vmlane_packet_swap32(ip->source);
  packet->destination[0] = vmlane_packet_swap32(ip->destination);
  packet->protocol = ip->protocol;
  const uint32_t fragment = vmlane_packet_swap16(ip->fragment);
  const uint32_t place = fragment & 0x1fff;
  if (fragment & 0x3fff) packet->fragment = vmlane_packet_swap16(ip->id);
  if (place) {
    /* RFC 3128: it would write over the flags of the first one. */
    if (packet->protocol == VMLANE_POLICY_TCP && place == 1) return VMLANE_PACKET_MALFORMED;
    return VMLANE_PACKET_FRAGMENT;
  }
  if (fragment & 0x2000) packet->flags |= VMLANE_PACKET_FIRST_FRAGMENT;
  return vmlane_packet_upper(view, offset + length, packet, quoted);
}

static inline uint32_t vmlane_packet_is_extension(uint32_t header) {
  return header == VMLANE_IPV6_HOP_BY_HOP || header == VMLANE_IPV6_ROUTING ||
         header == VMLANE_IPV6_FRAGMENT || header == VMLANE_IPV6_AH || header == VMLANE_IPV6_DESTINATION ||
         header == VMLANE_IPV6_MOBILITY;
}

/* Behind one fragment header: IP when there is more to read, else what the packet is. */
static inline uint8_t vmlane_packet_fragment6(const struct vmlane_wire_extension* extension,
                                              struct vmlane_packet* packet) {
  const uint32_t field = vmlane_packet_swap16(extension->fragment);
  if (packet->flags & VMLANE_PACKET_FIRST_FRAGMENT) return VMLANE_PACKET_MALFORMED; /* a second one */
  if (!(field & 0xfff9)) return VMLANE_PACKET_IP; /* the only one (RFC 6946): a whole packet */
  packet->fragment = extension->id;
  if (field & 0xfff8) return VMLANE_PACKET_FRAGMENT;
  packet->flags |= VMLANE_PACKET_FIRST_FRAGMENT;
  return VMLANE_PACKET_IP;
}

static inline uint8_t vmlane_packet_ipv6(const struct vmlane_packet_view* view, uint32_t offset,
                                         struct vmlane_packet* packet, int quoted) {
  const struct vmlane_wire_ipv6* ip = VMLANE_POLICY_CAST(
      const struct vmlane_wire_ipv6*, vmlane_packet_at(view, offset, sizeof(struct vmlane_wire_ipv6)));
  if (!ip) return vmlane_packet_unread(offset);
  if ((ip->version_class_flow & 0xf0) != 0x60) return VMLANE_PACKET_MALFORMED;
  packet->v6 = 1;
  for (uint32_t word = 0; word < 4; word++) {
    packet->source[word] = vmlane_packet_swap32(ip->source[word]);
    packet->destination[word] = vmlane_packet_swap32(ip->destination[word]);
  }
  uint32_t header = ip->next;
  offset += sizeof(struct vmlane_wire_ipv6);
  for (uint32_t passed = 0; vmlane_packet_is_extension(header); passed++) {
    if (passed == VMLANE_PACKET_MAX_EXTENSIONS) return VMLANE_PACKET_MALFORMED;
    const struct vmlane_wire_extension* extension =
        VMLANE_POLICY_CAST(const struct vmlane_wire_extension*,
                           vmlane_packet_at(view, offset, sizeof(struct vmlane_wire_extension)));
    if (!extension) return vmlane_packet_unread(offset);
    uint32_t length = (extension->length + 1U) * 8;
    if (header == VMLANE_IPV6_AH) length = (extension->length + 2U) * 4;
    if (header == VMLANE_IPV6_FRAGMENT) {
      packet->protocol = extension->next;
      const uint8_t kind = vmlane_packet_fragment6(extension, packet);
      if (kind != VMLANE_PACKET_IP) return kind;
      length = 8;
    }
    /* Type 0 sends a packet where its header does not say (RFC 5095). */
    if (header == VMLANE_IPV6_ROUTING && (extension->fragment & 0xff) == 0) return VMLANE_PACKET_MALFORMED;
    header = extension->next;
    offset += length;
    if (offset > VMLANE_PACKET_HEADERS) return VMLANE_PACKET_MALFORMED;
  }
  packet->protocol = VMLANE_POLICY_CAST(uint8_t, header);
  return vmlane_packet_upper(view, offset, packet, quoted);
}

/* Reads a frame. `packet` is all zeros before. */
static inline void vmlane_packet_read(const struct vmlane_packet_view* view, struct vmlane_packet* packet) {
  uint32_t offset = VMLANE_PACKET_ETHERNET;
  const struct vmlane_wire_type* outer = VMLANE_POLICY_CAST(
      const struct vmlane_wire_type*,
      vmlane_packet_at(view, offset - sizeof(struct vmlane_wire_type), sizeof(struct vmlane_wire_type)));
  packet->kind = VMLANE_PACKET_MALFORMED;
  if (!outer) return;
  uint32_t type = vmlane_packet_swap16(outer->type);
  for (uint32_t tags = 0; type == VMLANE_ETHERTYPE_VLAN || type == VMLANE_ETHERTYPE_QINQ; tags++) {
    const struct vmlane_wire_tag* tag = VMLANE_POLICY_CAST(
        const struct vmlane_wire_tag*, vmlane_packet_at(view, offset, sizeof(struct vmlane_wire_tag)));
    if (!tag || tags == VMLANE_PACKET_MAX_TAGS) return;
    type = vmlane_packet_swap16(tag->type);
    offset += sizeof(struct vmlane_wire_tag);
  }
  if (type == VMLANE_ETHERTYPE_IPV4)
    packet->kind = vmlane_packet_ipv4(view, offset, packet, 0);
  else if (type == VMLANE_ETHERTYPE_IPV6)
    packet->kind = vmlane_packet_ipv6(view, offset, packet, 0);
  else
    packet->kind = type == VMLANE_ETHERTYPE_ARP || type == VMLANE_ETHERTYPE_RARP ? VMLANE_PACKET_ARP
                                                                                 : VMLANE_PACKET_OTHER;
}

/* Reads what an ICMP error quotes. `packet` is all zeros before but for `v6`, which is the error's. */
static inline void vmlane_packet_read_quoted(const struct vmlane_packet_view* view, uint32_t offset,
                                             struct vmlane_packet* packet) {
  packet->kind =
      packet->v6 ? vmlane_packet_ipv6(view, offset, packet, 1) : vmlane_packet_ipv4(view, offset, packet, 1);
}

/* NOLINTEND(readability-identifier-naming,modernize-use-nullptr) */

#endif
