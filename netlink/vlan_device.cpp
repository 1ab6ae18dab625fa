// SPDX-License-Identifier: Apache-2.0
// 802.1Q devices.
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/hash.h"
#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

// The kernel hands out small numbers by itself; these are far from them and from those of macvtap slots.
constexpr int kFirstIndex = 1 << 28;
constexpr unsigned kIndexDigits = 6;
constexpr int kIndexAttempts = 64;

// A number nobody has. A link can be found by its number as soon as it is there, before anybody knows its
// name: that is what lets its alias be set in the same system call without ever hitting another link.
Result<int> free_index(KernelNetlink& links, const std::string& name) {
  const int start = kFirstIndex + std::stoi(sha256_hex(name).substr(0, kIndexDigits), nullptr, 16);
  for (int index = start; index < start + kIndexAttempts; index++) {
    VMLANE_ASSIGN(const auto taken, links.find_link(index));
    if (!taken) return index;
  }
  return fail(Code::kInternal, "no free index for VLAN device " + name);
}

Message create_message(const VlanSpec& spec, int index) {
  ifinfomsg header{};
  header.ifi_index = index;
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
  message.put_string(IFLA_IFNAME, spec.name);
  message.put_u32(IFLA_MTU, spec.mtu);
  message.put_u32(IFLA_LINK, static_cast<std::uint32_t>(spec.lower));
  message.nest(IFLA_LINKINFO, [&] {
    message.put_string(IFLA_INFO_KIND, "vlan");
    message.nest(IFLA_INFO_DATA, [&] {
      std::array<std::uint8_t, sizeof spec.id> id{};
      std::memcpy(id.data(), &spec.id, sizeof spec.id);
      message.put(IFLA_VLAN_ID, id);
    });
  });
  return message;
}

Message alias_message(const VlanSpec& spec, int index) {
  ifinfomsg header{};
  header.ifi_index = index;
  Message message(RTM_SETLINK, 0, header);
  message.put_text(IFLA_IFALIAS, spec.alias);
  return message;
}

}  // namespace

Result<> KernelNetlink::create_vlan(const VlanSpec& spec) {
  VMLANE_ASSIGN(const int index, free_index(*this, spec.name));
  std::array messages = {create_message(spec, index), alias_message(spec, index)};
  VMLANE_ASSIGN(const Reply reply, socket_.request_together(messages));
  if (reply.ok()) return {};
  const std::string what = "VLAN device " + spec.name + " (VLAN " + std::to_string(spec.id) + ")";
  if (reply.error == EEXIST) {
    return fail(Code::kConflict,
                "cannot create " + what + ": its name, or that VLAN of the link below, is taken",
                reply.reason);
  }
  if (reply.error == EOPNOTSUPP)
    return fail(Code::kKernel, "cannot create " + what + ": the kernel has no VLAN devices",
                "load the module 8021q");
  return fail(reply.to_error("create " + what));
}

Result<std::optional<std::uint16_t>> KernelNetlink::vlan_id(int index) {
  VMLANE_ASSIGN(const auto message, get_link(socket_, index));
  if (!message) return std::nullopt;
  const auto info = message->attributes<ifinfomsg>(IFLA_MAX).nested(IFLA_LINKINFO, IFLA_INFO_MAX);
  if (info.string(IFLA_INFO_KIND) != "vlan") return std::nullopt;
  const auto id = info.nested(IFLA_INFO_DATA, IFLA_VLAN_MAX).bytes(IFLA_VLAN_ID);
  if (id.size() < sizeof(std::uint16_t)) return std::nullopt;
  std::uint16_t value = 0;
  std::memcpy(&value, id.data(), sizeof value);
  return value;
}

}  // namespace vmlane::netlink
