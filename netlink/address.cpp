// SPDX-License-Identifier: Apache-2.0
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

ifaddrmsg address_header(int index, const IpPrefix& prefix) {
  ifaddrmsg header{};
  header.ifa_family = prefix.address.v6 ? AF_INET6 : AF_INET;
  header.ifa_prefixlen = static_cast<std::uint8_t>(prefix.length);
  header.ifa_index = static_cast<std::uint32_t>(index);
  return header;
}

// The last address of an IPv4 subnet; none where the subnet has no room for one.
std::optional<IpAddress> broadcast_of(const IpPrefix& prefix) {
  if (prefix.address.v6 || prefix.length > 30) return std::nullopt;
  IpAddress address = prefix.address;
  for (unsigned bit = prefix.length; bit < address.bits(); bit++) {
    address.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
  }
  return address;
}

std::optional<AddressEntry> parse_address(const ReceivedMessage& message) {
  const auto header = message.head<ifaddrmsg>();
  const auto attributes = message.attributes<ifaddrmsg>(IFA_MAX);
  const bool v6 = header.ifa_family == AF_INET6;
  // IFA_ADDRESS is the far end where there is a local one besides.
  auto address = attributes.address(IFA_LOCAL, v6);
  if (!address) address = attributes.address(IFA_ADDRESS, v6);
  if (!address) return std::nullopt;
  const std::uint32_t flags = attributes.u32(IFA_FLAGS).value_or(header.ifa_flags);
  return AddressEntry{.prefix = {*address, header.ifa_prefixlen},
                      .tentative = (flags & IFA_F_TENTATIVE) != 0,
                      .dad_failed = (flags & IFA_F_DADFAILED) != 0,
                      .permanent = (flags & IFA_F_PERMANENT) != 0,
                      .scope = header.ifa_scope};
}

std::string subject(int index, const IpPrefix& prefix) {
  return "address " + prefix.to_string() + " on link with index " + std::to_string(index);
}

}  // namespace

Result<std::vector<AddressEntry>> KernelNetlink::addresses(int index) {
  ifaddrmsg header{};
  header.ifa_index = static_cast<std::uint32_t>(index);
  Message message(RTM_GETADDR, NLM_F_DUMP, header);
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  if (reply.error == ENODEV) return std::vector<AddressEntry>{};
  if (!reply.ok()) return fail(reply.to_error("list addresses of link with index " + std::to_string(index)));
  std::vector<AddressEntry> addresses;
  for (const ReceivedMessage& received : reply.messages) {
    // A kernel before 4.20 lists those of all links.
    if (received.head<ifaddrmsg>().ifa_index != static_cast<std::uint32_t>(index)) continue;
    if (const auto address = parse_address(received)) addresses.push_back(*address);
  }
  return addresses;
}

Result<> KernelNetlink::add_address(int index, const AddressSpec& address) {
  ifaddrmsg header = address_header(index, address.prefix);
  if (address.no_dad && address.prefix.address.v6) header.ifa_flags = IFA_F_NODAD;
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, header);
  message.put(IFA_LOCAL, address.prefix.address);
  message.put(IFA_ADDRESS, address.prefix.address);
  if (const auto broadcast = broadcast_of(address.prefix)) message.put(IFA_BROADCAST, *broadcast);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok()) return {};
  if (reply.error != EEXIST) return fail(reply.to_error("add " + subject(index, address.prefix)));
  // IPv6 says so too when the address is there with another prefix length.
  VMLANE_ASSIGN(const auto present, addresses(index));
  if (std::ranges::find(present, address.prefix, &AddressEntry::prefix) != present.end()) return {};
  return fail(Code::kConflict, subject(index, address.prefix) + " exists with another prefix length");
}

Result<> KernelNetlink::remove_address(int index, const IpPrefix& address) {
  Message message(RTM_DELADDR, 0, address_header(index, address));
  message.put(IFA_LOCAL, address.address);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  switch (reply.error) {
    case 0:
    case EADDRNOTAVAIL:  // no such address
    case ENODEV:         // no such link
    case ENXIO:          // a link without IPv6
      return {};
    default:
      return fail(reply.to_error("remove " + subject(index, address)));
  }
}

}  // namespace vmlane::netlink
