// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"

// What one guest is told about its network, in plain words. build_answers() makes the frames of it.
namespace vmlane::answers {

struct PlanRoute {
  IpPrefix destination;
  IpAddress gateway;
};

struct Dhcp4Plan {
  IpPrefix address;
  std::optional<IpAddress> gateway;  // of the subnet; also names the server. Unset: a link-local name
  bool default_route = false;        // through the gateway
  std::vector<PlanRoute> routes;     // without the default route
  std::vector<IpAddress> dns;
  std::string domain;
  std::string hostname;
  std::optional<IpAddress> next_server;
  std::string filename;
  std::map<std::uint8_t, std::vector<std::uint8_t>> options;  // by number, as they are sent
};

struct Ipv6Plan {
  IpPrefix address;
  std::vector<IpPrefix> further_addresses;  // in the same lease; 4 addresses at most
  bool dhcp = true;
  bool advertise_router = true;     // answer router solicitations
  std::optional<IpAddress> router;  // link-local address of a router that answers for itself; unset: ours
  bool default_route = false;       // through that router
  std::vector<IpPrefix> routes;     // through that router, without the default route
  std::vector<IpAddress> dns;

  std::vector<IpPrefix> addresses() const {
    std::vector<IpPrefix> all{address};
    all.insert(all.end(), further_addresses.begin(), further_addresses.end());
    return all;
  }
};

struct AnswerPlan {
  MacAddress guest;
  MacAddress gateway;                         // what all answers come from, and what ARP and ND say
  std::vector<IpAddress> answered_addresses;  // of the gateway, for which ARP and ND are answered
  std::optional<Dhcp4Plan> ipv4;
  std::optional<Ipv6Plan> ipv6;
  std::vector<std::string> search;
  std::optional<std::uint32_t> mtu;  // bytes of IP
  std::uint32_t lease_seconds = 0;   // 0: without end
  std::uint32_t ra_interval = 600;   // seconds
};

}  // namespace vmlane::answers
