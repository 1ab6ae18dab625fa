// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "tests/support/frames.h"

// What a guest sends to configure itself, and a reader of the replies that shares nothing with the code under
// test.
namespace vmlane::test {

using Bytes = std::vector<std::uint8_t>;

IpAddress ip(const std::string& text);
Bytes bytes_of(const IpAddress& address);
Bytes joined_bytes(std::initializer_list<Bytes> parts);

struct Hop {
  MacAddress source_mac;
  MacAddress destination_mac;
  IpAddress source;
  IpAddress destination;
};

Frame make_udp(const Hop& hop, std::uint16_t source_port, std::uint16_t destination_port,
               const Bytes& payload);
Frame make_icmp6(const Hop& hop, const Bytes& message);

struct DhcpQuestion {
  std::uint8_t type = 1;  // 0: no such option
  std::uint32_t xid = 0x01020304;
  std::uint16_t flags = 0;
  std::string client = "0.0.0.0";  // ciaddr, and the source
  std::string requested;           // option 50
  std::string server;              // option 54
  Bytes client_id;                 // option 61
  std::string destination = "255.255.255.255";
  std::string relay = "0.0.0.0";
  Bytes more;  // further options as they are
  bool cookie = true;
};
Frame make_dhcp(const MacAddress& guest, const DhcpQuestion& question);

struct Dhcp6Question {
  std::uint8_t type = 1;
  Bytes client_duid{0, 3, 0, 1, 2, 0, 0, 0, 0, 0x0a};  // empty: no such option
  Bytes server_duid;
  std::optional<std::uint32_t> iaid = 0x11223344;
  std::string address;  // in the IA_NA
  bool rapid_commit = false;
  std::string source = "fe80::ff:fe00:a";
  std::string destination = "ff02::1:2";
  Bytes more;
};
Bytes option6(std::uint16_t code, const Bytes& value);
Frame make_dhcp6(const MacAddress& guest, const Dhcp6Question& question);

Frame make_arp_request(const MacAddress& guest, const std::string& sender, const std::string& target);
Frame make_router_solicitation(const MacAddress& guest, const std::string& source);
Frame make_neighbour_solicitation(const MacAddress& guest, const std::string& source,
                                  const std::string& target);

// A frame taken apart; what it is not stays empty.
struct Reply {
  MacAddress source_mac;
  MacAddress destination_mac;
  IpAddress source;
  IpAddress destination;
  bool sums_right = false;  // lengths and checksums of IP and what is above
  bool lengths_right = false;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint8_t hops = 0;
  Bytes payload;  // of UDP, or the ICMPv6 message, or the ARP packet
};
Reply read_reply(const Frame& frame);

struct DhcpReply {
  std::uint8_t type = 0;
  std::uint32_t xid = 0;
  std::uint16_t flags = 0;
  std::string client, yours, next_server, relay;
  MacAddress hardware_address;
  std::string filename;
  std::map<int, Bytes> options;
  std::vector<int> order;
  bool ended = false;
};
DhcpReply read_dhcp(const Bytes& payload);

struct Dhcp6Reply {
  std::uint8_t type = 0;
  std::uint32_t xid = 0;
  std::map<int, Bytes> options;
};
Dhcp6Reply read_dhcp6(const Bytes& payload);
std::map<int, Bytes> read_options6(const Bytes& bytes);

// Options of a router or neighbour advertisement from `at` on: type to the values, without type and length.
std::multimap<int, Bytes> read_nd_options(const Bytes& message, std::size_t at);

}  // namespace vmlane::test
