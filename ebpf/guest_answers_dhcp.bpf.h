// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// DHCPv4 (RFC 2131) for the one guest behind this port: its address is fixed, so there is no state beyond the
// record.
#pragma once

#include "guest_answers_frame.bpf.h"

struct vmlane_ip4_udp {
  __u8 version;  // with the header's length
  __u8 service;
  __be16 length;
  __be16 id;
  __be16 fragment;
  __u8 ttl;
  __u8 protocol;
  __be16 checksum;
  __be32 source;
  __be32 destination;
  __be16 source_port;
  __be16 destination_port;
  __be16 udp_length;
  __be16 udp_checksum;
};

// The fixed part of a message as far as it matters.
struct vmlane_bootp {
  __u8 operation;
  __u8 hardware;
  __u8 hardware_length;
  __u8 hops;
  __be32 xid;
  __be16 seconds;
  __be16 flags;
  __be32 client;  // ciaddr
  __be32 yours;
  __be32 server;
  __be32 relay;  // giaddr
  __u8 hardware_address[8];
};

struct vmlane_dhcp {
  struct vmlane_bootp head;
  __u32 at;  // where the next option begins
  __u32 end;
  __u32 type;
  __be32 requested;  // option 50
  __be32 server;     // option 54
  __be32 lease;      // option 51
  __u32 room;        // option 57: bytes of IP that the client takes
  __u32 client_id_at;
  __u32 client_id_length;  // with its header
};

#define VMLANE_DHCP_AT 42u
#define VMLANE_DHCP_COOKIE_AT 278u
#define VMLANE_DHCP_OPTIONS_AT 282u
#define VMLANE_DHCP_TYPE_AT 284u  // of a template: the message type is its first option
#define VMLANE_DHCP_COOKIE 0x63825363u
#define VMLANE_DHCP_BROADCAST 0x8000u
#define VMLANE_DHCP_MAX_OPTIONS 128u  // pads count
#define VMLANE_DHCP_END 255u
#define VMLANE_DHCP_LEAST_ROOM 576u  // bytes of IP that each client takes (RFC 2131, 2)

enum vmlane_dhcp_type {
  VMLANE_DHCP_DISCOVER = 1,
  VMLANE_DHCP_OFFER = 2,
  VMLANE_DHCP_REQUEST = 3,
  VMLANE_DHCP_DECLINE = 4,
  VMLANE_DHCP_ACK = 5,
  VMLANE_DHCP_NAK = 6,
  VMLANE_DHCP_RELEASE = 7,
  VMLANE_DHCP_INFORM = 8,
};

// What walking the options comes to.
enum vmlane_walk { VMLANE_WALK_ON, VMLANE_WALK_DONE, VMLANE_WALK_BROKEN };

// Reads the four bytes of an option that is an address.
VMLANE_INLINE int vmlane_dhcp_address(struct vmlane_frame* frame, __u32 at, __u32 length, __be32* to) {
  __be32 address = 0;

  if (length != sizeof(address) || vmlane_load(frame, at, &address, sizeof(address)))
    return VMLANE_WALK_BROKEN;
  *to = address;
  return VMLANE_WALK_ON;
}

// Takes one option in. A message may end without the option that says so.
VMLANE_PART int vmlane_dhcp_option(struct vmlane_frame* frame, struct vmlane_dhcp* request) {
  __u8 code = 0, length = 0, type = 0;
  __be16 room = 0;
  __u32 at;

  if (!request) return VMLANE_WALK_BROKEN;
  at = request->at;
  if (at >= request->end) return VMLANE_WALK_DONE;
  if (vmlane_load(frame, at, &code, sizeof(code))) return VMLANE_WALK_BROKEN;
  if (code == VMLANE_DHCP_END) return VMLANE_WALK_DONE;
  request->at = at + 1;
  if (code == 0) return VMLANE_WALK_ON;
  if (at + 2 > request->end || vmlane_load(frame, at + 1, &length, sizeof(length))) return VMLANE_WALK_BROKEN;
  request->at = at + 2 + length;
  if (request->at > request->end) return VMLANE_WALK_BROKEN;
  if (code == 50) return vmlane_dhcp_address(frame, at + 2, length, &request->requested);
  if (code == 54) return vmlane_dhcp_address(frame, at + 2, length, &request->server);
  if (code == 51 && length == sizeof(request->lease))
    return vmlane_dhcp_address(frame, at + 2, length, &request->lease);
  if (code == 57 && length == 2 && !vmlane_load(frame, at + 2, &room, sizeof(room)))
    request->room = VMLANE_BE16(room);
  if (code == 61 && length && !request->client_id_length) {
    request->client_id_at = at;
    request->client_id_length = 2u + length;
  }
  if (code == 53) {
    if (length != 1 || vmlane_load(frame, at + 2, &type, sizeof(type))) return VMLANE_WALK_BROKEN;
    request->type = type;
  }
  return VMLANE_WALK_ON;
}

// The guest's own request by the fixed part: not one that a relay or a machine behind the guest sent.
VMLANE_INLINE int vmlane_dhcp_is_guests(const struct vmlane_bootp* head,
                                        const struct vmlane_answers* answers) {
  return head->operation == 1 && head->hardware == 1 && head->hardware_length == 6 && !head->relay &&
         vmlane_same_mac(head->hardware_address, answers->guest_mac);
}

// Reads a request. VMLANE_REPLY: it is the guest's and well formed.
VMLANE_PART int vmlane_read_dhcp(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                 struct vmlane_dhcp* request) {
  struct vmlane_ip4_udp ip = {};
  __be32 cookie = 0;
  __u32 length;
  int walk = VMLANE_WALK_ON;

  if (!answers || !request || vmlane_load(frame, VMLANE_ETH_HEADER, &ip, sizeof(ip))) return VMLANE_NOT_OURS;
  if (ip.version != 0x45 || ip.protocol != 17 || (ip.fragment & VMLANE_BE16(0x3fff)) ||
      ip.destination_port != VMLANE_BE16(67))
    return VMLANE_NOT_OURS;
  length = VMLANE_BE16(ip.udp_length);
  if (length + VMLANE_IP4_HEADER > VMLANE_BE16(ip.length) || length + VMLANE_L4_OF_IP4 > vmlane_length(frame))
    return VMLANE_DROP;
  if (length + VMLANE_L4_OF_IP4 < VMLANE_DHCP_COOKIE_AT) return VMLANE_DROP;
  if (vmlane_load(frame, VMLANE_DHCP_AT, &request->head, sizeof(request->head))) return VMLANE_DROP;
  if (!vmlane_dhcp_is_guests(&request->head, answers)) return VMLANE_NOT_OURS;
  if (length + VMLANE_L4_OF_IP4 < VMLANE_DHCP_OPTIONS_AT ||
      vmlane_load(frame, VMLANE_DHCP_COOKIE_AT, &cookie, sizeof(cookie)) ||
      cookie != VMLANE_BE32(VMLANE_DHCP_COOKIE))
    return VMLANE_NOT_OURS;  // BOOTP
  request->at = VMLANE_DHCP_OPTIONS_AT;
  request->end = length + VMLANE_L4_OF_IP4;
  for (__u32 i = 0; i < VMLANE_DHCP_MAX_OPTIONS; i++) {
    walk = vmlane_dhcp_option(frame, request);
    if (walk != VMLANE_WALK_ON) break;
  }
  if (walk != VMLANE_WALK_DONE) return VMLANE_DROP;
  return request->type ? VMLANE_REPLY : VMLANE_NOT_OURS;
}

// Where a reply goes (RFC 2131, 4.1): to the client's address if it has one, to all when it asks for that,
// else to the address it is given, which is the template's.
VMLANE_INLINE int vmlane_dhcp_direct(struct vmlane_frame* frame, const struct vmlane_dhcp* request,
                                     __u32 kind) {
  __u8 everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  __be32 destination = request->head.client;
  int to_all = !destination && ((request->head.flags & VMLANE_BE16(VMLANE_DHCP_BROADCAST)) ||
                                kind == VMLANE_TEMPLATE_INFORM4);

  if (kind == VMLANE_TEMPLATE_NAK4 || to_all) {
    destination = 0xffffffff;
    if (vmlane_store(frame, 0, everybody, sizeof(everybody))) return -1;
  }
  if (!destination) return 0;
  return vmlane_store(frame, 30, &destination, sizeof(destination)) ? -1 : 0;
}

// Makes the frame the message `type` of the template `kind`.
VMLANE_PART int vmlane_send_dhcp(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                 struct vmlane_dhcp* request, __u32 kind, __u32 type) {
  struct vmlane_reply reply = {};
  __u8 end = VMLANE_DHCP_END, message = (__u8)type;

  if (!answers || !request) return VMLANE_DROP;
  reply.kind = kind;
  reply.echo_at = request->client_id_at;
  reply.echo_length = request->client_id_length;
  reply.extra = sizeof(end);
  reply.most =
      VMLANE_ETH_HEADER + (request->room > VMLANE_DHCP_LEAST_ROOM ? request->room : VMLANE_DHCP_LEAST_ROOM);
  if (vmlane_place(frame, answers, &reply) || vmlane_store(frame, reply.length - 1, &end, sizeof(end)) ||
      vmlane_store(frame, VMLANE_DHCP_TYPE_AT, &message, sizeof(message)) ||
      vmlane_store(frame, 46, &request->head.xid, sizeof(request->head.xid)) ||
      vmlane_store(frame, 52, &request->head.flags, sizeof(request->head.flags)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (type == VMLANE_DHCP_ACK && vmlane_store(frame, 54, &request->head.client, sizeof(request->head.client)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (vmlane_dhcp_direct(frame, request, kind) || vmlane_finish_udp4(frame))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return VMLANE_REPLY;
}

// A REQUEST (RFC 2131, 4.3.2). One for another server is that server's. A client that names a server has an
// offer of ours; one that names none has the address already or had it, in option 50 before it is configured
// and in ciaddr after.
VMLANE_INLINE int vmlane_answer_dhcp_request(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                             struct vmlane_dhcp* request) {
  __be32 wanted = request->requested ? request->requested : request->head.client;

  if (!wanted) return vmlane_count(answers, VMLANE_COUNT_MALFORMED, VMLANE_DROP);
  if (wanted != answers->address4) {
    vmlane_count(answers, VMLANE_COUNT_NAK, 0);
    return vmlane_send_dhcp(frame, answers, request, VMLANE_TEMPLATE_NAK4, VMLANE_DHCP_NAK);
  }
  vmlane_count(answers, VMLANE_COUNT_ACK, 0);
  return vmlane_send_dhcp(frame, answers, request, VMLANE_TEMPLATE_LEASE4, VMLANE_DHCP_ACK);
}

// Frames with IPv4 in them.
VMLANE_PART int vmlane_answer_dhcp(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  struct vmlane_dhcp request = {};
  int verdict;

  if (!answers) return VMLANE_NOT_OURS;
  verdict = vmlane_read_dhcp(frame, answers, &request);
  if (verdict == VMLANE_DROP) return vmlane_count(answers, VMLANE_COUNT_MALFORMED, VMLANE_DROP);
  if (verdict != VMLANE_REPLY) return VMLANE_NOT_OURS;
  if (request.server && request.server != answers->server4) return VMLANE_NOT_OURS;
  switch (request.type) {
    case VMLANE_DHCP_DISCOVER:
      vmlane_count(answers, VMLANE_COUNT_OFFER, 0);
      return vmlane_send_dhcp(frame, answers, &request, VMLANE_TEMPLATE_LEASE4, VMLANE_DHCP_OFFER);
    case VMLANE_DHCP_REQUEST:
      return vmlane_answer_dhcp_request(frame, answers, &request);
    case VMLANE_DHCP_INFORM:
      vmlane_count(answers, VMLANE_COUNT_INFORM, 0);
      return vmlane_send_dhcp(frame, answers, &request, VMLANE_TEMPLATE_INFORM4, VMLANE_DHCP_ACK);
    case VMLANE_DHCP_DECLINE:
    case VMLANE_DHCP_RELEASE:
      return vmlane_count(answers, VMLANE_COUNT_SILENT, VMLANE_DROP);
    default:
      return VMLANE_NOT_OURS;
  }
}
