// SPDX-License-Identifier: Apache-2.0
#include "agent/policy_ledger.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace vmlane::agent {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t kIsolation = -1;

// RFC 3339, to the second, of a time since boot.
std::string time_text(nanoseconds since_boot) {
  timespec monotonic{};
  ::clock_gettime(CLOCK_MONOTONIC, &monotonic);
  const nanoseconds now = std::chrono::seconds(monotonic.tv_sec) + nanoseconds(monotonic.tv_nsec);
  const auto when = std::chrono::system_clock::now() -
                    std::chrono::duration_cast<std::chrono::system_clock::duration>(now - since_boot);
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

// Of an ICMP echo the kernel tells the identifier where others have ports.
bool has_ports(std::uint8_t protocol) {
  return protocol == policy::kTcp || protocol == policy::kUdp || protocol == policy::kSctp;
}

std::string end_text(const IpAddress& address, std::uint16_t port, std::uint8_t protocol) {
  if (!has_ports(protocol)) return address.to_string();
  return (address.v6 ? "[" + address.to_string() + "]" : address.to_string()) + ":" + std::to_string(port);
}

const char* direction_text(bool ingress) {
  return ingress ? "ingress" : "egress";
}

Json probe_of(const ebpf::PolicyTuple& packet, const std::string& network) {
  return {{"from", packet.source.to_string()},
          {"to", packet.destination.to_string()},
          {"network", network},
          {"family", packet.source.v6 ? "ipv6" : "ipv4"},
          {"protocol", std::to_string(packet.protocol)},
          {"port", has_ports(packet.protocol) ? packet.destination_port : 0}};
}

}  // namespace

PolicyLedger::PolicyLedger(const NodeState& state, KernelSink& kernel) : state_(state), kernel_(kernel) {
  kernel_.before_new_counters(
      [this](const std::vector<ebpf::PolicyCount>& counts) { add_counts(counts, counted_); });
}

Result<ebpf::PolicyTables*> PolicyLedger::tables() const {
  if (ebpf::PolicyTables* tables = kernel_.tables()) return tables;
  return fail(Code::kNotAvailable, "the kernel's policy stage is not loaded",
              "vmlanectl agent status tells why");
}

Json PolicyLedger::packet_row(const std::string& attachment, bool ingress,
                              const ebpf::PolicyTuple& packet) const {
  const Attachment* whose = state_.attachment(attachment);
  return {{"attachment", attachment},
          {"pod", whose == nullptr ? "" : whose->pod},
          {"network", whose == nullptr ? "" : whose->network},
          {"direction", direction_text(ingress)},
          {"source", end_text(packet.source, packet.source_port, packet.protocol)},
          {"destination", end_text(packet.destination, packet.destination_port, packet.protocol)},
          {"protocol", policy::protocol_name(packet.protocol)}};
}

void PolicyLedger::add_policy(Json& row, const std::optional<std::uint32_t>& policy,
                              const std::optional<std::uint32_t>& rule, std::uint64_t generation) const {
  const policy::PolicyName* name = policy ? state_.policy_name(generation, *policy) : nullptr;
  row["kind"] = name == nullptr ? Json() : Json(name->kind);
  row["policy"] = name == nullptr ? Json() : Json(name->id);
  row["rule"] = rule ? Json(*rule) : Json();
}

Json PolicyLedger::drop_row(const ebpf::PolicyDrop& drop) const {
  Json row = packet_row(drop.attachment_id, drop.ingress, drop.packet);
  row["time"] = time_text(drop.time);
  row["reason"] = drop.reason;
  add_policy(row, drop.policy, drop.rule, drop.generation);
  row["probe"] = probe_of(drop.packet, row.value("network", ""));
  return row;
}

void PolicyLedger::collect(const std::function<void(const Json&)>& tell) {
  ebpf::PolicyTables* tables = kernel_.tables();
  if (tables == nullptr) return;
  // Nothing to read is no error that anybody could do something about.
  (void)tables->drops(std::chrono::milliseconds(0), [&](const ebpf::PolicyDrop& drop) {
    drops_.push_back(drop_row(drop));
    if (drops_.size() > kRecentDrops) drops_.pop_front();
    tell(drops_.back());
  });
}

Json PolicyLedger::recent_drops() const {
  return Json(drops_);
}

void PolicyLedger::add_counts(const std::vector<ebpf::PolicyCount>& counts, Counts& into) const {
  const std::uint64_t generation = kernel_.published();
  for (const ebpf::PolicyCount& count : counts) {
    const policy::PolicyName* name = state_.policy_name(generation, count.policy);
    if (name == nullptr) continue;  // of an agent before this one
    Count& sum =
        into[{name->kind, name->id, count.rule ? std::int64_t{*count.rule} : kIsolation, count.ingress}];
    sum.hits += count.hits;
    sum.last = std::max(sum.last, count.last);
  }
}

Result<Json> PolicyLedger::counters() const {
  VMLANE_ASSIGN(const ebpf::PolicyTables* tables, tables());
  Counts counts = counted_;
  add_counts(tables->counters(), counts);
  const policy::Objects objects = state_.policies();
  for (const auto& [key, policy] : objects.policies) {
    for (const auto direction : {policy::Direction::kEgress, policy::Direction::kIngress}) {
      const bool ingress = direction == policy::Direction::kIngress;
      for (const policy::Rule& rule : policy.rules_of(direction))
        counts.try_emplace({policy.kind, policy.id(), static_cast<std::int64_t>(rule.index), ingress});
      if (policy.isolates_in(direction)) counts.try_emplace({policy.kind, policy.id(), kIsolation, ingress});
    }
  }
  Json rows = Json::array();
  for (const auto& [key, count] : counts) {
    const auto& [kind, id, rule, ingress] = key;
    rows.push_back({{"kind", kind},
                    {"policy", id},
                    {"direction", direction_text(ingress)},
                    {"rule", rule == kIsolation ? Json() : Json(rule)},
                    {"hits", count.hits},
                    {"last", count.hits == 0 ? Json() : Json(time_text(count.last))}});
  }
  return rows;
}

Json PolicyLedger::connection_row(const ebpf::PolicyConnection& connection) const {
  Json row = packet_row(connection.attachment_id, connection.ingress, connection.opened);
  row["state"] = connection.state;
  row["idle"] = connection.idle.count();
  add_policy(row, connection.policy, connection.rule, kernel_.published());
  return row;
}

Result<Json> PolicyLedger::connections(const std::optional<std::string>& attachment) const {
  VMLANE_ASSIGN(const ebpf::PolicyTables* tables, tables());
  Json rows = Json::array();
  for (const auto& connection : tables->connections(attachment)) rows.push_back(connection_row(connection));
  return rows;
}

Result<std::size_t> PolicyLedger::flush(const std::optional<std::string>& attachment) {
  VMLANE_ASSIGN(ebpf::PolicyTables * tables, tables());
  return tables->flush(attachment);
}

Result<Json> PolicyLedger::probes() const {
  VMLANE_ASSIGN(const ebpf::PolicyTables* tables, tables());
  std::set<Json> probes;
  for (const auto& connection : tables->connections()) {
    const Attachment* whose = state_.attachment(connection.attachment_id);
    if (whose != nullptr && !whose->network.empty())
      probes.insert(probe_of(connection.opened, whose->network));
  }
  for (const Json& drop : drops_) {
    if (!drop.value("network", "").empty()) probes.insert(drop["probe"]);
  }
  return Json(std::vector<Json>(probes.begin(), probes.end()));
}

}  // namespace vmlane::agent
