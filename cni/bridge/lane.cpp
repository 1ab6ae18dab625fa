// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/lane.h"

#include <algorithm>

#include "cni/bridge/bridge.h"
#include "cni/bridge/masquerade.h"
#include "cni/ipam.h"
#include "cni/keys.h"
#include "cni/shaping.h"
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
Result<std::string> bridge_of(netlink::Netlink& host, const std::optional<netlink::Link>& host_end) {
  if (!host_end || host_end->master == 0) return std::string();
  VMLANE_ASSIGN(const auto bridge, host.find_link(host_end->master));
  return bridge ? bridge->name : std::string();
}

// The pod's end goes with it, wherever it has been moved or whatever it is called by now.
Result<> remove_pair(const Reclaim& reclaim, const std::optional<netlink::Link>& host_end) {
  if (!host_end) return {};
  return reclaim.remove_link("remove the veth pair", reclaim.host, host_end->index);
}

// The host end, a port of its bridge and up.
Result<netlink::Link> check_host_end(netlink::Netlink& host, const AttachmentRecord& record) {
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
  VMLANE_TRY(check_uplink(host, *bridge, record));
  return *link;
}

Result<> check_flag(const AttachmentRecord& record, const std::string& key, const std::string& what,
                    bool is) {
  // A record of an earlier release does not say.
  if (!record.handles.contains(key)) return {};
  const bool was = record.handles.value(key, false);
  const auto shown = [](bool on) { return std::string(on ? "on" : "off"); };
  return is == was ? Result<>() : changed(what, shown(is), shown(was));
}

// The port's flags and its guard.
Result<> check_port(const Inspection& inspection, netlink::Netlink& host, const netlink::Link& link) {
  const AttachmentRecord& record = inspection.record;
  VMLANE_ASSIGN(const netlink::BridgePort port, host.bridge_port(link.index));
  VMLANE_TRY(check_flag(record, "hairpin", "hairpin mode of " + link.name, port.hairpin));
  VMLANE_TRY(check_flag(record, "isolated", "isolation of " + link.name, port.isolated));
  return check_workload(inspection, {inspection.host, link.index});
}

// At the host's end, where the pod cannot lift it.
Result<> limit_rates(Attachment& attachment, netlink::Netlink& host, const netlink::Link& host_link) {
  const Bandwidth& wanted = attachment.nic.bandwidth;
  VMLANE_TRY(limit_sent(attachment, host, host_link, {wanted.ingress_rate, wanted.ingress_burst}));
  return limit_received(attachment, host, host_link, {wanted.egress_rate, wanted.egress_burst});
}

Result<> check_pod_link(netlink::Netlink& pod, const AttachmentRecord& record) {
  const std::string& name = record.key.ifname;
  VMLANE_ASSIGN(const auto link, pod.find_link(name));
  // Its kind is not asked: KubeVirt's bridge binding puts a dummy of the same name, MAC and MTU in its place.
  if (!link) return fail(Code::kChanged, "interface " + name + " is gone from the pod");
  if (record.mac && link->mac.to_string() != *record.mac)
    return changed("MAC of " + name, link->mac.to_string(), *record.mac);
  if (record.mtu && link->mtu != *record.mtu)
    return changed("MTU of " + name, std::to_string(link->mtu), std::to_string(*record.mtu));
  return {};
}

}  // namespace

bool is_host_end(const netlink::Link& link, const std::string& attachment_id) {
  if (link.kind != "veth") return false;
  const auto owner = names::parse_link_alias(link.alias);
  return owner ? owner->attachment_id == attachment_id : link.mac == host_end_mac(attachment_id);
}

Result<ConfigKeys> BridgeLane::configure(const Request& request, const NodeConfig& node) {
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  ObjectReader reader(request.config, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(config_, parse_bridge_config(reader, ipam.enabled()));
  VMLANE_ASSIGN(workload_, parse_workload_config(reader, is_for_guests(), ipam.enabled()));
  if (config_.is_gateway && workload_.answers.virtual_gateway) {
    return fail(Code::kInvalidConfig, "key \"gatewayMode\" is \"virtual\" and \"isGateway\" is true",
                "the gateway is either the bridge or in the record alone: remove one of the two");
  }
  VMLANE_TRY(configure_pod_side(reader, request, node));
  return config_keys(request.config, reader);
}

void BridgeLane::plan(AttachmentRecord& record) const {
  record.handles["bridge"] = config_.bridge;
  record.handles["host_link"] = names::host_link(record.key.id());
  record.handles["pod_link"] = record.key.ifname;
  record.handles["hairpin"] = config_.hairpin_mode;
  record.handles["isolated"] = config_.port_isolation;
  if (config_.ip_masq) plan_masquerade(record);
  plan_bridge_netfilter(record, config_.bridge_netfilter);
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

Result<netlink::Link> BridgeLane::own_host_end(Attachment& attachment, netlink::Netlink& host,
                                               const std::string& name) {
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link) return fail(Code::kKernel, "host link " + name + " vanished while it was being set up");
  const netlink::LinkChange identity{
      .alias = names::link_alias(attachment.record.key.id(), attachment.node.boot_id),
      .no_ipv6_address_generation = true};
  VMLANE_TRY(attachment.transaction.step("name the owner of the host link",
                                         [&] { return host.change_link(link->index, identity); }));
  return *link;
}

Result<> BridgeLane::add_port(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                              const netlink::Link& link) {
  VMLANE_TRY(attachment.transaction.step("put the host link into the bridge", [&] {
    return host.change_link(link.index, {.master = bridge.index});
  }));
  VMLANE_TRY(set_port_flags(attachment, host, link.index));
  if (config_.vlan.any()) VMLANE_TRY(join_vlans(attachment, host, link.index, config_.vlan));
  // An administrator's bridge that follows its smallest port must not shrink for this one.
  VMLANE_ASSIGN(const auto now, host.find_link(bridge.index));
  if (now && now->mac != bridge.mac) {
    attachment.node.log.warning(
        "the bridge changes its MAC with its ports; neighbours lose its gateway until they ask again",
        {{"bridge", bridge.name}, {"was", bridge.mac.to_string()}, {"is", now->mac.to_string()}});
  }
  if (now && now->mtu != bridge.mtu) {
    VMLANE_TRY(attachment.transaction.step(
        "keep the bridge's MTU", [&] { return host.change_link(bridge.index, {.mtu = bridge.mtu}); }));
  }
  return {};
}

Result<> BridgeLane::set_port_flags(Attachment& attachment, netlink::Netlink& host, int port) const {
  if (!config_.hairpin_mode && !config_.port_isolation) return {};
  netlink::BridgePortChange change;
  if (config_.hairpin_mode) change.hairpin = true;
  if (config_.port_isolation) change.isolated = true;
  return attachment.transaction.step("set the port's flags",
                                     [&] { return host.change_bridge_port(port, change); });
}

Result<> BridgeLane::open_port(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                               const CniResult& result) const {
  const int port = prepared_->host_link.index;
  WorkloadFacts facts{.link = {attachment.host, port}, .tags = !config_.vlan.trunk.empty()};
  if (config_.is_gateway) facts.gateway_mac = bridge.mac;
  VMLANE_TRY(attach_workload(attachment, workload_, facts, result));
  return attachment.transaction.step("bring the host link up",
                                     [&] { return host.change_link(port, {.up = true}); });
}

Result<> BridgeLane::prepare(Attachment& attachment) {
  const Node& node = attachment.node;
  AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(record.mac.value_or("")));
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(attachment.host));
  VMLANE_ASSIGN(const auto pod, node.kernel.netlink(attachment.pod));

  // All that is made from here on is undone by the function that DEL uses; on the way there the bridge's lock
  // is no longer held.
  VMLANE_TRY(attachment.transaction.step(
      "begin the links", [] { return Result<>(); }, [this, &attachment] { return take_down(attachment); }));
  std::optional<ObjectLock> lock;
  VMLANE_ASSIGN(lock, lock_bridge(node.config, config_.bridge));
  VMLANE_ASSIGN(const Ground ground, ensure_bridge(attachment, *host, config_));
  if (ground.bridge.mac == mac) {
    return fail(Code::kConflict, "MAC " + mac.to_string() + " is that of bridge " + ground.bridge.name,
                "frames for one would end at the other; give the NIC another MAC");
  }
  VMLANE_ASSIGN(const std::uint32_t mtu, effective_mtu(ground));
  VMLANE_ASSIGN(const std::string host_name, make_pair(attachment, *host, mtu, mac));
  VMLANE_ASSIGN(netlink::Link host_link, own_host_end(attachment, *host, host_name));
  lock.reset();

  // A bridge port is no end point: an address of its own would make the node reachable for the guest. It is
  // still down. Writing the switch can take long on a busy node, so not under the bridge's lock.
  VMLANE_TRY(attachment.transaction.step("keep the host link without IPv6", [&] {
    return set_link_sysctl(node, attachment.host, {"ipv6", host_name, "disable_ipv6", "1"});
  }));
  VMLANE_ASSIGN(auto pod_link, pod->find_link(record.key.ifname));
  if (!pod_link)
    return fail(Code::kKernel,
                "interface " + record.key.ifname + " vanished from the pod while it was being set up");
  record.mac = pod_link->mac.to_string();
  record.mtu = pod_link->mtu;
  prepared_.emplace(Prepared{std::move(host_link), std::move(*pod_link)});
  return {};
}

// The port joins the bridge only when all that the addresses ask of the bridge has been granted, so that an
// ADD that is refused has not moved it. While no port of ours was in it another DEL may have removed the
// bridge as unused; then it is made again.
Result<netlink::Link> BridgeLane::join_bridge(Attachment& attachment, netlink::Netlink& host,
                                              CniResult& result) {
  VMLANE_ASSIGN(const auto lock, lock_bridge(attachment.node.config, config_.bridge));
  VMLANE_ASSIGN(const Ground ground, ensure_bridge(attachment, host, config_));
  VMLANE_TRY(settle_bridge_netfilter(attachment, ground.bridge.name, config_.bridge_netfilter, result));
  if (config_.is_gateway) VMLANE_TRY(be_gateway(attachment, host, ground, result));
  VMLANE_TRY(add_port(attachment, host, ground.bridge, prepared_->host_link));
  return ground.bridge;
}

Result<CniResult> BridgeLane::apply(Attachment& attachment) {
  const Node& node = attachment.node;
  const AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(attachment.host));
  VMLANE_ASSIGN(const auto pod, node.kernel.netlink(attachment.pod));
  CniResult result = attachment.ipam;
  VMLANE_ASSIGN(const netlink::Link bridge, join_bridge(attachment, *host, result));
  if (config_.ip_masq) VMLANE_TRY(add_masquerade(attachment, result));
  if (config_.is_default_gateway) add_default_routes(result);
  const auto& [host_link, pod_link] = *prepared_;
  constexpr std::size_t kPodInterface = 2;
  for (ResultIp& ip : result.ips) ip.interface = kPodInterface;
  result.interfaces = {{.name = bridge.name, .mac = bridge.mac.to_string(), .mtu = bridge.mtu},
                       {.name = host_link.name, .mac = host_link.mac.to_string(), .mtu = host_link.mtu},
                       {.name = record.key.ifname,
                        .mac = *record.mac,
                        .mtu = record.mtu,
                        .sandbox = attachment.request.netns}};
  VMLANE_TRY(open_port(attachment, *host, bridge, result));
  VMLANE_TRY(limit_rates(attachment, *host, host_link));
  VMLANE_TRY(wire_pod(attachment, *pod, pod_link, result));
  return result;
}

Result<> BridgeLane::silence(const Reclaim& reclaim) const {
  VMLANE_ASSIGN(const auto host, reclaim.node.kernel.netlink(reclaim.host));
  VMLANE_ASSIGN(const auto host_end, find_host_end(*host, reclaim));
  return remove_pair(reclaim, host_end);
}

Result<> BridgeLane::reclaim(const Reclaim& reclaim) const {
  VMLANE_ASSIGN(const auto host, reclaim.node.kernel.netlink(reclaim.host));
  std::string bridge;
  if (reclaim.record != nullptr) {
    bridge = reclaim.record->handles.value("bridge", "");
  } else {
    VMLANE_ASSIGN(const auto host_end, find_host_end(*host, reclaim));
    VMLANE_ASSIGN(bridge, bridge_of(*host, host_end));
    VMLANE_TRY(remove_pair(reclaim, host_end));
  }
  VMLANE_TRY(remove_limits(reclaim, reclaim.host));
  VMLANE_TRY(forget_workload(reclaim));
  VMLANE_TRY(remove_masquerade(reclaim));
  if (bridge.empty()) return {};
  VMLANE_TRY(release_bridge_netfilter(reclaim, bridge));
  return release_bridge(reclaim, *host, bridge);
}

Result<> BridgeLane::check(const Inspection& inspection) {
  VMLANE_ASSIGN(const auto host, inspection.node.kernel.netlink(inspection.host));
  VMLANE_ASSIGN(const auto pod, inspection.node.kernel.netlink(inspection.pod));
  VMLANE_ASSIGN(const netlink::Link host_end, check_host_end(*host, inspection.record));
  VMLANE_TRY(check_port(inspection, *host, host_end));
  VMLANE_TRY(check_limits(inspection, *host));
  VMLANE_TRY(check_masquerade(inspection));
  VMLANE_TRY(check_bridge_netfilter(inspection, config_.bridge_netfilter));
  return check_pod_link(*pod, inspection.record);
}

Result<> BridgeLane::status(const Request& request, const Node& node) {
  VMLANE_ASSIGN(const auto host_namespace, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(host_namespace));
  VMLANE_TRY(bridge_status(node, *host, config_));
  return bridge_netfilter_status(node, host_namespace, config_.bridge, config_.bridge_netfilter,
                                 request.config);
}

}  // namespace vmlane::cni
