// SPDX-License-Identifier: Apache-2.0
// VLAN filtering of bridges: the switch, and which VLANs a port or the bridge device itself is in.
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

// Entries a request carries; a trunk of every second VLAN has more than fit into one.
constexpr std::size_t kEntriesPerRequest = 200;

std::uint16_t flags_of(const PortVlans& vlans) {
  unsigned flags = 0;
  if (vlans.pvid) flags |= BRIDGE_VLAN_INFO_PVID;
  if (vlans.untagged) flags |= BRIDGE_VLAN_INFO_UNTAGGED;
  return static_cast<std::uint16_t>(flags);
}

void put_entry(Message& message, std::uint16_t id, unsigned flags) {
  const bridge_vlan_info info{.flags = static_cast<std::uint16_t>(flags), .vid = id};
  std::array<std::uint8_t, sizeof info> bytes{};
  std::copy_n(reinterpret_cast<const std::uint8_t*>(&info), sizeof info, bytes.begin());
  message.put(IFLA_BRIDGE_VLAN_INFO, bytes);
}

void put_vlans(Message& message, const PortVlans& vlans) {
  const unsigned flags = flags_of(vlans);
  if (vlans.first == vlans.last) {
    put_entry(message, vlans.first, flags);
  } else {
    put_entry(message, vlans.first, flags | BRIDGE_VLAN_INFO_RANGE_BEGIN);
    put_entry(message, vlans.last, flags | BRIDGE_VLAN_INFO_RANGE_END);
  }
}

// RTM_SETLINK adds, RTM_DELLINK removes. `self` means the bridge device, else the link is a port.
void append_requests(std::vector<Message>& messages, std::uint16_t type, int index,
                     const std::vector<PortVlans>& vlans, bool self) {
  for (std::size_t start = 0; start < vlans.size(); start += kEntriesPerRequest) {
    ifinfomsg header{};
    header.ifi_family = AF_BRIDGE;
    header.ifi_index = index;
    Message& message = messages.emplace_back(type, 0, header);
    message.nest(IFLA_AF_SPEC, [&] {
      if (self) {
        const std::uint16_t flags = BRIDGE_FLAGS_SELF;
        message.put(IFLA_BRIDGE_FLAGS, std::array{static_cast<std::uint8_t>(flags & 0xffU),
                                                  static_cast<std::uint8_t>(flags >> 8U)});
      }
      for (std::size_t i = start; i < std::min(vlans.size(), start + kEntriesPerRequest); i++)
        put_vlans(message, vlans[i]);
    });
  }
}

// The entries of IFLA_AF_SPEC, where a range is two of them.
std::vector<PortVlans> parse_vlans(std::span<std::uint8_t> attributes) {
  std::vector<PortVlans> vlans;
  std::uint16_t begin = 0;
  int left = static_cast<int>(attributes.size());
  for (auto* entry = reinterpret_cast<nlattr*>(attributes.data()); nla_ok(entry, left) != 0;
       entry = nla_next(entry, &left)) {
    if (nla_type(entry) != IFLA_BRIDGE_VLAN_INFO ||
        nla_len(entry) < static_cast<int>(sizeof(bridge_vlan_info)))
      continue;
    const auto info = *static_cast<const bridge_vlan_info*>(nla_data(entry));
    if ((info.flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) != 0) {
      begin = info.vid;
      continue;
    }
    const bool end = (info.flags & BRIDGE_VLAN_INFO_RANGE_END) != 0;
    vlans.push_back({.first = end ? begin : info.vid,
                     .last = info.vid,
                     .pvid = (info.flags & BRIDGE_VLAN_INFO_PVID) != 0,
                     .untagged = (info.flags & BRIDGE_VLAN_INFO_UNTAGGED) != 0});
  }
  return vlans;
}

std::unexpected<Error> no_filtering(const std::string& what) {
  return fail(Code::kKernel, what + ": the kernel has no bridge VLAN filtering",
              "VLANs take a kernel with CONFIG_BRIDGE_VLAN_FILTERING, as distributions have it");
}

}  // namespace

std::vector<PortVlans> normalized(const std::vector<PortVlans>& vlans) {
  constexpr std::size_t kIds = kMaxVlan + 2;  // and one that is never a member, so that the last range ends
  std::bitset<kIds> member;
  std::bitset<kIds> pvid;
  std::bitset<kIds> untagged;
  for (const PortVlans& entry : vlans) {
    for (unsigned id = entry.first; id <= entry.last && id <= kMaxVlan; id++) {
      member.set(id);
      pvid.set(id, entry.pvid);
      untagged.set(id, entry.untagged);
    }
  }
  std::vector<PortVlans> out;
  for (std::uint16_t id = 0; id <= kMaxVlan; id++) {
    if (!member[id]) continue;
    const bool goes_on = !out.empty() && out.back().last + 1 == id && out.back().pvid == pvid[id] &&
                         out.back().untagged == untagged[id];
    if (goes_on) {
      out.back().last = id;
    } else {
      out.push_back({.first = id, .last = id, .pvid = pvid[id], .untagged = untagged[id]});
    }
  }
  return out;
}

Result<bool> KernelNetlink::bridge_filters_vlans(int index) {
  VMLANE_ASSIGN(const auto message, get_link(socket_, index));
  if (!message) return fail(Code::kNotFound, "there is no " + link_subject(index));
  const auto info = message->attributes<ifinfomsg>(IFLA_MAX).nested(IFLA_LINKINFO, IFLA_INFO_MAX);
  if (info.string(IFLA_INFO_KIND) != "bridge")
    return fail(Code::kNotFound, link_subject(index) + " is no bridge");
  return info.nested(IFLA_INFO_DATA, IFLA_BR_MAX).u8(IFLA_BR_VLAN_FILTERING).value_or(0) != 0;
}

Result<> KernelNetlink::filter_vlans(int index, bool on) {
  ifinfomsg header{};
  header.ifi_index = index;
  Message message(RTM_NEWLINK, 0, header);
  message.nest(IFLA_LINKINFO, [&] {
    message.put_string(IFLA_INFO_KIND, "bridge");
    message.nest(IFLA_INFO_DATA, [&] { message.put_u8(IFLA_BR_VLAN_FILTERING, on ? 1 : 0); });
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok()) return {};
  const std::string what = std::string("cannot switch VLAN filtering ") + (on ? "on" : "off") +
                           " for the bridge, " + link_subject(index);
  if (reply.error == EOPNOTSUPP) return no_filtering(what);
  return fail(reply.to_error(what));
}

Result<std::vector<PortVlans>> KernelNetlink::port_vlans(int index) {
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  Message message(RTM_GETLINK, NLM_F_DUMP, header);
  message.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED);
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  if (!reply.ok()) return fail(reply.to_error("list VLANs of " + link_subject(index)));
  std::vector<PortVlans> vlans;
  for (const ReceivedMessage& received : reply.messages) {
    if (received.head<ifinfomsg>().ifi_index != index) continue;
    const auto attributes = received.attributes<ifinfomsg>(IFLA_MAX);
    std::ranges::copy(parse_vlans(attributes.bytes(IFLA_AF_SPEC)), std::back_inserter(vlans));
  }
  return normalized(vlans);
}

Result<> KernelNetlink::change_port_vlans(int index, const PortVlansChange& change) {
  std::vector<Message> messages;
  append_requests(messages, RTM_DELLINK, index, change.remove, change.of_the_bridge);
  append_requests(messages, RTM_SETLINK, index, change.add, change.of_the_bridge);
  if (messages.empty()) return {};
  VMLANE_ASSIGN(const Reply reply, socket_.request_together(messages));
  if (reply.ok()) return {};
  const std::string what = "cannot change the VLANs of " + link_subject(index);
  if (reply.error == EOPNOTSUPP) return no_filtering(what);
  return fail(reply.to_error("change the VLANs of " + link_subject(index)));
}

}  // namespace vmlane::netlink
