// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// DHCPv6 (RFC 8415) for the one guest behind this port: its addresses, in the first IA_NA that it asks for.
// Of whatever else it asks for there is none, which it is told.
#pragma once

#include "guest_answers_dhcp.bpf.h"

// An identity association that gets nothing.
struct vmlane_other_ia {
  __u32 code;  // 0: none
  __be32 iaid;
};

#define VMLANE_OTHER_IAS 2u

struct vmlane_dhcp6 {
  __be32 source[4];
  __be32 iaid;
  __u32 head;  // message type and transaction id as they stand in the message
  __u32 type;
  __u32 at;  // where the next option begins
  __u32 end;
  __u32 ia_end;  // of the first IA_NA
  __u32 client_id_at;
  __u32 client_id_length;  // with its header
  __u32 found;
  struct vmlane_other_ia others[VMLANE_OTHER_IAS];
};

// Bits of `found`.
enum vmlane_dhcp6_found {
  VMLANE_FOUND_IA = 1,
  VMLANE_FOUND_ADDRESS = 2,
  VMLANE_FOUND_WRONG_ADDRESS = 4,
  VMLANE_FOUND_RAPID_COMMIT = 8,
  VMLANE_FOUND_SERVER = 16,
  VMLANE_FOUND_WRONG_SERVER = 32,
};

#define VMLANE_DHCP6_AT 62u
#define VMLANE_DHCP6_OPTIONS_AT 66u
#define VMLANE_DHCP6_IAID_AT 70u    // of a lease template: IA_NA is its first option
#define VMLANE_DHCP6_STATUS_AT 70u  // of a status template, likewise
#define VMLANE_DHCP6_MAX_OPTIONS 64u
#define VMLANE_DHCP6_MAX_CLIENT_ID 134u  // 4 + 130 (RFC 8415, 11.1)
#define VMLANE_DHCP6_NO_ADDRESSES 2u
#define VMLANE_DHCP6_NO_BINDING 3u
#define VMLANE_DHCP6_NOT_ON_LINK 4u
#define VMLANE_DHCP6_NO_PREFIX 6u

enum vmlane_dhcp6_option_code {
  VMLANE_OPTION_CLIENT_ID = 1,
  VMLANE_OPTION_SERVER_ID = 2,
  VMLANE_OPTION_IA_NA = 3,
  VMLANE_OPTION_IA_TA = 4,
  VMLANE_OPTION_IA_ADDRESS = 5,
  VMLANE_OPTION_STATUS = 13,
  VMLANE_OPTION_RAPID_COMMIT = 14,
  VMLANE_OPTION_IA_PD = 25,
};

enum vmlane_dhcp6_type {
  VMLANE_DHCP6_SOLICIT = 1,
  VMLANE_DHCP6_ADVERTISE = 2,
  VMLANE_DHCP6_REQUEST = 3,
  VMLANE_DHCP6_CONFIRM = 4,
  VMLANE_DHCP6_RENEW = 5,
  VMLANE_DHCP6_REBIND = 6,
  VMLANE_DHCP6_REPLY = 7,
  VMLANE_DHCP6_RELEASE = 8,
  VMLANE_DHCP6_DECLINE = 9,
  VMLANE_DHCP6_INFORMATION = 11,
};

struct vmlane_option6 {
  __be16 code;
  __be16 length;
};

VMLANE_INLINE int vmlane_dhcp6_server(struct vmlane_frame* frame, const struct vmlane_answers* answers,
                                      struct vmlane_dhcp6* request, __u32 length) {
  __u8 duid[VMLANE_DUID_BYTES] = {};
  int differs = length != sizeof(duid);

  if (!differs && vmlane_load(frame, request->at + 4, duid, sizeof(duid))) return VMLANE_WALK_BROKEN;
  for (__u32 i = 0; i < VMLANE_DUID_BYTES; i++) differs |= duid[i] ^ answers->server_duid[i];
  request->found |= VMLANE_FOUND_SERVER;
  if (differs) request->found |= VMLANE_FOUND_WRONG_SERVER;
  return VMLANE_WALK_ON;
}

VMLANE_INLINE int vmlane_dhcp6_address(struct vmlane_frame* frame, const struct vmlane_answers* answers,
                                       struct vmlane_dhcp6* request, __u32 length) {
  __be32 address[4] = {};
  int known = 0;

  if (length < 24 || vmlane_load(frame, request->at + 4, address, sizeof(address))) return VMLANE_WALK_BROKEN;
  request->found |= VMLANE_FOUND_ADDRESS;
  for (__u32 i = 0; i < VMLANE_GUEST_ADDRESSES; i++)
    known |= vmlane_same_ip6(address, answers->addresses6[i]) && !vmlane_is_unspecified(address);
  if (!known) request->found |= VMLANE_FOUND_WRONG_ADDRESS;
  return VMLANE_WALK_ON;
}

// One after the first IA_NA, of temporary addresses or of prefixes.
VMLANE_INLINE int vmlane_dhcp6_other_ia(struct vmlane_frame* frame, struct vmlane_dhcp6* request, __u32 code,
                                        __u32 length) {
  struct vmlane_other_ia other = {};

  if (length < (code == VMLANE_OPTION_IA_TA ? 4 : 12) ||
      vmlane_load(frame, request->at + 4, &other.iaid, sizeof(other.iaid)))
    return VMLANE_WALK_BROKEN;
  other.code = code;
  if (!request->others[0].code)
    request->others[0] = other;
  else if (!request->others[1].code)
    request->others[1] = other;
  return VMLANE_WALK_ON;
}

// Takes one option in. The first IA_NA is stepped into: its options are walked as the message's own.
VMLANE_PART int vmlane_dhcp6_option(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                    struct vmlane_dhcp6* request) {
  struct vmlane_option6 option = {};
  int walk = VMLANE_WALK_ON;
  __u32 code, length, next;

  if (!answers || !request) return VMLANE_WALK_BROKEN;
  if (request->at == request->end) return VMLANE_WALK_DONE;
  if (request->at + 4 > request->end || vmlane_load(frame, request->at, &option, sizeof(option)))
    return VMLANE_WALK_BROKEN;
  code = VMLANE_BE16(option.code);
  length = VMLANE_BE16(option.length);
  next = request->at + 4 + length;
  if (next > request->end || (request->at < request->ia_end && next > request->ia_end))
    return VMLANE_WALK_BROKEN;
  if (code == VMLANE_OPTION_CLIENT_ID && !request->client_id_length) {
    if (length < 3 || length + 4 > VMLANE_DHCP6_MAX_CLIENT_ID) return VMLANE_WALK_BROKEN;
    request->client_id_at = request->at;
    request->client_id_length = length + 4;
  } else if (code == VMLANE_OPTION_SERVER_ID) {
    walk = vmlane_dhcp6_server(frame, answers, request, length);
  } else if (code == VMLANE_OPTION_IA_NA && !(request->found & VMLANE_FOUND_IA)) {
    if (length < 12 || vmlane_load(frame, request->at + 4, &request->iaid, sizeof(request->iaid)))
      return VMLANE_WALK_BROKEN;
    request->found |= VMLANE_FOUND_IA;
    request->ia_end = next;
    next = request->at + 16;
  } else if (code == VMLANE_OPTION_IA_NA || code == VMLANE_OPTION_IA_TA || code == VMLANE_OPTION_IA_PD) {
    walk = vmlane_dhcp6_other_ia(frame, request, code, length);
  } else if (code == VMLANE_OPTION_IA_ADDRESS && request->at < request->ia_end) {
    walk = vmlane_dhcp6_address(frame, answers, request, length);
  } else if (code == VMLANE_OPTION_RAPID_COMMIT) {
    request->found |= VMLANE_FOUND_RAPID_COMMIT;
  }
  request->at = next;
  return walk;
}

// Reads a request whose IPv6 header was judged already. VMLANE_REPLY: it is well formed.
VMLANE_PART int vmlane_read_dhcp6(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                  struct vmlane_dhcp6* request) {
  __be16 udp[4] = {};
  struct vmlane_ip6 ip = {};
  __u32 length;
  int walk = VMLANE_WALK_ON;

  if (!answers || !request || vmlane_load(frame, VMLANE_ETH_HEADER, &ip, sizeof(ip)) ||
      vmlane_load(frame, VMLANE_L4_OF_IP6, udp, sizeof(udp)))
    return VMLANE_NOT_OURS;
  // All_DHCP_Relay_Agents_and_Servers, ff02::1:2: we never allow a client to unicast (RFC 8415, 16).
  if (udp[1] != VMLANE_BE16(547) || ip.destination[0] != VMLANE_BE32(0xff020000) || ip.destination[1] ||
      ip.destination[2] || ip.destination[3] != VMLANE_BE32(0x00010002))
    return VMLANE_NOT_OURS;
  length = VMLANE_BE16(udp[2]);
  if (length < VMLANE_UDP_HEADER + 4 || length > VMLANE_BE16(ip.length) ||
      length + VMLANE_L4_OF_IP6 > vmlane_length(frame) || vmlane_is_unspecified(ip.source))
    return VMLANE_DROP;
  if (vmlane_load(frame, VMLANE_DHCP6_AT, &request->head, sizeof(request->head))) return VMLANE_DROP;
  __builtin_memcpy(request->source, ip.source, sizeof(request->source));
  request->type = VMLANE_BE32(request->head) >> 24;
  if (!request->type || request->type > VMLANE_DHCP6_INFORMATION) return VMLANE_NOT_OURS;  // relays
  request->at = VMLANE_DHCP6_OPTIONS_AT;
  request->end = length + VMLANE_L4_OF_IP6;
  for (__u32 i = 0; i < VMLANE_DHCP6_MAX_OPTIONS; i++) {
    walk = vmlane_dhcp6_option(frame, answers, request);
    if (walk != VMLANE_WALK_ON) break;
  }
  return walk == VMLANE_WALK_DONE ? VMLANE_REPLY : VMLANE_DROP;
}

// What a client must and must not say (RFC 8415, 16). VMLANE_REPLY: it does.
VMLANE_INLINE int vmlane_judge_dhcp6(const struct vmlane_dhcp6* request) {
  __u32 found = request->found, type = request->type;
  int names_server = type == VMLANE_DHCP6_REQUEST || type == VMLANE_DHCP6_RENEW ||
                     type == VMLANE_DHCP6_RELEASE || type == VMLANE_DHCP6_DECLINE;

  if (type == VMLANE_DHCP6_ADVERTISE || type == VMLANE_DHCP6_REPLY || type == 10)
    return VMLANE_NOT_OURS;  // a server's
  if (type == VMLANE_DHCP6_INFORMATION)
    return found & VMLANE_FOUND_WRONG_SERVER ? VMLANE_NOT_OURS : VMLANE_REPLY;
  if (!request->client_id_length || !names_server == !!(found & VMLANE_FOUND_SERVER)) return VMLANE_DROP;
  if (found & VMLANE_FOUND_WRONG_SERVER) return VMLANE_NOT_OURS;
  if (type == VMLANE_DHCP6_CONFIRM) return found & VMLANE_FOUND_ADDRESS ? VMLANE_REPLY : VMLANE_DROP;
  return found & VMLANE_FOUND_IA || request->others[0].code ? VMLANE_REPLY : VMLANE_DROP;
}

// Makes the frame the message `type` of the template `kind`; `extra` bytes at the end are the caller's.
VMLANE_PART int vmlane_place_dhcp6(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                   struct vmlane_dhcp6* request, __u32 kind, __u32 type_and_extra) {
  struct vmlane_reply reply = {};
  __u32 head;

  if (!answers || !request) return -1;
  reply.kind = kind;
  reply.echo_at = request->client_id_at;
  reply.echo_length = request->client_id_length;
  reply.extra = type_and_extra & 0xff;
  head = (request->head & VMLANE_BE32(0x00ffffff)) | VMLANE_BE32((type_and_extra >> 8) << 24);
  if (vmlane_place(frame, answers, &reply) ||
      vmlane_store(frame, 38, request->source, sizeof(request->source)) ||
      vmlane_store(frame, VMLANE_DHCP6_AT, &head, sizeof(head)))
    return -1;
  return 0;
}

// How long the answer to an identity association that gets nothing is.
VMLANE_INLINE __u32 vmlane_refusal_length(const struct vmlane_other_ia* other) {
  if (!other->code) return 0;
  return other->code == VMLANE_OPTION_IA_TA ? 14 : 22;
}

// Writes it at `at`: RFC 8415, 18.3.2 to 18.3.5.
VMLANE_PART int vmlane_refuse_ia(struct vmlane_frame* frame, struct vmlane_other_ia* other, __u32 at,
                                 __u32 type) {
  __be16 head[4] = {}, status[3] = {};
  int renews = type == VMLANE_DHCP6_RENEW || type == VMLANE_DHCP6_REBIND;
  __be32 times[2] = {};

  if (!other) return -1;
  if (!other->code) return 0;
  head[0] = VMLANE_BE16((__u16)other->code);
  head[1] = VMLANE_BE16((__u16)(vmlane_refusal_length(other) - 4));
  __builtin_memcpy(&head[2], &other->iaid, sizeof(other->iaid));
  status[0] = VMLANE_BE16(VMLANE_OPTION_STATUS);
  status[1] = VMLANE_BE16(2);
  status[2] = VMLANE_BE16(VMLANE_DHCP6_NO_ADDRESSES);
  if (other->code == VMLANE_OPTION_IA_PD) status[2] = VMLANE_BE16(VMLANE_DHCP6_NO_PREFIX);
  if (renews) status[2] = VMLANE_BE16(VMLANE_DHCP6_NO_BINDING);
  if (vmlane_store(frame, at, head, sizeof(head))) return -1;
  at += sizeof(head);
  if (other->code != VMLANE_OPTION_IA_TA) {
    if (vmlane_store(frame, at, times, sizeof(times))) return -1;
    at += sizeof(times);
  }
  return vmlane_store(frame, at, status, sizeof(status)) ? -1 : 0;
}

// The answers to all of them, the last at the end of the frame but for `behind` bytes.
VMLANE_PART int vmlane_refuse_ias(struct vmlane_frame* frame, struct vmlane_dhcp6* request, __u32 behind) {
  __u32 at;

  if (!request) return -1;
  at = vmlane_length(frame) - behind - vmlane_refusal_length(&request->others[1]);
  if (vmlane_refuse_ia(frame, &request->others[1], at, request->type)) return -1;
  at -= vmlane_refusal_length(&request->others[0]);
  return vmlane_refuse_ia(frame, &request->others[0], at, request->type);
}

// An advertise or a reply with the addresses. Preference 255 tells the client not to wait for other servers;
// rapid commit says that its solicit was enough.
VMLANE_PART int vmlane_send_lease6(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                   struct vmlane_dhcp6* request, __u32 type) {
  __u8 preference[5] = {};
  __u8 rapid_commit[4] = {};
  __u32 extra = 0, kind = VMLANE_TEMPLATE_LEASE6, refused;

  if (!answers || !request) return VMLANE_DROP;
  // Without an address it is all else that the client is told.
  if (!(request->found & VMLANE_FOUND_IA)) kind = VMLANE_TEMPLATE_INFORM6;
  preference[1] = 7;
  preference[3] = 1;
  preference[4] = 255;
  rapid_commit[1] = 14;
  if (type == VMLANE_DHCP6_ADVERTISE)
    extra = sizeof(preference);
  else if (request->type == VMLANE_DHCP6_SOLICIT)
    extra = sizeof(rapid_commit);
  refused = vmlane_refusal_length(&request->others[0]) + vmlane_refusal_length(&request->others[1]);
  if (vmlane_place_dhcp6(frame, answers, request, kind, (type << 8) | (extra + refused)) ||
      vmlane_refuse_ias(frame, request, extra))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (kind == VMLANE_TEMPLATE_LEASE6 &&
      vmlane_store(frame, VMLANE_DHCP6_IAID_AT, &request->iaid, sizeof(request->iaid)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (extra == sizeof(preference) &&
      vmlane_store(frame, vmlane_length(frame) - sizeof(preference), preference, sizeof(preference)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (extra == sizeof(rapid_commit) &&
      vmlane_store(frame, vmlane_length(frame) - sizeof(rapid_commit), rapid_commit, sizeof(rapid_commit)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (vmlane_finish_udp6(frame)) return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return VMLANE_REPLY;
}

// A reply without an address: what an information-request asks for, or a status.
VMLANE_PART int vmlane_send_reply6(struct vmlane_frame* frame, struct vmlane_answers* answers,
                                   struct vmlane_dhcp6* request, __u32 kind) {
  __be16 status = 0;

  if (!answers || !request) return VMLANE_DROP;
  if (request->type == VMLANE_DHCP6_CONFIRM && (request->found & VMLANE_FOUND_WRONG_ADDRESS))
    status = VMLANE_BE16(VMLANE_DHCP6_NOT_ON_LINK);
  if (vmlane_place_dhcp6(frame, answers, request, kind, VMLANE_DHCP6_REPLY << 8))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (kind == VMLANE_TEMPLATE_STATUS6 && vmlane_store(frame, VMLANE_DHCP6_STATUS_AT, &status, sizeof(status)))
    return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  if (vmlane_finish_udp6(frame)) return vmlane_count(answers, VMLANE_COUNT_FAILED, VMLANE_DROP);
  return VMLANE_REPLY;
}

// Frames with UDP in IPv6.
VMLANE_PART int vmlane_answer_dhcp6(struct vmlane_frame* frame, struct vmlane_answers* answers) {
  struct vmlane_dhcp6 request = {};
  int verdict;

  if (!answers) return VMLANE_NOT_OURS;
  verdict = vmlane_read_dhcp6(frame, answers, &request);
  if (verdict == VMLANE_REPLY) verdict = vmlane_judge_dhcp6(&request);
  if (verdict == VMLANE_DROP) return vmlane_count(answers, VMLANE_COUNT_MALFORMED, VMLANE_DROP);
  if (verdict != VMLANE_REPLY) return VMLANE_NOT_OURS;
  switch (request.type) {
    case VMLANE_DHCP6_SOLICIT:
      // What grants nothing cannot be committed (RFC 8415, 18.3.1).
      if (!(request.found & VMLANE_FOUND_RAPID_COMMIT) || !(request.found & VMLANE_FOUND_IA)) {
        vmlane_count(answers, VMLANE_COUNT_ADVERTISE, 0);
        return vmlane_send_lease6(frame, answers, &request, VMLANE_DHCP6_ADVERTISE);
      }
      vmlane_count(answers, VMLANE_COUNT_REPLY6, 0);
      return vmlane_send_lease6(frame, answers, &request, VMLANE_DHCP6_REPLY);
    case VMLANE_DHCP6_REQUEST:
    case VMLANE_DHCP6_RENEW:
    case VMLANE_DHCP6_REBIND:
      vmlane_count(answers, VMLANE_COUNT_REPLY6, 0);
      return vmlane_send_lease6(frame, answers, &request, VMLANE_DHCP6_REPLY);
    case VMLANE_DHCP6_INFORMATION:
      vmlane_count(answers, VMLANE_COUNT_INFORMATION6, 0);
      return vmlane_send_reply6(frame, answers, &request, VMLANE_TEMPLATE_INFORM6);
    default:  // confirm, release, decline
      vmlane_count(answers, VMLANE_COUNT_STATUS6, 0);
      return vmlane_send_reply6(frame, answers, &request, VMLANE_TEMPLATE_STATUS6);
  }
}
