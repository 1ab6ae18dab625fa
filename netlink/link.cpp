// SPDX-License-Identifier: Apache-2.0
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

ifinfomsg link_header(int index) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  return header;
}

// "link eth0" where the name is known for sure, else by index.
Link parse_link(const ReceivedMessage& message) {
  const auto header = message.head<ifinfomsg>();
  const auto attributes = message.attributes<ifinfomsg>(IFLA_MAX);
  Link link;
  link.index = header.ifi_index;
  link.name = attributes.string(IFLA_IFNAME);
  link.kind = attributes.nested(IFLA_LINKINFO, IFLA_INFO_MAX).string(IFLA_INFO_KIND);
  link.alias = attributes.string(IFLA_IFALIAS);
  if (const auto mac = attributes.bytes(IFLA_ADDRESS); mac.size() == link.mac.bytes.size()) {
    std::ranges::copy(mac, link.mac.bytes.begin());
  }
  link.mtu = attributes.u32(IFLA_MTU).value_or(0);
  link.group = attributes.u32(IFLA_GROUP).value_or(0);
  link.up = (header.ifi_flags & IFF_UP) != 0;
  link.running = (header.ifi_flags & IFF_RUNNING) != 0;
  link.carrier = (header.ifi_flags & IFF_LOWER_UP) != 0;
  link.arp = (header.ifi_flags & IFF_NOARP) == 0;
  link.promiscuous = (header.ifi_flags & IFF_PROMISC) != 0;
  link.all_multicast = (header.ifi_flags & IFF_ALLMULTI) != 0;
  link.loopback = (header.ifi_flags & IFF_LOOPBACK) != 0;
  link.master = attributes.s32(IFLA_MASTER).value_or(0);
  link.peer = attributes.s32(IFLA_LINK).value_or(0);
  link.peer_namespace_id = attributes.s32(IFLA_LINK_NETNSID);
  return link;
}

Result<std::optional<ReceivedMessage>> get(Socket& socket, Message& message, const std::string& what) {
  message.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  VMLANE_ASSIGN(Reply reply, socket.request(message));
  if (reply.error == ENODEV) return std::nullopt;
  if (!reply.ok()) return fail(reply.to_error("look up " + what));
  if (reply.messages.empty()) return std::nullopt;
  return std::move(reply.messages.front());
}

std::optional<Link> parse_found(const std::optional<ReceivedMessage>& message) {
  if (!message) return std::nullopt;
  return parse_link(*message);
}

void set_flag(ifinfomsg& header, unsigned flag, std::optional<bool> on) {
  if (!on) return;
  header.ifi_change |= flag;
  if (*on) header.ifi_flags |= flag;
}

Message change_message(int index, const LinkChange& change) {
  ifinfomsg header = link_header(index);
  set_flag(header, IFF_UP, change.up);
  set_flag(header, IFF_PROMISC, change.promiscuous);
  set_flag(header, IFF_ALLMULTI, change.all_multicast);
  if (change.arp) set_flag(header, IFF_NOARP, !*change.arp);
  Message message(RTM_SETLINK, 0, header);
  if (change.mtu) message.put_u32(IFLA_MTU, *change.mtu);
  if (change.group) message.put_u32(IFLA_GROUP, *change.group);
  if (change.mac) message.put(IFLA_ADDRESS, *change.mac);
  if (change.master) message.put_u32(IFLA_MASTER, static_cast<std::uint32_t>(*change.master));
  if (change.alias) message.put_text(IFLA_IFALIAS, *change.alias);
  if (change.name) message.put_string(IFLA_IFNAME, *change.name);
  return message;
}

}  // namespace

std::string link_subject(int index) {
  return "link with index " + std::to_string(index);
}

Result<std::optional<ReceivedMessage>> get_link(Socket& socket, int index) {
  Message message(RTM_GETLINK, 0, link_header(index));
  return get(socket, message, link_subject(index));
}

Result<std::optional<ReceivedMessage>> get_link(Socket& socket, const std::string& name) {
  Message message(RTM_GETLINK, 0, link_header(0));
  message.put_string(IFLA_IFNAME, name);
  return get(socket, message, "link " + name);
}

Result<std::vector<Link>> KernelNetlink::links() {
  Message message(RTM_GETLINK, NLM_F_DUMP, link_header(0));
  message.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  if (!reply.ok()) return fail(reply.to_error("list links"));
  std::vector<Link> links;
  std::ranges::transform(reply.messages, std::back_inserter(links), parse_link);
  return links;
}

Result<std::optional<Link>> KernelNetlink::find_link(const std::string& name) {
  VMLANE_ASSIGN(const auto message, get_link(socket_, name));
  return parse_found(message);
}

Result<std::optional<Link>> KernelNetlink::find_link(int index) {
  VMLANE_ASSIGN(const auto message, get_link(socket_, index));
  return parse_found(message);
}

Result<> KernelNetlink::delete_link(int index) {
  Message message(RTM_DELLINK, 0, link_header(index));
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok() || reply.error == ENODEV) return {};
  return fail(reply.to_error("delete " + link_subject(index)));
}

Result<> KernelNetlink::delete_group(std::uint32_t group) {
  Message message(RTM_DELLINK, 0, link_header(0));
  message.put_u32(IFLA_GROUP, group);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok() || reply.error == ENODEV) return {};
  return fail(reply.to_error("delete the links of group " + std::to_string(group)));
}

Result<> KernelNetlink::change_link(int index, const LinkChange& change) {
  // First, and on its own: in one request with "up" the kernel brings the link up, and makes its address,
  // before it reads this.
  if (change.no_ipv6_address_generation) VMLANE_TRY(disable_ipv6_address_generation(index));
  Message message = change_message(index, change);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok()) return {};
  if (reply.error == EEXIST && change.name) {
    return fail(
        Code::kConflict,
        "cannot rename " + link_subject(index) + " to " + *change.name + ": a link of that name exists",
        reply.reason);
  }
  if (reply.error == EADDRINUSE) {
    return fail(Code::kConflict,
                "cannot bring up " + link_subject(index) + ": its MAC is in use on the same lower device",
                reply.reason);
  }
  return fail(reply.to_error("change " + link_subject(index)));
}

Result<> KernelNetlink::disable_ipv6_address_generation(int index) {
  Message message(RTM_SETLINK, 0, link_header(index));
  message.nest(IFLA_AF_SPEC, [&] {
    message.nest(AF_INET6, [&] { message.put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE); });
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  // A kernel or a link without IPv6 generates nothing.
  if (reply.ok() || reply.error == EAFNOSUPPORT) return {};
  return fail(reply.to_error("switch off IPv6 address generation on " + link_subject(index)));
}

Result<std::unique_ptr<Netlink>> open_netlink(const Namespace& network_namespace) {
  VMLANE_ASSIGN(Socket socket, Socket::open(network_namespace));
  return std::make_unique<KernelNetlink>(std::move(socket));
}

}  // namespace vmlane::netlink
