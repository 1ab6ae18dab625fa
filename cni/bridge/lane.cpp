// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/lane.h"

#include <algorithm>

#include "cni/ipam.h"
#include "cni/sysctl.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

constexpr unsigned kMaxSalt = 8;

MacAddress host_end_mac(const std::string& attachment_id) {
  return MacAddress::derived("host end\n" + attachment_id);
}

// Without a record: what carries the attachment's id. A dump of all links, but only on this rare way.
Result<std::optional<netlink::Link>> find_host_end(netlink::Netlink& host, const Reclaim& reclaim) {
  const std::string id = reclaim.key.id();
  if (reclaim.record != nullptr && reclaim.record->handles.contains("host_link")) {
    VMLANE_ASSIGN(auto link, host.find_link(reclaim.record->handles.value("host_link", "")));
    if (link && is_host_end(*link, id)) return link;
  }
  VMLANE_ASSIGN(const auto links, host.links());
  const auto found =
      std::ranges::find_if(links, [&](const netlink::Link& link) { return is_host_end(link, id); });
  return found == links.end() ? std::nullopt : std::optional(*found);
}

// The bridge an attachment is on, when the record is lost: the one its host end is a port of.
Result<std::string> bridge_of(netlink::Netlink& host, const Reclaim& reclaim,
                              const std::optional<netlink::Link>& host_end) {
  if (reclaim.record != nullptr) return reclaim.record->handles.value("bridge", "");
  if (!host_end || host_end->master == 0) return std::string();
  VMLANE_ASSIGN(const auto bridge, host.find_link(host_end->master));
  return bridge ? bridge->name : std::string();
}

bool has_default_route(const std::vector<ResultRoute>& routes, bool v6) {
  return std::ranges::any_of(routes, [v6](const ResultRoute& route) {
    return route.destination.length == 0 && route.destination.address.v6 == v6;
  });
}

void add_default_routes(CniResult& result) {
  for (const ResultIp& ip : result.ips) {
    if (!ip.gateway || has_default_route(result.routes, ip.address.address.v6)) continue;
    IpPrefix everything;
    everything.address.v6 = ip.address.address.v6;
    result.routes.push_back({.destination = everything, .gateway = ip.gateway});
  }
}

Error changed(const std::string& what, const std::string& expected, const std::string& found) {
  return Error{Code::kChanged, what + " is " + found + ", ADD set " + expected, {}, nullptr};
}

Result<> check_host_end(netlink::Netlink& host, const AttachmentRecord& record) {
  const std::string name = record.handles.value("host_link", "");
  const std::string bridge_name = record.handles.value("bridge", "");
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link || !is_host_end(*link, record.key.id()))
    return fail(Code::kChanged, "host link " + name + " is gone");
  VMLANE_ASSIGN(const auto bridge, host.find_link(bridge_name));
  if (!bridge) return fail(Code::kChanged, "bridge " + bridge_name + " is gone");
  if (link->master != bridge->index)
    return fail(Code::kChanged, "host link " + name + " is no port of bridge " + bridge_name);
  if (!link->up) return fail(Code::kChanged, "host link " + name + " is down");
  VMLANE_TRY(check_vlans(host, *link, record));
  return check_uplink(host, *bridge, record);
}

// Towards the workload at the host's end; from it at the pod's, which a pod with CAP_NET_ADMIN could lift: a
// fair share, not a boundary.
Result<> limit_rates(Attachment& attachment, netlink::Netlink& host, int host_index, netlink::Netlink& pod,
                     int pod_index) {
  const Bandwidth& wanted = attachment.nic.bandwidth;
  if (wanted.ingress_rate != 0) {
    VMLANE_TRY(attachment.transaction.step("limit the rate to the workload", [&] {
      return host.limit_egress(host_index, {wanted.ingress_rate, wanted.ingress_burst});
    }));
  }
  if (wanted.egress_rate == 0) return {};
  return attachment.transaction.step("limit the rate from the workload", [&] {
    return pod.limit_egress(pod_index, {wanted.egress_rate, wanted.egress_burst});
  });
}

Result<> check_pod_link(netlink::Netlink& pod, const AttachmentRecord& record) {
  const std::string& name = record.key.ifname;
  VMLANE_ASSIGN(const auto link, pod.find_link(name));
  // Its kind is not asked: KubeVirt's bridge binding puts a dummy of the same name, MAC and MTU in its place.
  if (!link) return fail(Code::kChanged, "interface " + name + " is gone from the pod");
  if (record.mac && link->mac.to_string() != *record.mac)
    return fail(changed("MAC of " + name, *record.mac, link->mac.to_string()));
  if (record.mtu && link->mtu != *record.mtu)
    return fail(changed("MTU of " + name, std::to_string(*record.mtu), std::to_string(link->mtu)));
  return {};
}

}  // namespace

bool is_host_end(const netlink::Link& link, const std::string& attachment_id) {
  if (link.kind != "veth") return false;
  const auto owner = names::parse_link_alias(link.alias);
  return owner ? owner->attachment_id == attachment_id : link.mac == host_end_mac(attachment_id);
}

Result<> BridgeLane::configure(const Request& request, const Node& node) {
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  ObjectReader reader(request.config, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(config_, parse_bridge_config(reader, ipam.enabled()));
  VMLANE_TRY(configure_pod_side(reader, request, node));
  return judge_unread_keys(request.config, reader, type(), node.log);
}

void BridgeLane::plan(AttachmentRecord& record) const {
  record.handles["bridge"] = config_.bridge;
  record.handles["host_link"] = names::host_link(record.key.id());
  record.handles["pod_link"] = record.key.ifname;
  if (config_.vlan.any()) record.handles["port_vlans"] = vlans_to_json(config_.vlan.port());
  if (!config_.uplink.empty()) record.handles["uplink"] = config_.uplink;
  if (!config_.is_gateway) return;
  const std::uint16_t vlan = config_.vlan.native;
  if (vlan != 0) record.handles["gateway_vlan"] = vlan;
  record.handles["gateway_device"] = vlan == 0 ? config_.bridge : names::vlan_link(config_.bridge, vlan);
}

// Pods of one VLAN share a segment; a trunk is on that of its native VLAN.
std::string BridgeLane::segment() const {
  const std::string bridge = "bridge:" + config_.bridge;
  return config_.vlan.native == 0 ? bridge : bridge + ":vlan:" + std::to_string(config_.vlan.native);
}

Result<std::uint32_t> BridgeLane::effective_mtu(const Ground& ground) const {
  if (config_.mtu.value_or(0) > ground.mtu) {
    return fail(Code::kInvalidConfig,
                "key \"mtu\" is " + std::to_string(*config_.mtu) + ", bridge " + ground.bridge.name +
                    " carries " + std::to_string(ground.mtu),
                "lower the key or raise the bridge's MTU");
  }
  return config_.mtu.value_or(ground.mtu);
}

Result<> BridgeLane::be_gateway(Attachment& attachment, netlink::Netlink& host, const Ground& ground,
                                CniResult& result) {
  GatewayDevice device{ground.bridge, ground.own};
  if (config_.vlan.native != 0) {
    VMLANE_ASSIGN(device, ensure_gateway_device(attachment, host, ground.bridge, config_.vlan.native));
    attachment.record.handles["gateway_device"] = device.link.name;
  }
  return ensure_gateways(attachment, host, device, config_, result.ips);
}

Result<std::string> BridgeLane::make_pair(Attachment& attachment, netlink::Netlink& host, std::uint32_t mtu,
                                          const MacAddress& mac) {
  const std::string id = attachment.record.key.id();
  for (unsigned salt = 0; salt < kMaxSalt; salt++) {
    const std::string name = names::host_link(id, salt);
    VMLANE_ASSIGN(const auto taken, host.find_link(name));
    if (taken) continue;  // somebody else's; DEL finds ours by the owner it carries
    netlink::VethSpec spec{name, host_end_mac(id), attachment.record.key.ifname, mac, mtu};
    VMLANE_TRY(attachment.transaction.step("make veth pair " + name,
                                           [&] { return host.create_veth(spec, attachment.pod); }));
    attachment.record.handles["host_link"] = name;
    return name;
  }
  return fail(Code::kConflict, "no free name for the host link of attachment " + id,
              "remove the links that look like " + names::host_link(id));
}

Result<netlink::Link> BridgeLane::add_port(Attachment& attachment, netlink::Netlink& host,
                                           const netlink::Link& bridge, const std::string& host_link) {
  const Node& node = attachment.node;
  VMLANE_ASSIGN(const auto link, host.find_link(host_link));
  if (!link) return fail(Code::kKernel, "host link " + host_link + " vanished while it was being set up");
  const netlink::LinkChange identity{.alias = names::link_alias(attachment.record.key.id(), node.boot_id),
                                     .no_ipv6_address_generation = true};
  VMLANE_TRY(attachment.transaction.step("name the owner of the host link",
                                         [&] { return host.change_link(link->index, identity); }));
  VMLANE_TRY(attachment.transaction.step("put the host link into the bridge", [&] {
    return host.change_link(link->index, {.master = bridge.index});
  }));
  if (config_.hairpin_mode) {
    VMLANE_TRY(attachment.transaction.step(
        "set hairpin mode", [&] { return host.change_bridge_port(link->index, {.hairpin = true}); }));
  }
  if (config_.vlan.any()) VMLANE_TRY(join_vlans(attachment, host, link->index, config_.vlan));
  // An administrator's bridge that follows its smallest port must not shrink for this one.
  VMLANE_ASSIGN(const auto now, host.find_link(bridge.index));
  if (now && now->mac != bridge.mac) {
    node.log.warning(
        "the bridge changes its MAC with its ports; neighbours lose its gateway until they ask again",
        {{"bridge", bridge.name}, {"was", bridge.mac.to_string()}, {"is", now->mac.to_string()}});
  }
  if (now && now->mtu != bridge.mtu) {
    VMLANE_TRY(attachment.transaction.step(
        "keep the bridge's MTU", [&] { return host.change_link(bridge.index, {.mtu = bridge.mtu}); }));
  }
  return *link;
}

Result<CniResult> BridgeLane::apply(Attachment& attachment) {
  const Node& node = attachment.node;
  AttachmentRecord& record = attachment.record;
  const MacAddress mac = attachment.nic.mac.value_or(MacAddress::derived("nic\n" + record.key.id()));
  VMLANE_ASSIGN(record.network_id, network_id(node.config, segment()));
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(attachment.host));
  VMLANE_ASSIGN(const auto pod, node.kernel.netlink(attachment.pod));
  CniResult result = attachment.ipam;

  // All that is made from here on is undone by the function that DEL uses; on the way there the bridge's lock
  // is no longer held.
  VMLANE_TRY(attachment.transaction.step(
      "begin the links", [] { return Result<>(); },
      [this, &attachment]() -> Result<> {
        Transaction steps(attachment.node.log, FaultPoint());
        return reclaim(Reclaim{attachment.node, attachment.record.key, &attachment.record, attachment.host,
                               &attachment.pod, steps});
      }));
  std::optional<ObjectLock> lock;
  VMLANE_ASSIGN(lock, lock_bridge(node.config, config_.bridge));
  VMLANE_ASSIGN(const Ground ground, ensure_bridge(attachment, *host, config_));
  const netlink::Link& bridge = ground.bridge;
  VMLANE_ASSIGN(const std::uint32_t mtu, effective_mtu(ground));
  if (config_.is_gateway) VMLANE_TRY(be_gateway(attachment, *host, ground, result));
  VMLANE_ASSIGN(const std::string host_name, make_pair(attachment, *host, mtu, mac));
  VMLANE_ASSIGN(const netlink::Link host_link, add_port(attachment, *host, bridge, host_name));
  lock.reset();

  // A bridge port is no end point: an address of its own would make the node reachable for the guest. It is
  // still down. Writing the switch can take long on a busy node, so not under the bridge's lock.
  VMLANE_TRY(attachment.transaction.step("keep the host link without IPv6", [&] {
    return set_link_sysctl(node, attachment.host, {"ipv6", host_name, "disable_ipv6", "1"});
  }));

  if (config_.is_default_gateway) add_default_routes(result);
  VMLANE_ASSIGN(const auto pod_link, pod->find_link(record.key.ifname));
  if (!pod_link)
    return fail(Code::kKernel,
                "interface " + record.key.ifname + " vanished from the pod while it was being set up");
  record.mac = pod_link->mac.to_string();
  record.mtu = pod_link->mtu;
  constexpr std::size_t kPodInterface = 2;
  for (ResultIp& ip : result.ips) ip.interface = kPodInterface;
  result.interfaces = {{.name = bridge.name, .mac = bridge.mac.to_string(), .mtu = bridge.mtu},
                       {.name = host_name, .mac = host_link.mac.to_string(), .mtu = host_link.mtu},
                       {.name = record.key.ifname,
                        .mac = *record.mac,
                        .mtu = record.mtu,
                        .sandbox = attachment.request.netns}};
  VMLANE_TRY(attachment.transaction.step("bring the host link up",
                                         [&] { return host->change_link(host_link.index, {.up = true}); }));
  VMLANE_TRY(wire_pod(attachment, *pod, *pod_link, result));
  VMLANE_TRY(limit_rates(attachment, *host, host_link.index, *pod, pod_link->index));
  return result;
}

Result<> BridgeLane::reclaim(const Reclaim& reclaim) const {
  VMLANE_ASSIGN(const auto host, reclaim.node.kernel.netlink(reclaim.host));
  VMLANE_ASSIGN(const auto host_end, find_host_end(*host, reclaim));
  VMLANE_ASSIGN(const std::string bridge, bridge_of(*host, reclaim, host_end));
  // The pod's end goes with it, wherever it has been moved or whatever it is called by now.
  VMLANE_TRY(reclaim.transaction.step(
      "remove the veth pair", [&] { return host_end ? host->delete_link(host_end->index) : Result<>(); }));
  if (bridge.empty()) return {};
  return release_bridge(reclaim, *host, bridge);
}

Result<> BridgeLane::check(const Inspection& inspection) {
  VMLANE_ASSIGN(const auto host, inspection.node.kernel.netlink(inspection.host));
  VMLANE_ASSIGN(const auto pod, inspection.node.kernel.netlink(inspection.pod));
  VMLANE_TRY(check_host_end(*host, inspection.record));
  return check_pod_link(*pod, inspection.record);
}

Result<> BridgeLane::status(const Request&, const Node& node) {
  VMLANE_ASSIGN(const auto host_namespace, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(host_namespace));
  VMLANE_ASSIGN(const auto bridge, host->find_link(config_.bridge));
  if (bridge && bridge->kind != "bridge") {
    return fail(Code::kNotAvailable, "link " + config_.bridge + " exists and is not a bridge",
                "key \"bridge\" must name a bridge or a free name");
  }
  if (config_.uplink.empty()) return {};
  const bool own = !bridge || is_own_bridge(node.config, *bridge);
  const auto uplink = judge_uplink(*host, config_.uplink, config_.mtu, bridge, own);
  if (uplink) return {};
  return fail(Code::kNotAvailable, uplink.error().message, uplink.error().details);
}

}  // namespace vmlane::cni
