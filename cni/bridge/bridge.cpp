// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/bridge.h"

#include <algorithm>

#include "cni/sysctl.h"
#include "core/files.h"

namespace vmlane::cni {
namespace {

constexpr std::uint32_t kDefaultMtu = 1500;

Result<netlink::Link> existing_link(netlink::Netlink& host, const std::string& name) {
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link) return fail(Code::kKernel, "bridge " + name + " vanished while it was being set up");
  return *link;
}

Result<> make_bridge(Attachment& attachment, netlink::Netlink& host, const BridgeConfig& config) {
  const netlink::BridgeSpec spec{config.bridge, own_bridge_mac(attachment.node.config, config.bridge),
                                 config.mtu.value_or(kDefaultMtu)};
  VMLANE_TRY(
      attachment.transaction.step("make bridge " + config.bridge, [&] { return host.create_bridge(spec); }));
  VMLANE_ASSIGN(const netlink::Link bridge, existing_link(host, config.bridge));
  return attachment.transaction.step(
      "name the bridge's owner", [&] { return host.change_link(bridge.index, {.alias = "vmlane:bridge"}); });
}

// Forwarding for what arrives on our own gateway. The node-wide switch is the administrator's.
Result<> forward_from(const Node& node, const netlink::Namespace& host, const std::string& bridge, bool v6) {
  return set_link_sysctl(node, host, {v6 ? "ipv6" : "ipv4", bridge, "forwarding", "1"});
}

IpAddress first_host(const IpPrefix& prefix) {
  IpAddress address = prefix.network().address;
  address.bytes[prefix.address.bits() / 8 - 1] |= 1;
  return address;
}

Result<> refuse_overlap(const std::string& bridge, const std::vector<netlink::AddressEntry>& present,
                        const IpPrefix& gateway) {
  for (const auto& entry : present) {
    const bool overlaps = entry.prefix.contains(gateway.address) || gateway.contains(entry.prefix.address);
    if (overlaps && entry.prefix != gateway) {
      return fail(Code::kConflict,
                  "bridge " + bridge + " has address " + entry.prefix.to_string() +
                      ", the gateway would be " + gateway.to_string(),
                  "name the bridge's address as the gateway, or remove it from the bridge");
    }
  }
  return {};
}

bool lists(const Json& handles, const char* key, const std::string& value) {
  const auto it = handles.find(key);
  return it != handles.end() && it->is_array() && std::ranges::find(*it, Json(value)) != it->end();
}

// On an administrator's bridge the record must say that the address is ours before it is there.
Result<> record_gateway(Attachment& attachment, const std::string& gateway) {
  return attachment.transaction.step("record the gateway address", [&] {
    attachment.record.handles["gateways"].push_back(gateway);
    return RecordStore(attachment.node.config).write(attachment.record);
  });
}

}  // namespace

Result<std::vector<AttachmentRecord>> others_on_bridge(const Node& node, const std::string& bridge,
                                                       const std::string& attachment_id) {
  VMLANE_ASSIGN(auto listing, RecordStore(node.config).list());
  std::erase_if(listing.records, [&](const AttachmentRecord& record) {
    return record.key.id() == attachment_id || !record.handles.is_object() ||
           record.handles.value("bridge", "") != bridge;
  });
  return std::move(listing.records);
}

Result<ObjectLock> lock_bridge(const NodeConfig& node, const std::string& name) {
  return ObjectLock::acquire(node.locks_dir(), "bridge", name);
}

MacAddress own_bridge_mac(const NodeConfig& node, const std::string& name) {
  const auto machine = read_file("/etc/machine-id");
  const std::string machine_id = machine && *machine ? **machine : std::string();
  return MacAddress::derived("bridge\n" + machine_id + "\n" + node.state_dir.string() + "\n" + name);
}

Result<netlink::Link> ensure_bridge(Attachment& attachment, netlink::Netlink& host,
                                    const BridgeConfig& config) {
  VMLANE_ASSIGN(auto link, host.find_link(config.bridge));
  if (!link) {
    VMLANE_TRY(make_bridge(attachment, host, config));
    VMLANE_ASSIGN(link, existing_link(host, config.bridge));
  }
  if (link->kind != "bridge") {
    return fail(Code::kConflict,
                "link " + config.bridge + " exists and is " +
                    (link->kind.empty() ? "a device" : "of kind " + link->kind) + ", not a bridge",
                "key \"bridge\" must name a bridge or a free name");
  }
  const bool promiscuous = config.promisc_mode && !link->promiscuous;
  if (!link->up || promiscuous) {
    netlink::LinkChange change{.up = true};
    if (promiscuous) change.promiscuous = true;
    VMLANE_TRY(attachment.transaction.step("bring the bridge up",
                                           [&] { return host.change_link(link->index, change); }));
  }
  return existing_link(host, config.bridge);
}

Result<> ensure_gateways(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                         std::vector<ResultIp>& ips) {
  const Node& node = attachment.node;
  const bool own = bridge.mac == own_bridge_mac(node.config, bridge.name);
  for (ResultIp& ip : ips) {
    if (!ip.gateway) ip.gateway = first_host(ip.address);
    const IpPrefix gateway{*ip.gateway, ip.address.length};
    VMLANE_ASSIGN(const auto present, host.addresses(bridge.index));
    const bool there =
        std::ranges::any_of(present, [&](const auto& entry) { return entry.prefix == gateway; });
    if (there) {
      // Whoever shares an address that vmlane gave keeps it alive.
      VMLANE_ASSIGN(const auto others, own ? std::vector<AttachmentRecord>()
                                           : others_on_bridge(node, bridge.name, attachment.record.key.id()));
      const bool shared = std::ranges::any_of(
          others, [&](const auto& record) { return lists(record.handles, "gateways", gateway.to_string()); });
      if (shared) VMLANE_TRY(record_gateway(attachment, gateway.to_string()));
      continue;
    }
    VMLANE_TRY(refuse_overlap(bridge.name, present, gateway));
    if (!own) VMLANE_TRY(record_gateway(attachment, gateway.to_string()));
    VMLANE_TRY(attachment.transaction.step("give the bridge " + gateway.to_string(), [&] {
      return host.add_address(bridge.index, {gateway, true});
    }));
    if (own) VMLANE_TRY(forward_from(node, attachment.host, bridge.name, gateway.address.v6));
  }
  return {};
}

Result<> release_bridge(const Node& node, netlink::Netlink& host, const std::string& name,
                        const std::string& attachment_id) {
  VMLANE_ASSIGN(const auto lock, lock_bridge(node.config, name));
  VMLANE_ASSIGN(const auto bridge, host.find_link(name));
  if (!bridge || bridge->kind != "bridge") return {};
  if (bridge->mac == own_bridge_mac(node.config, name)) {
    VMLANE_ASSIGN(const auto links, host.links());
    const bool used =
        std::ranges::any_of(links, [&](const netlink::Link& link) { return link.master == bridge->index; });
    return used ? Result<>() : host.delete_link(bridge->index);
  }
  const auto record = RecordStore(node.config).read(attachment_id);
  if (!record || !*record || !(*record)->handles.contains("gateways")) return {};
  VMLANE_ASSIGN(const auto others, others_on_bridge(node, name, attachment_id));
  for (const Json& gateway : (*record)->handles["gateways"]) {
    const auto prefix = gateway.is_string() ? IpPrefix::parse(gateway.get_ref<const std::string&>())
                                            : fail(Code::kDecode, "no address");
    const bool needed = std::ranges::any_of(others, [&](const auto& other) {
      return gateway.is_string() && lists(other.handles, "gateways", gateway.get<std::string>());
    });
    if (prefix && !needed) VMLANE_TRY(host.remove_address(bridge->index, *prefix));
  }
  return {};
}

}  // namespace vmlane::cni
