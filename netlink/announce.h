// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "core/address.h"
#include "core/error.h"
#include "netlink/namespace.h"

namespace vmlane::netlink {

// Tells the neighbours of a link, unasked, that `mac` has these addresses now, so that none keeps sending to
// an earlier owner: an ARP announcement (RFC 5227, 3) for IPv4, an unsolicited neighbour advertisement (RFC
// 4861, 7.2.6) for IPv6, one frame an address. Code::kKernel when one cannot be sent.
Result<> announce_addresses(const Namespace& network_namespace, int index, const MacAddress& mac,
                            std::span<const IpAddress> addresses);

}  // namespace vmlane::netlink
