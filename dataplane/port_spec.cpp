// SPDX-License-Identifier: Apache-2.0
#include "dataplane/port_spec.h"

#include "answers/record.h"
#include "core/json.h"
#include "ebpf/source_guard.h"

namespace vmlane::dataplane {
namespace {

Result<> read_guard(const Json& handles, PortSpec& spec) {
  const auto found = handles.find("source_guard");
  if (found == handles.end()) return {};
  VMLANE_ASSIGN(const ebpf::SourceGuard guard, ebpf::source_guard_from_json(*found));
  spec.guard.emplace();
  ebpf::write_source_guard(guard, *spec.guard);
  return {};
}

Result<> read_answers(const Json& handles, PortSpec& spec) {
  const auto found = handles.find("answers");
  if (found == handles.end()) return {};
  VMLANE_ASSIGN(spec.answers, answers::answers_from_json(*found));
  return {};
}

Result<> read_policy(ObjectReader& handles, PortSpec& spec) {
  VMLANE_ASSIGN(const Json* policy, handles.object("policy"));
  if (policy == nullptr) return {};
  ObjectReader reader(*policy, "handles.policy.", Code::kDecode);
  VMLANE_ASSIGN(const std::string verdict, reader.text("default"));
  if (verdict != "deny" && verdict != "allow") return reader.wrong("default", "deny or allow");
  spec.policy_denies = verdict == "deny";
  VMLANE_ASSIGN(const std::string node_mac, reader.text("node_mac"));
  if (node_mac.empty()) return {};
  VMLANE_ASSIGN(spec.node_mac, MacAddress::parse(node_mac));
  return {};
}

Result<> read_addresses(const Json& result, PortSpec& spec) {
  const auto ips = result.is_object() ? result.find("ips") : result.end();
  if (ips == result.end()) return {};
  if (!ips->is_array()) return fail(Code::kDecode, "result.ips is no list");
  for (const Json& ip : *ips) {
    if (!ip.is_object()) return fail(Code::kDecode, "a member of result.ips is no object");
    ObjectReader reader(ip, "result.ips.", Code::kDecode);
    VMLANE_ASSIGN(const std::string address, reader.text("address"));
    VMLANE_ASSIGN(const IpPrefix prefix, IpPrefix::parse(address));
    spec.addresses.push_back(prefix.address);
  }
  return {};
}

Result<Bandwidth> read_bandwidth(ObjectReader& reader, const std::string& direction) {
  VMLANE_ASSIGN(const auto rate, reader.integer(direction + "_rate", 0, INT64_MAX));
  VMLANE_ASSIGN(const auto burst, reader.integer(direction + "_burst", 0, INT64_MAX));
  return Bandwidth{.rate = static_cast<std::uint64_t>(rate.value_or(0)),
                   .burst = static_cast<std::uint64_t>(burst.value_or(0))};
}

Result<> read_limits(ObjectReader& handles, PortSpec& spec) {
  VMLANE_ASSIGN(const Json* bandwidth, handles.object("bandwidth"));
  if (bandwidth == nullptr) return {};
  ObjectReader reader(*bandwidth, "handles.bandwidth.", Code::kDecode);
  VMLANE_ASSIGN(spec.ingress, read_bandwidth(reader, "ingress"));
  VMLANE_ASSIGN(spec.egress, read_bandwidth(reader, "egress"));
  return {};
}

Result<PortSpec> read(const AttachmentRecord& record) {
  ObjectReader reader(record.handles, "handles.", Code::kDecode);
  PortSpec spec{.id = record.key.id(), .mtu = record.mtu.value_or(0), .handles = record.handles};
  spec.workload = record.pod.workload();
  VMLANE_ASSIGN(spec.mac, MacAddress::parse(record.mac.value_or("")));
  VMLANE_ASSIGN(spec.network, reader.text("switch_network"));
  VMLANE_ASSIGN(spec.uplink, reader.text("uplink_tap"));
  VMLANE_ASSIGN(const std::string socket, reader.text("socket"));
  spec.socket = socket;
  VMLANE_ASSIGN(const auto isolated, reader.boolean("isolated"));
  spec.isolated = isolated.value_or(false);
  spec.access_vlan = record.handles.contains("port_vlans");
  if (spec.network.empty() || !spec.socket.is_absolute())
    return fail(Code::kDecode, "the record names no network or no socket");
  VMLANE_TRY(read_addresses(record.result, spec));
  VMLANE_TRY(read_guard(record.handles, spec));
  VMLANE_TRY(read_answers(record.handles, spec));
  VMLANE_TRY(read_policy(reader, spec));
  VMLANE_TRY(read_limits(reader, spec));
  return spec;
}

}  // namespace

Result<std::optional<PortSpec>> port_spec(const AttachmentRecord& record, const std::string& boot_id) {
  if (record.plugin != "vmlane-vhostuser" || record.state != RecordState::kDone || record.boot_id != boot_id)
    return std::nullopt;
  auto spec = read(record);
  if (!spec) return fail(spec.error().wrap("record of attachment " + record.key.id()));
  return std::move(*spec);
}

}  // namespace vmlane::dataplane
