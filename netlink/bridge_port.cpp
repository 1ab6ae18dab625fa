// SPDX-License-Identifier: Apache-2.0
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

void put_flag(Message& message, int type, std::optional<bool> on) {
  if (on) message.put_u8(type, *on ? 1 : 0);
}

std::string subject(int index) {
  return "bridge port with index " + std::to_string(index);
}

}  // namespace

Result<> KernelNetlink::change_bridge_port(int index, const BridgePortChange& change) {
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = index;
  Message message(RTM_SETLINK, 0, header);
  message.nest(IFLA_PROTINFO, [&] {
    put_flag(message, IFLA_BRPORT_MODE, change.hairpin);
    put_flag(message, IFLA_BRPORT_ISOLATED, change.isolated);
    put_flag(message, IFLA_BRPORT_LEARNING, change.learning);
    put_flag(message, IFLA_BRPORT_UNICAST_FLOOD, change.flood);
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (!reply.ok()) return fail(reply.to_error("change " + subject(index)));
  return {};
}

Result<BridgePort> KernelNetlink::bridge_port(int index) {
  VMLANE_ASSIGN(const auto message, get_link(socket_, index));
  if (!message) return fail(Code::kNotFound, "there is no " + subject(index));
  const auto info = message->attributes<ifinfomsg>(IFLA_MAX).nested(IFLA_LINKINFO, IFLA_INFO_MAX);
  if (info.string(IFLA_INFO_SLAVE_KIND) != "bridge") {
    return fail(Code::kNotFound, "link with index " + std::to_string(index) + " is no bridge port");
  }
  const auto port = info.nested(IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_MAX);
  const auto flag = [&](int type, bool otherwise) { return port.has(type) ? port.u8(type) != 0 : otherwise; };
  const BridgePort defaults;
  return BridgePort{.hairpin = flag(IFLA_BRPORT_MODE, defaults.hairpin),
                    .isolated = flag(IFLA_BRPORT_ISOLATED, defaults.isolated),
                    .learning = flag(IFLA_BRPORT_LEARNING, defaults.learning),
                    .flood = flag(IFLA_BRPORT_UNICAST_FLOOD, defaults.flood),
                    .forwarding = port.u8(IFLA_BRPORT_STATE) == BR_STATE_FORWARDING,
                    .disabled = port.u8(IFLA_BRPORT_STATE) == BR_STATE_DISABLED};
}

}  // namespace vmlane::netlink
