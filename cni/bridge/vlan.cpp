// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/vlan.h"

#include <algorithm>

#include "core/names.h"

namespace vmlane::cni {
namespace {

using netlink::kMaxVlan;
using netlink::kMinVlan;
using netlink::PortVlans;

// Alias of a gateway device. With the second form the bridge's own membership in the VLAN is ours as well.
constexpr std::string_view kGatewayAlias = "vmlane:gateway";
constexpr std::string_view kGatewaySelfAlias = "vmlane:gateway:self";

PortVlans tagged(std::int64_t first, std::int64_t last) {
  return {.first = static_cast<std::uint16_t>(first), .last = static_cast<std::uint16_t>(last)};
}

bool contains(const std::vector<PortVlans>& vlans, std::uint16_t id) {
  return std::ranges::any_of(vlans,
                             [id](const PortVlans& entry) { return entry.first <= id && id <= entry.last; });
}

// One entry of "vlanTrunk": a VLAN, a range, or both.
Result<std::vector<PortVlans>> parse_trunk_entry(const Json& entry, const std::string& what) {
  if (!entry.is_object()) {
    return fail(Code::kInvalidConfig, "key \"" + what + "\" is " + to_text(entry) +
                                          R"(, expected an object: {"id":7} or )" +
                                          R"({"minID":20,"maxID":25})");
  }
  ObjectReader reader(entry, what + ".", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto id, reader.integer("id", kMinVlan, kMaxVlan));
  VMLANE_ASSIGN(const auto min, reader.integer("minID", kMinVlan, kMaxVlan));
  VMLANE_ASSIGN(const auto max, reader.integer("maxID", kMinVlan, kMaxVlan));
  if (min.has_value() != max.has_value()) {
    return fail(
        Code::kInvalidConfig,
        "key \"" + what + "\" is " + to_text(entry) + ", without \"" + (min ? "maxID" : "minID") + "\"",
        "a range takes both minID and maxID");
  }
  if (min && *min > *max) {
    return fail(Code::kInvalidConfig, "key \"" + what + ".minID\" is " + std::to_string(*min) +
                                          ", above maxID " + std::to_string(*max));
  }
  const auto unknown = reader.unknown();
  if (!unknown.empty())
    return fail(Code::kInvalidConfig, "key \"" + what + "\" has the unknown key \"" + unknown.front() + "\"",
                "an entry has id, or minID and maxID");
  std::vector<PortVlans> vlans;
  if (min) vlans.push_back(tagged(*min, *max));
  if (id) vlans.push_back(tagged(*id, *id));
  if (vlans.empty())
    return fail(Code::kInvalidConfig, "key \"" + what + "\" is " + to_text(entry) + " and names no VLAN",
                "an entry has id, or minID and maxID");
  return vlans;
}

Result<std::vector<PortVlans>> parse_trunk(ObjectReader& reader) {
  VMLANE_ASSIGN(const Json* entries, reader.array("vlanTrunk"));
  std::vector<PortVlans> trunk;
  if (entries == nullptr) return trunk;
  for (std::size_t i = 0; i < entries->size(); i++) {
    const std::string what = "vlanTrunk[" + std::to_string(i) + "]";
    VMLANE_ASSIGN(const auto vlans, parse_trunk_entry((*entries)[i], what));
    for (const PortVlans& range : vlans) {
      for (std::uint16_t id = range.first; id <= range.last; id++) {
        if (contains(trunk, id))
          return fail(Code::kInvalidConfig,
                      "key \"" + what + "\" names VLAN " + std::to_string(id) + ", which is listed already",
                      "list each VLAN once");
      }
      trunk.push_back(range);
    }
  }
  return netlink::normalized(trunk);
}

std::vector<PortVlans> all_of(const std::vector<PortVlans>& vlans, bool pvid, bool untagged) {
  std::vector<PortVlans> out = vlans;
  for (PortVlans& entry : out) {
    entry.pvid = pvid;
    entry.untagged = untagged;
  }
  return netlink::normalized(out);
}

// The bridge's device in a VLAN, whatever it is called.
Result<std::optional<netlink::Link>> find_device(netlink::Netlink& host, const netlink::Link& bridge,
                                                 std::uint16_t vlan) {
  VMLANE_ASSIGN(const auto links, host.links());
  for (const netlink::Link& link : links) {
    if (link.kind != "vlan" || link.peer != bridge.index || link.peer_namespace_id) continue;
    VMLANE_ASSIGN(const auto id, host.vlan_id(link.index));
    if (id == vlan) return link;
  }
  return std::nullopt;
}

bool is_own_device(const netlink::Link& link) {
  return link.alias == kGatewayAlias || link.alias == kGatewaySelfAlias;
}

Result<netlink::Link> make_device(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                                  std::uint16_t vlan, bool self_there) {
  const netlink::VlanSpec spec{.name = names::vlan_link(bridge.name, vlan),
                               .lower = bridge.index,
                               .id = vlan,
                               .mtu = bridge.mtu,
                               .alias = std::string(self_there ? kGatewayAlias : kGatewaySelfAlias)};
  VMLANE_TRY(attachment.transaction.step("make gateway device " + spec.name,
                                         [&] { return host.create_vlan(spec); }));
  VMLANE_ASSIGN(const auto made, host.find_link(spec.name));
  if (!made) return fail(Code::kKernel, "VLAN device " + spec.name + " vanished while it was being set up");
  return *made;
}

bool needs_gateway(const AttachmentRecord& record, std::uint16_t vlan) {
  return record.handles.value("gateway_vlan", 0) == vlan;
}

Result<> remove_device(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& bridge,
                       const netlink::Link& device, std::uint16_t vlan) {
  if (device.alias == kGatewaySelfAlias) {
    VMLANE_TRY(reclaim.step("take the bridge out of VLAN " + std::to_string(vlan), [&] {
      return host.change_port_vlans(bridge.index, {.remove = {tagged(vlan, vlan)}, .of_the_bridge = true});
    }));
  }
  return reclaim.step("remove gateway device " + device.name, [&] { return host.delete_link(device.index); });
}

}  // namespace

std::vector<PortVlans> VlanConfig::port() const {
  std::vector<PortVlans> vlans = trunk;
  if (native != 0) vlans.push_back({.first = native, .last = native, .pvid = true, .untagged = true});
  return netlink::normalized(vlans);
}

Result<VlanConfig> parse_vlan_config(ObjectReader& reader) {
  VlanConfig config;
  VMLANE_ASSIGN(const auto vlan, reader.integer("vlan", 0, kMaxVlan));
  config.native = static_cast<std::uint16_t>(vlan.value_or(0));
  VMLANE_ASSIGN(config.trunk, parse_trunk(reader));
  VMLANE_ASSIGN(const auto preserve, reader.boolean("preserveDefaultVlan"));
  config.preserve_default = preserve.value_or(false);
  return config;
}

Json vlans_to_json(const std::vector<PortVlans>& vlans) {
  Json out = Json::array();
  for (const PortVlans& entry : vlans) {
    Json json = {{"first", entry.first}, {"last", entry.last}};
    if (entry.pvid) json["pvid"] = true;
    if (entry.untagged) json["untagged"] = true;
    out.push_back(std::move(json));
  }
  return out;
}

std::vector<PortVlans> vlans_of(const AttachmentRecord& record) {
  std::vector<PortVlans> vlans;
  const auto it = record.handles.find("port_vlans");
  if (it == record.handles.end() || !it->is_array()) return vlans;
  for (const Json& json : *it) {
    if (!json.is_object()) continue;
    const int first = json.value("first", 0);
    const int last = json.value("last", 0);
    if (first < kMinVlan || last > kMaxVlan || first > last) continue;
    PortVlans entry = tagged(first, last);
    entry.pvid = json.value("pvid", false);
    entry.untagged = json.value("untagged", false);
    vlans.push_back(entry);
  }
  return netlink::normalized(vlans);
}

std::string vlans_to_text(const std::vector<PortVlans>& vlans) {
  std::string out;
  for (const PortVlans& entry : vlans) {
    out += (out.empty() ? "" : ",") + std::to_string(entry.first);
    if (entry.last != entry.first) out += "-" + std::to_string(entry.last);
    if (entry.pvid) out += " PVID";
    if (entry.untagged) out += " untagged";
  }
  return out.empty() ? "none" : out;
}

std::vector<PortVlans> missing_vlans(const std::vector<PortVlans>& wanted,
                                     const std::vector<PortVlans>& present) {
  std::vector<PortVlans> missing;
  for (const PortVlans& range : wanted) {
    for (std::uint16_t id = range.first; id <= range.last; id++) {
      if (!contains(present, id)) missing.push_back(tagged(id, id));
    }
  }
  return netlink::normalized(missing);
}

Result<> require_filtering(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                           bool own) {
  VMLANE_ASSIGN(const bool filters, host.bridge_filters_vlans(bridge.index));
  if (filters) return {};
  if (!own) {
    return fail(Code::kConflict,
                "bridge " + bridge.name +
                    " does not filter VLANs, which the keys \"vlan\" and \"vlanTrunk\" need; it is not "
                    "vmlane's and is left as it is",
                "switch it on: ip link set " + bridge.name + " type bridge vlan_filtering 1");
  }
  return attachment.transaction.step("have the bridge filter VLANs",
                                     [&] { return host.filter_vlans(bridge.index, true); });
}

Result<> join_vlans(Attachment& attachment, netlink::Netlink& host, int port, const VlanConfig& vlan) {
  VMLANE_ASSIGN(const auto given, host.port_vlans(port));
  std::vector<PortVlans> wanted = vlan.port();
  if (vlan.preserve_default) {
    // The default VLAN takes frames without a tag only where no native one does.
    const auto kept = vlan.native == 0 ? given : all_of(given, false, true);
    wanted.insert(wanted.begin(), kept.begin(), kept.end());
    wanted = netlink::normalized(wanted);
  }
  attachment.record.handles["port_vlans"] = vlans_to_json(wanted);
  return attachment.transaction.step("put the host link into VLANs " + vlans_to_text(wanted), [&] {
    return host.change_port_vlans(port, {.remove = given, .add = wanted});
  });
}

Result<> check_vlans(netlink::Netlink& host, const netlink::Link& port, const AttachmentRecord& record) {
  const auto wanted = vlans_of(record);
  if (wanted.empty()) return {};
  VMLANE_ASSIGN(const bool filters, host.bridge_filters_vlans(port.master));
  if (!filters)
    return fail(Code::kChanged,
                "bridge " + record.handles.value("bridge", "") + " does not filter VLANs any more");
  VMLANE_ASSIGN(const auto present, host.port_vlans(port.index));
  if (present == wanted) return {};
  return fail(Code::kChanged, "host link " + port.name + " is in VLANs " + vlans_to_text(present) +
                                  ", ADD set " + vlans_to_text(wanted));
}

Result<GatewayDevice> ensure_gateway_device(Attachment& attachment, netlink::Netlink& host,
                                            const netlink::Link& bridge, std::uint16_t vlan) {
  VMLANE_ASSIGN(const auto memberships, host.port_vlans(bridge.index));
  const bool self_there = contains(memberships, vlan);
  VMLANE_ASSIGN(auto device, find_device(host, bridge, vlan));
  if (!device) {
    VMLANE_ASSIGN(device, make_device(attachment, host, bridge, vlan, self_there));
  }
  const bool own = is_own_device(*device);
  if (!self_there && !own) {
    return fail(Code::kConflict,
                "bridge " + bridge.name + " itself is not in VLAN " + std::to_string(vlan) +
                    ", so its device " + device->name + " can be nobody's gateway",
                "add it: bridge vlan add dev " + bridge.name + " vid " + std::to_string(vlan) + " self");
  }
  if (!self_there) {
    VMLANE_TRY(attachment.transaction.step("put the bridge into VLAN " + std::to_string(vlan), [&] {
      return host.change_port_vlans(bridge.index, {.add = {tagged(vlan, vlan)}, .of_the_bridge = true});
    }));
  }
  if (!device->up) {
    VMLANE_TRY(attachment.transaction.step("bring the gateway device up",
                                           [&] { return host.change_link(device->index, {.up = true}); }));
  }
  return GatewayDevice{*device, own};
}

Result<> release_vlans(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& bridge, bool own,
                       const std::vector<AttachmentRecord>& others) {
  VMLANE_ASSIGN(const auto links, host.links());
  for (const netlink::Link& link : links) {
    if (link.kind != "vlan" || link.peer != bridge.index || !is_own_device(link)) continue;
    VMLANE_ASSIGN(const auto vlan, host.vlan_id(link.index));
    if (!vlan) continue;
    const bool needed = std::ranges::any_of(
        others, [&](const AttachmentRecord& record) { return needs_gateway(record, *vlan); });
    if (!needed) VMLANE_TRY(remove_device(reclaim, host, bridge, link, *vlan));
  }
  const bool filtering_needed =
      std::ranges::any_of(others, [](const AttachmentRecord& record) { return !vlans_of(record).empty(); });
  if (!own || filtering_needed) return {};
  VMLANE_ASSIGN(const bool filters, host.bridge_filters_vlans(bridge.index));
  if (!filters) return {};
  return reclaim.step("have the bridge filter VLANs no more",
                      [&] { return host.filter_vlans(bridge.index, false); });
}

}  // namespace vmlane::cni
