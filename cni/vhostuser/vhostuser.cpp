// SPDX-License-Identifier: Apache-2.0
#include "cni/vhostuser/vhostuser.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "cni/bridge/bridge.h"
#include "cni/bridge/masquerade.h"
#include "cni/ipam.h"
#include "cni/pod_link.h"
#include "cni/vhostuser/kernel_uplink.h"
#include "core/json_rpc.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

bool is_set(const Json& config, const char* key) {
  const std::array<Json, 5> nothing = {nullptr, false, "", Json::array(), Json::object()};
  return std::ranges::find(nothing, config.value(key, Json())) == nothing.end();
}

// What this lane has no place for, and why.
Result<> refuse_keys_of_other_lanes(const BridgeConfig& config) {
  const auto refuse = [](const char* key, const char* why) {
    return fail(Code::kUnsupportedField,
                "key \"" + std::string(key) + "\" is set, which vmlane-vhostuser does not carry out", why);
  };
  if (config.hairpin_mode) return refuse("hairpinMode", "the switch never sends a frame back to its sender");
  if (!config.vlan.trunk.empty()) return refuse("vlanTrunk", "its ports are in one VLAN, by key \"vlan\"");
  if (config.vlan.preserve_default) return refuse("preserveDefaultVlan", "a port is in one VLAN");
  if (config.duplicate_detection) return refuse("enabledad", "the addresses are the guest's: remove the key");
  if (config.leave_down) return refuse("disableContainerInterface", "the NIC is QEMU's: remove the key");
  return {};
}

// Keys that only mean something for a bridge of the kernel.
Result<> refuse_keys_of_a_bridge(const Json& config) {
  constexpr std::array kKeys = {"isGateway",   "isDefaultGateway", "ipMasq",   "uplink",
                                "promiscMode", "forceAddress",     "allowNode"};
  for (const char* key : kKeys) {
    if (!is_set(config, key)) continue;
    return fail(
        Code::kInvalidConfig, "key \"" + std::string(key) + "\" is set without \"bridge\"",
        "without a bridge the network is inside the switch and nowhere else: name one, or remove the key");
  }
  return {};
}

Result<> refuse_rings(ObjectReader& reader) {
  VMLANE_ASSIGN(const std::string rings, reader.text("rings"));
  if (rings.empty() || rings == "split") return {};
  if (rings != "packed") return reader.wrong("rings", "\"split\"");
  return fail(Code::kUnsupportedField, "key \"rings\" is \"packed\", which the switch does not offer",
              "a packed ring cannot be taken up again when the switch was killed: use \"split\"");
}

// The switch counts bytes: the error of lower rates would be more than that of its clock.
Result<> refuse_low_bandwidth(const Bandwidth& bandwidth) {
  constexpr std::uint64_t kLeast = 1000;
  const auto check = [](const char* name, std::uint64_t rate) -> Result<> {
    if (rate == 0 || rate >= kLeast) return {};
    return fail(Code::kInvalidConfig,
                "key \"runtimeConfig.bandwidth." + std::string(name) + "\" is " + std::to_string(rate) +
                    ", vmlane-vhostuser limits to 1000 bit/s and more",
                "raise the rate, or remove it for no limit");
  };
  VMLANE_TRY(check("ingressRate", bandwidth.ingress_rate));
  return check("egressRate", bandwidth.egress_rate);
}

void record_bandwidth(AttachmentRecord& record, const Bandwidth& bandwidth) {
  if (bandwidth.ingress_rate == 0 && bandwidth.egress_rate == 0) return;
  record.handles["bandwidth"] = {{"ingress_rate", bandwidth.ingress_rate},
                                 {"ingress_burst", bandwidth.ingress_burst},
                                 {"egress_rate", bandwidth.egress_rate},
                                 {"egress_burst", bandwidth.egress_burst}};
}

// How the switch is to hold policy, as the other lanes' records say it of their links.
Result<> record_policy(Attachment& attachment, const PolicyConfig& config,
                       const std::optional<MacAddress>& node) {
  VMLANE_ASSIGN(const auto plan, plan_policy(attachment, config, false));
  if (!plan) return {};
  attachment.record.handles["policy"] = {{"mode", "enforced"}, {"default", plan->deny ? "deny" : "allow"}};
  if (node) attachment.record.handles["policy"]["node_mac"] = node->to_string();
  return {};
}

Result<> reach_switch(const NodeConfig& config) {
  constexpr std::chrono::seconds kPatience{2};
  auto client = json_rpc::Client::connect(config.switch_socket(), kPatience);
  if (client) return {};
  return fail(Code::kNotAvailable,
              "key \"requireSwitch\" is true and vmlane-switch does not run: " + client.error().message,
              "start it, or remove the key: a VM is connected as soon as the switch runs");
}

// A placeholder of ours: by its alias, or, when the ADD was killed before it could be named, because it has
// the name that was free when the ADD began.
bool is_own_placeholder(const netlink::Link& link, const Reclaim& reclaim) {
  if (link.kind != "tun") return false;
  const auto owner = names::parse_link_alias(link.alias);
  if (owner) return owner->attachment_id == reclaim.key.id();
  return link.alias.empty() && reclaim.record != nullptr && reclaim.record->result.is_null();
}

Result<> remove_placeholder(const Reclaim& reclaim) {
  if (reclaim.pod == nullptr) return {};
  VMLANE_ASSIGN(const auto pod, reclaim.node.kernel.netlink(*reclaim.pod));
  VMLANE_ASSIGN(const auto link, pod->find_link(reclaim.key.ifname));
  if (!link || !is_own_placeholder(*link, reclaim)) return {};
  return reclaim.step("remove the placeholder", [&] { return pod->delete_link(link->index); });
}

PortDirectory recorded_directory(const AttachmentRecord& record) {
  return {.path = record.handles.value("port_directory", ""),
          .socket = record.handles.value("socket", ""),
          .of_device_plugin = record.handles.contains("device_id")};
}

Result<> remove_files(const Reclaim& reclaim) {
  const bool recorded = reclaim.record != nullptr && reclaim.record->handles.contains("socket");
  PortDirectory directory;
  if (recorded) {
    directory = recorded_directory(*reclaim.record);
  } else {
    VMLANE_ASSIGN(directory, port_directory(reclaim.node.config, reclaim.key.id(), ""));
  }
  VMLANE_TRY(reclaim.step("remove the port directory", [&] { return remove_port_directory(directory); }));
  const std::string info = recorded ? reclaim.record->handles.value("device_info", "") : "";
  if (info.empty()) return {};
  return reclaim.step("remove the device information", [&] { return remove_file(info); });
}

// KubeVirt puts a dummy of the same name, MAC and MTU in its place, so its kind is not asked.
Result<> check_placeholder(netlink::Netlink& pod, const AttachmentRecord& record) {
  const std::string& name = record.key.ifname;
  VMLANE_ASSIGN(const auto link, pod.find_link(name));
  if (!link) return fail(Code::kChanged, "interface " + name + " is gone from the pod");
  if (record.mac && link->mac.to_string() != *record.mac)
    return fail(Code::kChanged,
                "MAC of " + name + " is " + link->mac.to_string() + ", ADD set " + *record.mac);
  if (record.mtu && link->mtu != *record.mtu)
    return fail(Code::kChanged, "MTU of " + name + " is " + std::to_string(link->mtu) + ", ADD set " +
                                    std::to_string(*record.mtu));
  return {};
}

}  // namespace

Result<> VhostuserLane::refuse_foreign_keys(ObjectReader& reader, const Request& request) const {
  VMLANE_TRY(refuse_keys_of_other_lanes(config_));
  if (!bridged_) VMLANE_TRY(refuse_keys_of_a_bridge(request.config));
  VMLANE_TRY(refuse_rings(reader));
  return refuse_dhcp(request.config, "vhost-user");
}

Result<ConfigKeys> VhostuserLane::configure(const Request& request, const NodeConfig& node) {
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  ObjectReader reader(request.config, "", Code::kInvalidConfig);
  network_ = request.key.network;
  bridged_ = is_set(request.config, "bridge");
  VMLANE_ASSIGN(config_, parse_bridge_config(reader, ipam.enabled()));
  VMLANE_ASSIGN(workload_, parse_workload_config(reader, true, ipam.enabled()));
  if (config_.is_gateway && workload_.answers.virtual_gateway) {
    return fail(Code::kInvalidConfig, "key \"gatewayMode\" is \"virtual\" and \"isGateway\" is true",
                "the gateway is either the bridge or in the record alone: remove one of the two");
  }
  VMLANE_ASSIGN(device_, parse_guest_device(reader, node));
  VMLANE_ASSIGN(require_switch_, parse_flag(reader, "requireSwitch"));
  VMLANE_ASSIGN(allow_node_, parse_flag(reader, "allowNode"));
  if (workload_.guard.learning.value_or(ebpf::Learning::kNone) != ebpf::Learning::kNone) {
    return fail(Code::kUnsupportedField, "key \"learnAddresses\" is set, which the switch does not carry out",
                "name the addresses by \"ipam\" or \"allowedAddresses\", or set the key to \"none\"");
  }
  VMLANE_TRY(refuse_foreign_keys(reader, request));
  ConfigKeys keys = config_keys(request.config, reader);
  if (request.command != Command::kAdd) return keys;
  VMLANE_ASSIGN(const NicRequest nic, parse_nic_request(request));
  VMLANE_ASSIGN(directory_, port_directory(node, request.key.id(), nic.device_id));
  VMLANE_TRY(refuse_low_bandwidth(nic.bandwidth));
  bandwidth_ = nic.bandwidth;
  device_info_ = nic.device_info_file;
  uplink_tap_ = names::uplink_tap(node.state_dir.native(), segment());
  return keys;
}

std::string VhostuserLane::segment() const {
  const std::string base = bridged_ ? "bridge:" + config_.bridge : "switch:" + network_;
  const std::uint16_t vlan = config_.vlan.native;
  return vlan == 0 ? base : base + ":vlan:" + std::to_string(vlan);
}

void VhostuserLane::plan(AttachmentRecord& record) const {
  Json& handles = record.handles;
  handles["switch_network"] = segment();
  handles["port_directory"] = directory_.path.string();
  handles["socket"] = directory_.socket.string();
  handles["queues"] = device_.queues;
  handles["owner"] = device_.owner;
  handles["group"] = device_.group;
  handles["pod_link"] = record.key.ifname;
  handles["isolated"] = config_.port_isolation;
  record_bandwidth(record, bandwidth_);
  if (!device_info_.empty()) handles["device_info"] = device_info_;
  if (config_.vlan.any()) handles["port_vlans"] = vlans_to_json(config_.vlan.port());
  if (!bridged_) return;
  handles["bridge"] = config_.bridge;
  handles["uplink_tap"] = uplink_tap_;
  if (config_.ip_masq) plan_masquerade(record);
  plan_bridge_netfilter(record, config_.bridge_netfilter);
  if (!config_.uplink.empty()) handles["uplink"] = config_.uplink;
  if (!config_.is_gateway) return;
  const std::uint16_t vlan = config_.vlan.native;
  if (vlan != 0) handles["gateway_vlan"] = vlan;
  handles["gateway_device"] = vlan == 0 ? config_.bridge : names::vlan_link(config_.bridge, vlan);
}

Result<std::uint32_t> VhostuserLane::join_bridge(Attachment& attachment) {
  VMLANE_ASSIGN(const auto host, attachment.node.kernel.netlink(attachment.host));
  VMLANE_ASSIGN(const auto lock, lock_bridge(attachment.node.config, config_.bridge));
  VMLANE_ASSIGN(const Ground ground, ensure_bridge(attachment, *host, config_));
  if (ground.bridge.mac.to_string() == attachment.record.mac.value_or("")) {
    return fail(Code::kConflict, "MAC " + *attachment.record.mac + " is that of bridge " + ground.bridge.name,
                "frames for one would end at the other; give the NIC another MAC");
  }
  if (config_.mtu.value_or(0) > ground.mtu) {
    return fail(Code::kInvalidConfig,
                "key \"mtu\" is " + std::to_string(*config_.mtu) + ", bridge " + ground.bridge.name +
                    " carries " + std::to_string(ground.mtu),
                "lower the key or raise the bridge's MTU");
  }
  VMLANE_TRY(ensure_kernel_uplink(attachment, *host, ground.bridge, segment(), config_, ground.mtu));
  bridge_ = ground.bridge;
  return config_.mtu.value_or(ground.mtu);
}

Result<> VhostuserLane::make_placeholder(Attachment& attachment, std::uint32_t mtu) {
  AttachmentRecord& record = attachment.record;
  const std::string& name = record.key.ifname;
  VMLANE_ASSIGN(const auto pod, attachment.node.kernel.netlink(attachment.pod));
  VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(record.mac.value_or("")));
  // Nobody needs to open it.
  const netlink::TapSpec spec{.name = name, .owner = 0, .group = 0};
  VMLANE_TRY(attachment.transaction.step(
      "make the placeholder", [&] { return attachment.node.kernel.create_tap(attachment.pod, spec); }));
  VMLANE_ASSIGN(const auto link, pod->find_link(name));
  if (!link)
    return fail(Code::kKernel, "interface " + name + " vanished from the pod while it was being set up");
  const netlink::LinkChange identity{
      .mtu = mtu, .mac = mac, .alias = names::link_alias(record.key.id(), attachment.node.boot_id)};
  VMLANE_TRY(attachment.transaction.step("name the placeholder's owner",
                                         [&] { return pod->change_link(link->index, identity); }));
  VMLANE_TRY(silence_pod_link(attachment, *pod, *link));
  record.mtu = mtu;
  return attachment.transaction.step("bring the placeholder up",
                                     [&] { return pod->change_link(link->index, {.up = true}); });
}

Result<> VhostuserLane::prepare(Attachment& attachment) {
  if (require_switch_) VMLANE_TRY(reach_switch(attachment.node.config));
  // All that is made from here on is undone by the function that DEL uses; on the way there no lock of ours
  // is held.
  VMLANE_TRY(attachment.transaction.step(
      "begin the port", [] { return Result<>(); }, [this, &attachment] { return take_down(attachment); }));
  std::uint32_t mtu = config_.mtu.value_or(kDefaultMtu);
  if (bridged_) {
    VMLANE_ASSIGN(mtu, join_bridge(attachment));
  }
  VMLANE_TRY(attachment.transaction.step("make the port directory", [&] {
    return make_port_directory(directory_, device_.owner, device_.group);
  }));
  return make_placeholder(attachment, mtu);
}

Result<> VhostuserLane::be_gateway(Attachment& attachment, CniResult& result) {
  VMLANE_ASSIGN(const auto host, attachment.node.kernel.netlink(attachment.host));
  VMLANE_ASSIGN(const auto lock, lock_bridge(attachment.node.config, config_.bridge));
  VMLANE_TRY(settle_bridge_netfilter(attachment, config_.bridge, config_.bridge_netfilter, result));
  if (!config_.is_gateway) return {};
  GatewayDevice device{*bridge_, is_own_bridge(attachment.node.config, *bridge_)};
  if (config_.vlan.native != 0) {
    VMLANE_ASSIGN(device, ensure_gateway_device(attachment, *host, *bridge_, config_.vlan.native));
    attachment.record.handles["gateway_device"] = device.link.name;
  }
  return ensure_gateways(attachment, *host, device, config_, result.ips);
}

Result<CniResult> VhostuserLane::apply(Attachment& attachment) {
  const AttachmentRecord& record = attachment.record;
  CniResult result = attachment.ipam;
  if (bridged_) VMLANE_TRY(be_gateway(attachment, result));
  if (config_.ip_masq) VMLANE_TRY(add_masquerade(attachment, result));
  if (config_.is_default_gateway) add_default_routes(result);
  if (bridge_)
    result.interfaces = {{.name = bridge_->name, .mac = bridge_->mac.to_string(), .mtu = bridge_->mtu}};
  for (ResultIp& ip : result.ips) ip.interface = result.interfaces.size();
  result.interfaces.push_back({.name = record.key.ifname,
                               .mac = *record.mac,
                               .mtu = record.mtu,
                               .sandbox = attachment.request.netns,
                               .socket_path = directory_.socket.string()});
  const std::optional<MacAddress> gateway = config_.is_gateway ? std::optional(bridge_->mac) : std::nullopt;
  VMLANE_TRY(record_workload(attachment, workload_, gateway, result));
  VMLANE_TRY(
      record_policy(attachment, workload_.policy, allow_node_ ? std::optional(bridge_->mac) : std::nullopt));
  if (device_info_.empty()) return result;
  VMLANE_TRY(attachment.transaction.step("write the device information",
                                         [&] { return write_device_info(device_info_, directory_.socket); }));
  return result;
}

// The record says already that the attachment is being removed. A switch that runs is waited for, so that the
// guest sends and gets nothing more when its addresses are free again.
Result<> VhostuserLane::silence(const Reclaim& reclaim) const {
  constexpr std::chrono::seconds kPatience{2};
  auto client = json_rpc::Client::connect(reclaim.node.config.switch_socket(), kPatience);
  if (!client) return {};
  if (const auto told = client->call("resync"); !told)
    reclaim.node.log.warning("the switch does not say that it let go of the port",
                             {{"error", told.error().text()}});
  return {};
}

Result<> VhostuserLane::reclaim(const Reclaim& reclaim) const {
  VMLANE_ASSIGN(const auto host, reclaim.node.kernel.netlink(reclaim.host));
  VMLANE_TRY(remove_placeholder(reclaim));
  VMLANE_TRY(remove_files(reclaim));
  VMLANE_ASSIGN(std::vector<std::string> bridges, release_kernel_uplinks(reclaim, *host));
  VMLANE_TRY(remove_masquerade(reclaim));
  const std::string recorded = reclaim.record == nullptr ? "" : reclaim.record->handles.value("bridge", "");
  if (!recorded.empty() && std::ranges::find(bridges, recorded) == bridges.end()) bridges.push_back(recorded);
  for (const std::string& bridge : bridges) {
    VMLANE_TRY(release_bridge_netfilter(reclaim, bridge));
    VMLANE_TRY(release_bridge(reclaim, *host, bridge));
  }
  return {};
}

Result<> VhostuserLane::check(const Inspection& inspection) {
  const AttachmentRecord& record = inspection.record;
  VMLANE_ASSIGN(const auto host, inspection.node.kernel.netlink(inspection.host));
  VMLANE_ASSIGN(const auto pod, inspection.node.kernel.netlink(inspection.pod));
  VMLANE_TRY(check_placeholder(*pod, record));
  VMLANE_TRY(check_port_directory(recorded_directory(record), record.handles.value("owner", 0U),
                                  record.handles.value("group", 0U)));
  VMLANE_TRY(check_masquerade(inspection));
  if (!bridged_) return {};
  VMLANE_TRY(check_bridge_netfilter(inspection, config_.bridge_netfilter));
  return check_kernel_uplink(inspection, *host);
}

Result<> VhostuserLane::status(const Request& request, const Node& node) {
  VMLANE_TRY(node.kernel.tun_available());
  if (require_switch_) VMLANE_TRY(reach_switch(node.config));
  if (!bridged_) return {};
  VMLANE_ASSIGN(const auto host_namespace, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(host_namespace));
  VMLANE_TRY(bridge_status(node, *host, config_));
  return bridge_netfilter_status(node, host_namespace, config_.bridge, config_.bridge_netfilter,
                                 request.config);
}

}  // namespace vmlane::cni
