// SPDX-License-Identifier: Apache-2.0
#include "cni/macvtap/lower.h"

#include <algorithm>
#include <array>

#include "cni/leftovers.h"

namespace vmlane::cni {
namespace {

using netlink::MacvtapMode;

constexpr std::array<std::pair<MacvtapMode, const char*>, 4> kModes = {
    {{MacvtapMode::kBridge, "bridge"},
     {MacvtapMode::kPrivate, "private"},
     {MacvtapMode::kVepa, "vepa"},
     {MacvtapMode::kPassthru, "passthru"}}};

std::unexpected<Error> unusable(const std::string& name, const std::string& why, const std::string& fix) {
  return fail(Code::kConflict, "lower device " + name + " " + why, fix);
}

Result<> refuse_port(netlink::Netlink& host, const netlink::Link& link) {
  if (link.master == 0) return {};
  VMLANE_ASSIGN(const auto master, host.find_link(link.master));
  const std::string of =
      master ? (master->kind.empty() ? "device " : master->kind + " ") + master->name : "another device";
  return unusable(link.name, "is a port of " + of,
                  "its frames are the other device's: name that one, or take the port out of it");
}

bool stands_in_the_way(const AttachmentRecord& other, const AttachmentRecord& record, MacvtapMode mode) {
  if (other.key == record.key || other.plugin != record.plugin || !other.handles.is_object()) return false;
  if (other.handles.value("lower", "") != record.handles.value("lower", "")) return false;
  return mode == MacvtapMode::kPassthru ||
         other.handles.value("mode", "") == to_string(MacvtapMode::kPassthru);
}

}  // namespace

std::string to_string(MacvtapMode mode) {
  return std::ranges::find(kModes, mode, &std::pair<MacvtapMode, const char*>::first)->second;
}

std::optional<MacvtapMode> parse_macvtap_mode(const std::string& word) {
  const auto found = std::ranges::find_if(kModes, [&](const auto& entry) { return entry.second == word; });
  return found == kModes.end() ? std::nullopt : std::optional(found->first);
}

Result<netlink::Link> find_lower(netlink::Netlink& host, const std::string& name) {
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link) {
    return fail(Code::kNotFound, "lower device " + name + " is not in the node's network namespace",
                "a device that was moved into a pod or renamed is not found either: ip link show " + name);
  }
  if (link->name != name) {
    // One device under two names would be two networks.
    return fail(Code::kInvalidConfig, "lower device " + name + " is another name of " + link->name,
                "name it " + link->name);
  }
  if (link->loopback) return unusable(name, "is the loopback device", "name a NIC, bond or VLAN device");
  if (link->kind == "macvlan" || link->kind == "macvtap" || link->kind == "ipvlan") {
    return unusable(name, "is a " + link->kind + " itself", "name the device that it is on");
  }
  VMLANE_TRY(refuse_port(host, *link));
  if (!link->up) return unusable(name, "is down", "bring it up: ip link set " + name + " up");
  return *link;
}

Result<std::uint32_t> lower_mtu(const netlink::Link& lower, std::optional<std::uint32_t> wanted) {
  if (wanted.value_or(0) > lower.mtu) {
    return fail(Code::kInvalidConfig,
                "key \"mtu\" is " + std::to_string(*wanted) + ", lower device " + lower.name + " carries " +
                    std::to_string(lower.mtu),
                "lower the key or raise the device's MTU");
  }
  return wanted.value_or(lower.mtu);
}

Result<> check_lower_mac(const netlink::Link& lower, const MacAddress& mac, MacvtapMode mode) {
  if (mode == MacvtapMode::kPassthru || lower.mac != mac) return {};
  return fail(
      Code::kConflict, "MAC " + mac.to_string() + " is that of lower device " + lower.name,
      "frames for the workload would end at the node; give the NIC another MAC, or take mode passthru");
}

Result<> refuse_shared_lower(const Node& node, const AttachmentRecord& record, MacvtapMode mode) {
  VMLANE_ASSIGN(const auto listing, RecordStore(node.config).list());
  for (const AttachmentRecord& other : listing.records) {
    if (!stands_in_the_way(other, record, mode)) continue;
    VMLANE_ASSIGN(const bool gone, sandbox_is_gone(node, other));
    if (gone) continue;
    return fail(Code::kConflict,
                "lower device " + record.handles.value("lower", "") + " is in use by container " +
                    other.key.container_id + " (interface " + other.key.ifname + ", network " +
                    other.key.network + ") in mode " + other.handles.value("mode", ""),
                "mode passthru takes a lower device for itself alone");
  }
  return {};
}

Result<> check_lower(netlink::Netlink& host, const AttachmentRecord& record) {
  const std::string name = record.handles.value("lower", "");
  VMLANE_ASSIGN(const auto lower, host.find_link(record.handles.value("lower_index", 0)));
  if (!lower)
    return fail(Code::kChanged, "lower device " + name + " is gone from the node's network namespace");
  if (lower->name != name) {
    return fail(Code::kChanged, "lower device " + name + " is called " + lower->name + " now",
                "name it " + name + " again: the next ADD looks for it by that name");
  }
  if (!lower->up)
    return fail(Code::kChanged, "lower device " + name + " is down",
                "bring it up: ip link set " + name + " up");
  return {};
}

}  // namespace vmlane::cni
