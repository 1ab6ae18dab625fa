// SPDX-License-Identifier: Apache-2.0
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <array>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

// MAC and MTU are in the request that makes the link: a later one could be undone by udev's MAC policy, and
// nobody sees the link without them. Alias and address generation mode are not accepted there; the caller
// sets them while the link is down.
Message create_message(const std::string& name, const MacAddress& mac, std::uint32_t mtu) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  message.put_string(IFLA_IFNAME, name);
  message.put(IFLA_ADDRESS, mac);
  message.put_u32(IFLA_MTU, mtu);
  return message;
}

std::unexpected<Error> name_taken(const std::string& name, const std::string& where = {}) {
  return fail(Code::kConflict, "link " + name + " exists already" + where,
              "remove or rename it, or choose another name");
}

}  // namespace

Result<> KernelNetlink::create_veth(const VethSpec& spec, const Namespace& peer_namespace) {
  Message message = create_message(spec.name, spec.mac, spec.mtu);
  message.nest(IFLA_LINKINFO, [&] {
    message.put_string(IFLA_INFO_KIND, "veth");
    message.nest(IFLA_INFO_DATA, [&] {
      message.nest(VETH_INFO_PEER, [&] {
        message.append(ifinfomsg{});
        message.put_string(IFLA_IFNAME, spec.peer_name);
        message.put(IFLA_ADDRESS, spec.peer_mac);
        message.put_u32(IFLA_MTU, spec.mtu);
        message.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_namespace.fd()));
      });
    });
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.ok()) return {};
  if (reply.error != EEXIST) {
    return fail(reply.to_error("create veth pair " + spec.name + " and " + spec.peer_name + " in " +
                               peer_namespace.path()));
  }
  // The kernel does not say whose name it was.
  VMLANE_ASSIGN(const auto own, find_link(spec.name));
  if (own) return name_taken(spec.name);
  return name_taken(spec.peer_name, " in " + peer_namespace.path());
}

Result<> KernelNetlink::create_bridge(const BridgeSpec& spec) {
  Message message = create_message(spec.name, spec.mac, spec.mtu);
  message.nest(IFLA_LINKINFO, [&] {
    message.put_string(IFLA_INFO_KIND, "bridge");
    if (!spec.vlan_filtering) return;
    message.nest(IFLA_INFO_DATA, [&] { message.put_u8(IFLA_BR_VLAN_FILTERING, 1); });
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.error == EEXIST) return name_taken(spec.name);
  if (reply.error == EOPNOTSUPP && spec.vlan_filtering) {
    return fail(Code::kKernel,
                "cannot create bridge " + spec.name + ": the kernel has no bridge VLAN filtering",
                "VLANs take a kernel with CONFIG_BRIDGE_VLAN_FILTERING, as distributions have it");
  }
  if (!reply.ok()) return fail(reply.to_error("create bridge " + spec.name));
  return pin_bridge_mtu(spec);
}

Result<> KernelNetlink::create_ifb(const IfbSpec& spec) {
  // How many frames the driver takes from the queue ahead of handing them back.
  constexpr std::uint32_t kQueueLength = 1000;
  Message message = create_message(spec.name, spec.mac, spec.mtu);
  message.put_u32(IFLA_TXQLEN, kQueueLength);
  message.nest(IFLA_LINKINFO, [&] { message.put_string(IFLA_INFO_KIND, "ifb"); });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.error == EEXIST) return name_taken(spec.name);
  if (reply.error == EOPNOTSUPP)
    return fail(Code::kKernel, "the kernel has no ifb device, which " + spec.name + " is to be",
                "load the kernel module ifb");
  if (!reply.ok()) return fail(reply.to_error("create ifb " + spec.name));
  return {};
}

// Until its MTU is changed once by request a bridge takes the lowest MTU of its ports, each time one joins or
// leaves. A change to the present value is none, so the MTU goes to a neighbouring value and back. Both
// changes travel together: a kill must not leave the bridge in between.
Result<> KernelNetlink::pin_bridge_mtu(const BridgeSpec& spec) {
  VMLANE_ASSIGN(const auto bridge, find_link(spec.name));
  if (!bridge) return fail(Code::kNotFound, "bridge " + spec.name + " was removed as soon as it was created");
  ifinfomsg header{};
  header.ifi_index = bridge->index;
  std::array changes = {Message(RTM_SETLINK, 0, header), Message(RTM_SETLINK, 0, header)};
  // Within the kernel's limits of 68 and 65535 whatever the value was.
  changes[0].put_u32(IFLA_MTU, spec.mtu ^ 1U);
  changes[1].put_u32(IFLA_MTU, spec.mtu);
  VMLANE_ASSIGN(const Reply reply, socket_.request_together(changes));
  if (!reply.ok()) return fail(reply.to_error("fix the MTU of bridge " + spec.name));
  return {};
}

}  // namespace vmlane::netlink
