// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ebpf/source_guard_layout.bpf.h"

namespace vmlane::dataplane {

// Why a frame went no further. The first ones are those of the source guard (vmlane_guard_reason), as on the
// other lanes.
enum class DropReason : std::uint8_t {
  kMalformed = VMLANE_GUARD_MALFORMED,
  kForeignDestination = VMLANE_GUARD_FOREIGN_DESTINATION,
  kNoRoom = VMLANE_GUARD_REASONS,  // the receiver's ring or queue is full
  kTooBig,                         // for the receiver's MTU
  kIsolated,                       // from one isolated port to another
  kFloodLimit,                     // the sender's broadcasts, multicasts and unknown destinations
  kLocalSource,                    // from the uplink, under the MAC of a port of ours: a loop
  kReflected,                      // the receiver is the sender
  kNoBuffer,                       // the switch has no memory for it
  kNobody,                         // there is no other port
  kAnswered,                       // a question that gets no reply
  kPolicy,                         // from here on as on the other lanes: a policy denies it
  kNotJudged,                      // no tables know the guest yet, and its default is to deny
  kLostFragment,                   // of a datagram whose first one did not pass
  kNoConnection,                   // TCP from the middle of an unknown connection
  kConnectionsFull,                // no room to remember the connection
  kNotIp,                          // of a protocol that no policy can allow
  kQuarantined,                    // to or from a port that an operator took out of service
  kRate,                           // above the port's bandwidth
  kCount,
};

inline constexpr std::size_t kDropReasons = static_cast<std::size_t>(DropReason::kCount);

// Names for people; the first is no reason.
inline constexpr std::array<std::string_view, kDropReasons> kDropNames = {"",
                                                                          "mac",
                                                                          "arp",
                                                                          "ipv4",
                                                                          "ipv6",
                                                                          "neighbour",
                                                                          "dhcp-server",
                                                                          "router",
                                                                          "vlan",
                                                                          "control",
                                                                          "malformed",
                                                                          "foreign-destination",
                                                                          "no-room",
                                                                          "too-big",
                                                                          "isolated",
                                                                          "flood-limit",
                                                                          "local-mac",
                                                                          "reflected",
                                                                          "no-buffer",
                                                                          "nobody",
                                                                          "silent",
                                                                          "policy",
                                                                          "not-judged-yet",
                                                                          "fragment",
                                                                          "no-connection",
                                                                          "ct-full",
                                                                          "not-ip",
                                                                          "quarantined",
                                                                          "rate"};

}  // namespace vmlane::dataplane
