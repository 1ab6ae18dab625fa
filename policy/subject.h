/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VMLANE_POLICY_SUBJECT_H
#define VMLANE_POLICY_SUBJECT_H

/*
 * What a datapath knows of an endpoint, and why its packets are dropped: what stage.h shares with those who
 * write and read it. Freestanding C17 that is C++ as well.
 */

#include "verdict.h"

/* NOLINTBEGIN(readability-identifier-naming) */

enum {
  VMLANE_STAGE_DENY = 1,   /* the default verdict */
  VMLANE_STAGE_NO_NODE = 2 /* nothing tells the endpoint's node from others that use its address */
};

enum { VMLANE_STAGE_LOOSE_SECONDS = 10, VMLANE_STAGE_DHCP_SECONDS = 60 };
enum {
  VMLANE_DHCP_SERVER_PORT = 67,
  VMLANE_DHCP_CLIENT_PORT = 68,
  VMLANE_DHCPV6_CLIENT_PORT = 546,
  VMLANE_DHCPV6_SERVER_PORT = 547
};

/* What a datapath knows of an endpoint. */
struct vmlane_policy_workload {
  uint32_t incarnation; /* 0: nobody; the owner of its connections, never the same twice */
  uint32_t flags;       /* VMLANE_STAGE_DENY, _NO_NODE */
  /* Number in the tables of each of the two slots: incarnation << 32 | number + 1, or 0. */
  uint64_t endpoint[2];
  uint32_t loose_until; /* ticks */
  uint32_t dhcp_until;
};

/* Why a packet passes or not. */
enum {
  VMLANE_STAGE_PASS = 0,
  VMLANE_STAGE_BY_POLICY = 1,     /* answer.reason says more */
  VMLANE_STAGE_BY_DEFAULT = 2,    /* not judged by any tables yet */
  VMLANE_STAGE_MALFORMED = 3,     /* or past a limit of packet.h */
  VMLANE_STAGE_LOST_FRAGMENT = 4, /* its first one did not pass, or is not known any more */
  VMLANE_STAGE_NO_CONNECTION = 5, /* TCP from the middle of an unknown connection */
  VMLANE_STAGE_FULL = 6,          /* no room for the connection: ct-full */
  VMLANE_STAGE_NOT_IP = 7,
  VMLANE_STAGE_REASONS = 8
};

/* NOLINTEND(readability-identifier-naming) */

#endif
