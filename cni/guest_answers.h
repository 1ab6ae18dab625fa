// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "answers/plan.h"
#include "cni/result.h"
#include "core/address.h"
#include "core/error.h"
#include "core/json.h"

// The NAD keys `guestAnswers` and `gatewayMode`: what a lane's guest is answered by the datapath.
namespace vmlane::cni {

struct GuestAnswersConfig {
  bool enabled = false;
  bool by_default = false;       // nobody said so
  bool virtual_gateway = false;  // gatewayMode: the gateway only exists in the record
  bool dhcp4 = true;
  bool dhcp6 = true;
  std::optional<bool> router_advertisements;  // unset: when there is a router to tell of
  std::uint32_t lease_seconds = 0;            // 0: without end
  std::uint32_t ra_interval = 600;            // seconds
  std::optional<std::vector<IpAddress>> dns;  // instead of the attachment's
  std::optional<std::string> domain;
  std::optional<std::vector<std::string>> search;
  std::string hostname;
  std::optional<IpAddress> next_server;
  std::string filename;
  std::map<std::uint8_t, std::vector<std::uint8_t>> options;
  std::optional<IpAddress> router;  // link-local address of an IPv6 router that answers for itself
};

// Reads both keys from a VM lane's config. `guestAnswers` is on by default where `has_ipam`, and cannot be on
// where not: there would be nothing to tell. Code::kInvalidConfig names key and value; keys of the object
// that nobody knows are refused.
Result<GuestAnswersConfig> parse_guest_answers(ObjectReader& reader, bool has_ipam);

// What the lane knows of the attachment.
struct AttachmentFacts {
  MacAddress guest;
  std::string network;                    // name, for a virtual gateway's MAC
  std::optional<MacAddress> gateway_mac;  // of a real gateway, where the lane made it
  std::uint32_t mtu = 0;                  // 0: unknown
  ResultDns requested_dns;                // of the runtime or the config; wins over the result's
};

// No value when nothing is answered: it is off, or the result has no address, or it is on by default only and
// the MTU is below the 576 bytes that a DHCP client must take. Of IPv4 the first address counts, since
// DHCP gives one; of IPv6 all.
// Code::kInvalidConfig when the result has what cannot be told, with the key that gets round it.
Result<std::optional<answers::AnswerPlan>> make_answer_plan(const GuestAnswersConfig& config,
                                                            const AttachmentFacts& facts,
                                                            const CniResult& result);

// The MAC of the gateway of `network` where it has none of its own: the same on each node, so that a guest
// that moves finds it again.
MacAddress virtual_gateway_mac(std::string_view network);

}  // namespace vmlane::cni
