// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/bridge.h"

#include <algorithm>

#include "cni/sysctl.h"
#include "core/files.h"

namespace vmlane::cni {
namespace {

Result<netlink::Link> existing_link(netlink::Netlink& host, const std::string& name) {
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link) return fail(Code::kKernel, "bridge " + name + " vanished while it was being set up");
  return *link;
}

Result<> make_bridge(Attachment& attachment, netlink::Netlink& host, const BridgeConfig& config,
                     const std::optional<Uplink>& uplink) {
  const std::uint32_t mtu = uplink ? uplink->mtu : kDefaultMtu;
  const netlink::BridgeSpec spec{.name = config.bridge,
                                 .mac = own_bridge_mac(attachment.node.config, config.bridge),
                                 .mtu = config.mtu.value_or(mtu),
                                 .vlan_filtering = config.vlan.any()};
  VMLANE_TRY(
      attachment.transaction.step("make bridge " + config.bridge, [&] { return host.create_bridge(spec); }));
  VMLANE_ASSIGN(const netlink::Link bridge, existing_link(host, config.bridge));
  return attachment.transaction.step("name the bridge's owner", [&] {
    return host.change_link(bridge.index, {.alias = BridgeNote().alias()});
  });
}

Result<> refuse_other_kind(const netlink::Link& link) {
  if (link.kind == "bridge") return {};
  return fail(Code::kConflict,
              "link " + link.name + " exists and is " +
                  (link.kind.empty() ? "a device" : "of kind " + link.kind) + ", not a bridge",
              "key \"bridge\" must name a bridge or a free name");
}

Result<> bring_up(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                  bool promiscuous) {
  promiscuous = promiscuous && !bridge.promiscuous;
  if (bridge.up && !promiscuous) return {};
  netlink::LinkChange change{.up = true};
  if (promiscuous) change.promiscuous = true;
  return attachment.transaction.step("bring the bridge up",
                                     [&] { return host.change_link(bridge.index, change); });
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

// Addresses of the device that say another thing about the gateway's subnet.
std::vector<IpPrefix> rivals_of(const IpPrefix& gateway, const std::vector<netlink::AddressEntry>& present) {
  std::vector<IpPrefix> found;
  for (const auto& entry : present) {
    const bool overlaps = entry.prefix.contains(gateway.address) || gateway.contains(entry.prefix.address);
    if (overlaps && entry.prefix != gateway) found.push_back(entry.prefix);
  }
  return found;
}

bool lists(const Json& handles, const char* key, const std::string& value) {
  const auto it = handles.find(key);
  return it != handles.end() && it->is_array() && std::ranges::find(*it, Json(value)) != it->end();
}

// What lasts on a device that stays must be in the record as ours before it is there: the address, and those
// that it replaces.
Result<> record_gateway(Attachment& attachment, const std::string& gateway,
                        const std::vector<std::string>& replaced) {
  return attachment.transaction.step("record the gateway address", [&] {
    Json& handles = attachment.record.handles;
    handles["gateways"].push_back(gateway);
    for (const std::string& address : replaced)
      handles["replaced"].push_back({{"address", address}, {"gateway", gateway}});
    return RecordStore(attachment.node.config).write(attachment.record);
  });
}

// Addresses that `gateway` took the place of, by a record.
std::vector<std::string> replaced_by(const std::string& gateway, const AttachmentRecord& record) {
  std::vector<std::string> found;
  const auto it = record.handles.find("replaced");
  if (it == record.handles.end() || !it->is_array()) return found;
  for (const Json& entry : *it) {
    if (entry.is_object() && entry.value("gateway", "") == gateway)
      found.push_back(entry.value("address", ""));
  }
  return found;
}

// Whoever shares an address that vmlane gave keeps it alive, and inherits what is to come back after it.
Result<> share_gateway(Attachment& attachment, const std::string& gateway,
                       const std::vector<AttachmentRecord>& others) {
  const auto giver = std::ranges::find_if(
      others, [&](const AttachmentRecord& record) { return lists(record.handles, "gateways", gateway); });
  if (giver == others.end()) return {};
  return record_gateway(attachment, gateway, replaced_by(gateway, *giver));
}

Result<> remove_rivals(Attachment& attachment, netlink::Netlink& host, const netlink::Link& device,
                       const std::vector<IpPrefix>& rivals) {
  for (const IpPrefix& rival : rivals) {
    VMLANE_TRY(attachment.transaction.step("take " + rival.to_string() + " from the bridge",
                                           [&] { return host.remove_address(device.index, rival); }));
  }
  return {};
}

Result<> give_gateway(Attachment& attachment, netlink::Netlink& host, const GatewayDevice& device,
                      const IpPrefix& gateway, const std::vector<IpPrefix>& rivals) {
  std::vector<std::string> replaced;
  for (const IpPrefix& rival : rivals) replaced.push_back(rival.to_string());
  if (!device.own || !rivals.empty()) VMLANE_TRY(record_gateway(attachment, gateway.to_string(), replaced));
  VMLANE_TRY(remove_rivals(attachment, host, device.link, rivals));
  VMLANE_TRY(attachment.transaction.step("give the bridge " + gateway.to_string(), [&] {
    return host.add_address(device.link.index, {gateway, true});
  }));
  if (!device.own) return {};
  return forward_from(attachment.node, attachment.host, device.link.name, gateway.address.v6);
}

std::unexpected<Error> rival_in_the_way(const netlink::Link& device, const IpPrefix& rival,
                                        const IpPrefix& gateway) {
  return fail(Code::kConflict,
              "bridge " + device.name + " has address " + rival.to_string() + ", the gateway would be " +
                  gateway.to_string(),
              "name the bridge's address as the gateway, remove it from the bridge, or have it replaced by "
              "\"forceAddress\": true");
}

// Whether another attachment lives by a gateway address: because its record says that it gave it, or because
// its result has it.
bool needs(const AttachmentRecord& other, const std::string& device, const IpPrefix& gateway) {
  const std::string others_device = other.handles.value("gateway_device", other.handles.value("bridge", ""));
  if (others_device != device) return false;
  if (lists(other.handles, "gateways", gateway.to_string())) return true;
  if (other.result.is_null()) return false;
  const auto result = CniResult::from_json(other.result, kNewestVersion, "recorded result");
  return result && std::ranges::any_of(result->ips, [&](const ResultIp& ip) {
           return ip.gateway == gateway.address && ip.address.length == gateway.length;
         });
}

Result<> take_back_gateway(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& device,
                           const IpPrefix& gateway) {
  VMLANE_TRY(reclaim.step("take " + gateway.to_string() + " from the bridge",
                          [&] { return host.remove_address(device.index, gateway); }));
  for (const std::string& text : replaced_by(gateway.to_string(), *reclaim.record)) {
    const auto address = IpPrefix::parse(text);
    if (!address) continue;
    VMLANE_TRY(reclaim.step("give the bridge " + text + " again", [&] {
      return host.add_address(device.index, {*address, true});
    }));
  }
  return {};
}

Result<> release_gateways(const Reclaim& reclaim, netlink::Netlink& host,
                          const std::vector<AttachmentRecord>& others) {
  if (reclaim.record == nullptr) return {};
  const Json& handles = reclaim.record->handles;
  const auto gateways = handles.find("gateways");
  if (gateways == handles.end() || !gateways->is_array()) return {};
  const std::string name = handles.value("gateway_device", handles.value("bridge", ""));
  VMLANE_ASSIGN(const auto device, host.find_link(name));
  if (!device) return {};
  for (const Json& gateway : *gateways) {
    const auto prefix = gateway.is_string() ? IpPrefix::parse(gateway.get_ref<const std::string&>())
                                            : fail(Code::kDecode, "no address");
    if (!prefix) continue;
    const bool needed = std::ranges::any_of(
        others, [&](const AttachmentRecord& other) { return needs(other, name, *prefix); });
    if (!needed) VMLANE_TRY(take_back_gateway(reclaim, host, *device, *prefix));
  }
  return {};
}

bool has_default_route(const std::vector<ResultRoute>& routes, bool v6) {
  return std::ranges::any_of(routes, [v6](const ResultRoute& route) {
    return route.destination.length == 0 && route.destination.address.v6 == v6;
  });
}

// An ADD would bring the bridge up again; until then the pods that are on it have no network.
Result<> refuse_cut_off_ports(netlink::Netlink& host, const netlink::Link& bridge) {
  VMLANE_ASSIGN(const bool used, has_ports(host, bridge));
  if (!used) return {};
  return fail(Code::kLimitedConnectivity, "bridge " + bridge.name + " is down and has ports",
              "bring it up: ip link set " + bridge.name + " up");
}

Result<> uplink_status(const Node& node, netlink::Netlink& host, const std::optional<netlink::Link>& bridge,
                       const BridgeConfig& config) {
  if (config.uplink.empty()) return {};
  const bool own = !bridge || is_own_bridge(node.config, *bridge);
  const auto uplink = judge_uplink(host, config.uplink, config.mtu, bridge, own);
  if (uplink) return {};
  return fail(Code::kNotAvailable, uplink.error().message, uplink.error().details);
}

// Whether the attachment can have left more on the bridge than its port. Without a record anything is
// possible.
bool left_more(const Reclaim& reclaim, const netlink::Link& bridge) {
  if (!BridgeNote::parse(bridge.alias).uplink.empty() || reclaim.record == nullptr) return true;
  const Json& handles = reclaim.record->handles;
  return handles.contains("gateways") || handles.contains("port_vlans");
}

}  // namespace

Result<bool> has_ports(netlink::Netlink& host, const netlink::Link& bridge) {
  VMLANE_ASSIGN(const auto links, host.links());
  return std::ranges::any_of(links, [&](const netlink::Link& link) { return link.master == bridge.index; });
}

Result<std::vector<AttachmentRecord>> others_on_bridge(const Node& node, const std::string& bridge,
                                                       const std::string& attachment_id) {
  VMLANE_ASSIGN(auto listing, RecordStore(node.config).list());
  std::erase_if(listing.records, [&](const AttachmentRecord& record) {
    return record.key.id() == attachment_id || !record.handles.is_object() ||
           record.handles.value("bridge", "") != bridge;
  });
  return std::move(listing.records);
}

std::optional<std::vector<AttachmentRecord>> others_to_spare(const Reclaim& reclaim,
                                                             const std::string& bridge) {
  auto others = others_on_bridge(reclaim.node, bridge, reclaim.key.id());
  if (others) return std::move(*others);
  reclaim.node.log.warning("what other attachments need of the bridge cannot be told, so it stays",
                           {{"bridge", bridge}, {"error", others.error().text()}});
  return std::nullopt;
}

Result<ObjectLock> lock_bridge(const NodeConfig& node, const std::string& name) {
  return ObjectLock::acquire(node.locks_dir(), "bridge", name);
}

MacAddress own_bridge_mac(const NodeConfig& node, const std::string& name) {
  const auto machine = read_file("/etc/machine-id");
  const std::string machine_id = machine && *machine ? **machine : std::string();
  return MacAddress::derived("bridge\n" + machine_id + "\n" + node.state_dir.string() + "\n" + name);
}

bool is_own_bridge(const NodeConfig& node, const netlink::Link& bridge) {
  return bridge.kind == "bridge" && bridge.mac == own_bridge_mac(node, bridge.name);
}

Result<Ground> ensure_bridge(Attachment& attachment, netlink::Netlink& host, const BridgeConfig& config) {
  VMLANE_ASSIGN(auto link, host.find_link(config.bridge));
  if (link) VMLANE_TRY(refuse_other_kind(*link));
  Ground ground{.own = !link || is_own_bridge(attachment.node.config, *link)};
  std::optional<Uplink> uplink;
  if (!config.uplink.empty()) {
    VMLANE_ASSIGN(uplink, judge_uplink(host, config.uplink, config.mtu, link, ground.own));
  }
  if (!link) {
    VMLANE_TRY(make_bridge(attachment, host, config, uplink));
    VMLANE_ASSIGN(link, existing_link(host, config.bridge));
  }
  if (config.vlan.any()) VMLANE_TRY(require_filtering(attachment, host, *link, ground.own));
  if (uplink && ground.own) {
    VMLANE_ASSIGN(ground.uplink, join_uplink(attachment, host, *link, *uplink));
  } else if (uplink) {
    ground.uplink = uplink->link;
  }
  if (ground.uplink && config.vlan.any())
    VMLANE_TRY(ensure_uplink_vlans(attachment, host, *ground.uplink, config.vlan.port(), ground.own));
  VMLANE_TRY(bring_up(attachment, host, *link, config.promisc_mode));
  VMLANE_ASSIGN(ground.bridge, existing_link(host, config.bridge));
  ground.mtu = uplink ? std::min(ground.bridge.mtu, uplink->mtu) : ground.bridge.mtu;
  return ground;
}

Result<> ensure_gateways(Attachment& attachment, netlink::Netlink& host, const GatewayDevice& device,
                         const BridgeConfig& config, std::vector<ResultIp>& ips) {
  for (ResultIp& ip : ips) {
    if (!ip.gateway) ip.gateway = first_host(ip.address);
    const IpPrefix gateway{*ip.gateway, ip.address.length};
    VMLANE_ASSIGN(const auto present, host.addresses(device.link.index));
    const bool there =
        std::ranges::any_of(present, [&](const auto& entry) { return entry.prefix == gateway; });
    if (there) {
      if (device.own && !config.force_address) continue;
      VMLANE_ASSIGN(const auto others,
                    others_on_bridge(attachment.node, config.bridge, attachment.record.key.id()));
      VMLANE_TRY(share_gateway(attachment, gateway.to_string(), others));
      continue;
    }
    const auto rivals = rivals_of(gateway, present);
    if (!rivals.empty() && !config.force_address)
      return rival_in_the_way(device.link, rivals.front(), gateway);
    VMLANE_TRY(give_gateway(attachment, host, device, gateway, rivals));
  }
  return {};
}

Result<> release_bridge(const Reclaim& reclaim, netlink::Netlink& host, const std::string& name) {
  const NodeConfig& config = reclaim.node.config;
  VMLANE_ASSIGN(const auto lock, lock_bridge(config, name));
  VMLANE_ASSIGN(const auto bridge, host.find_link(name));
  if (!bridge || bridge->kind != "bridge") return {};
  const bool own = is_own_bridge(config, *bridge);
  const auto others = left_more(reclaim, *bridge) ? others_to_spare(reclaim, name) : std::nullopt;
  if (others) {
    VMLANE_TRY(release_gateways(reclaim, host, *others));
    if (own) VMLANE_TRY(release_uplink(reclaim, host, *bridge, *others));
  }
  VMLANE_ASSIGN(const bool used, has_ports(host, *bridge));
  if (!own || used) return others ? release_vlans(reclaim, host, *bridge, own, *others) : Result<>();
  return reclaim.remove_link("remove the bridge", reclaim.host, bridge->index);
}

Result<> bridge_status(const Node& node, netlink::Netlink& host, const BridgeConfig& config) {
  VMLANE_ASSIGN(const auto bridge, host.find_link(config.bridge));
  if (bridge && bridge->kind != "bridge") {
    return fail(Code::kNotAvailable, "link " + config.bridge + " exists and is not a bridge",
                "key \"bridge\" must name a bridge or a free name");
  }
  if (bridge && !bridge->up) VMLANE_TRY(refuse_cut_off_ports(host, *bridge));
  return uplink_status(node, host, bridge, config);
}

void add_default_routes(CniResult& result) {
  for (const ResultIp& ip : result.ips) {
    if (!ip.gateway || has_default_route(result.routes, ip.address.address.v6)) continue;
    IpPrefix everything;
    everything.address.v6 = ip.address.address.v6;
    result.routes.push_back({.destination = everything, .gateway = ip.gateway});
  }
}

}  // namespace vmlane::cni
