// SPDX-License-Identifier: Apache-2.0
#include "cni/vhostuser/kernel_uplink.h"

#include <algorithm>
#include <optional>

#include "cni/sysctl.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

std::string tap_of(const NodeConfig& config, const std::string& segment) {
  return names::uplink_tap(config.state_dir.native(), segment);
}

// Of this node: the name is a hash of its state directory.
bool is_own(const NodeConfig& config, const netlink::Link& link) {
  if (link.kind != "tun") return false;
  const auto segment = names::parse_uplink_alias(link.alias);
  return segment && link.name == tap_of(config, *segment);
}

Result<netlink::Link> make_tap(Attachment& attachment, netlink::Netlink& host, const std::string& name,
                               const std::string& segment) {
  const NodeConfig& config = attachment.node.config;
  const netlink::TapSpec spec{
      .name = name, .owner = config.switch_uid, .group = config.vmlane_gid, .multi_queue = true};
  VMLANE_TRY(attachment.transaction.step(
      "make uplink tap " + name, [&] { return attachment.node.kernel.create_tap(attachment.host, spec); }));
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link) return fail(Code::kKernel, "uplink tap " + name + " vanished while it was being set up");
  VMLANE_TRY(attachment.transaction.step("name the uplink's network", [&] {
    return host.change_link(link->index,
                            {.alias = names::uplink_alias(segment), .no_ipv6_address_generation = true});
  }));
  VMLANE_TRY(attachment.transaction.step("keep the uplink without IPv6", [&] {
    return set_link_sysctl(attachment.node, attachment.host, {"ipv6", name, "disable_ipv6", "1"});
  }));
  return *link;
}

// The tap as it is; a kill may have left it half made.
Result<netlink::Link> find_or_make(Attachment& attachment, netlink::Netlink& host, const std::string& segment,
                                   bool& complete) {
  const std::string name = tap_of(attachment.node.config, segment);
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  complete = link && is_own(attachment.node.config, *link);
  if (complete) return *link;
  if (link && (link->kind != "tun" || !link->alias.empty())) {
    return fail(Code::kConflict, "link " + name + " exists and is not the uplink of " + segment,
                "remove it, or give the node another stateDir");
  }
  if (link)
    VMLANE_TRY(attachment.transaction.step("remove a half-made uplink",
                                           [&] { return host.delete_link(link->index); }));
  return make_tap(attachment, host, name, segment);
}

Result<> settle_isolation(Attachment& attachment, netlink::Netlink& host, const netlink::Link& tap,
                          bool isolated, bool fresh) {
  if (fresh) {
    if (!isolated) return {};
    return attachment.transaction.step(
        "isolate the uplink", [&] { return host.change_bridge_port(tap.index, {.isolated = true}); });
  }
  VMLANE_ASSIGN(const netlink::BridgePort port, host.bridge_port(tap.index));
  if (port.isolated == isolated) return {};
  return fail(Code::kConflict,
              "key \"portIsolation\" is " + std::string(isolated ? "true" : "false") +
                  ", and other vhost-user NICs of this network have the opposite",
              "they share a port of the bridge: give the key the same value in all NADs of the network");
}

std::optional<std::vector<AttachmentRecord>> others(const Reclaim& reclaim) {
  auto listing = RecordStore(reclaim.node.config).list();
  if (!listing || !listing->problems.empty()) {
    reclaim.node.log.warning("which uplinks other attachments need cannot be told, so all of them stay");
    return std::nullopt;
  }
  std::erase_if(listing->records,
                [&](const AttachmentRecord& record) { return record.key.id() == reclaim.key.id(); });
  return std::move(listing->records);
}

bool is_needed(const std::vector<AttachmentRecord>& records, const std::string& tap) {
  return std::ranges::any_of(records, [&](const AttachmentRecord& record) {
    return record.handles.is_object() && record.handles.value("uplink_tap", "") == tap;
  });
}

Result<std::string> bridge_of(netlink::Netlink& host, const netlink::Link& tap) {
  if (tap.master == 0) return std::string();
  VMLANE_ASSIGN(const auto bridge, host.find_link(tap.master));
  return bridge ? bridge->name : std::string();
}

// The name of the bridge that lost it; empty when another attachment has come to need it.
Result<std::string> release(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& tap) {
  VMLANE_ASSIGN(const std::string bridge, bridge_of(host, tap));
  VMLANE_ASSIGN(const auto lock, lock_bridge(reclaim.node.config, bridge));
  const auto records = others(reclaim);
  if (!records || is_needed(*records, tap.name)) return std::string();
  VMLANE_TRY(reclaim.step("remove uplink tap " + tap.name, [&] { return host.delete_link(tap.index); }));
  return bridge;
}

}  // namespace

Result<netlink::Link> ensure_kernel_uplink(Attachment& attachment, netlink::Netlink& host,
                                           const netlink::Link& bridge, const std::string& segment,
                                           const BridgeConfig& config, std::uint32_t mtu) {
  bool complete = false;
  VMLANE_ASSIGN(netlink::Link tap, find_or_make(attachment, host, segment, complete));
  const bool fresh = !complete || tap.master != bridge.index;
  if (tap.mtu < mtu) {
    VMLANE_TRY(attachment.transaction.step("set the uplink's MTU",
                                           [&] { return host.change_link(tap.index, {.mtu = mtu}); }));
  }
  if (fresh) {
    VMLANE_TRY(attachment.transaction.step("put the uplink into the bridge", [&] {
      return host.change_link(tap.index, {.master = bridge.index});
    }));
  }
  VMLANE_TRY(settle_isolation(attachment, host, tap, config.port_isolation, fresh));
  if (config.vlan.any()) VMLANE_TRY(join_vlans(attachment, host, tap.index, config.vlan));
  if (!tap.up) {
    VMLANE_TRY(attachment.transaction.step("bring the uplink up",
                                           [&] { return host.change_link(tap.index, {.up = true}); }));
  }
  return tap;
}

Result<std::vector<std::string>> release_kernel_uplinks(const Reclaim& reclaim, netlink::Netlink& host) {
  std::vector<std::string> bridges;
  VMLANE_ASSIGN(const auto links, host.links());
  std::vector<netlink::Link> own;
  for (const netlink::Link& link : links) {
    if (is_own(reclaim.node.config, link)) own.push_back(link);
  }
  if (own.empty()) return bridges;
  const auto records = others(reclaim);
  if (!records) return bridges;
  for (const netlink::Link& link : own) {
    if (is_needed(*records, link.name)) continue;
    VMLANE_ASSIGN(std::string bridge, release(reclaim, host, link));
    if (!bridge.empty()) bridges.push_back(std::move(bridge));
  }
  return bridges;
}

Result<> check_kernel_uplink(const Inspection& inspection, netlink::Netlink& host) {
  const AttachmentRecord& record = inspection.record;
  const std::string name = record.handles.value("uplink_tap", "");
  if (name.empty()) return {};
  const std::string bridge_name = record.handles.value("bridge", "");
  VMLANE_ASSIGN(const auto tap, host.find_link(name));
  if (!tap || !is_own(inspection.node.config, *tap))
    return fail(Code::kChanged, "uplink tap " + name + " is gone");
  VMLANE_ASSIGN(const auto bridge, host.find_link(bridge_name));
  if (!bridge) return fail(Code::kChanged, "bridge " + bridge_name + " is gone");
  if (tap->master != bridge->index)
    return fail(Code::kChanged, "uplink tap " + name + " is no port of bridge " + bridge_name);
  if (!tap->up) return fail(Code::kChanged, "uplink tap " + name + " is down");
  VMLANE_TRY(check_vlans(host, *tap, record));
  return check_uplink(host, *bridge, record);
}

}  // namespace vmlane::cni
