// SPDX-License-Identifier: Apache-2.0
#include "agent/policy_ledger.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "core/boot_id.h"
#include "core/files.h"
#include "policy/tables_file.h"

namespace vmlane::agent {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t kIsolation = -1;
constexpr std::size_t kMaxCountersFile = std::size_t{64} << 20;

std::filesystem::path counters_file(const NodeConfig& config) {
  return config.policy_dir() / "counters.json";
}

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

// A packet as the switch tells of it, the number of its protocol under `protocol`.
std::optional<ebpf::PolicyTuple> tuple_told(const Json& told, const char* protocol) {
  const auto source = IpAddress::parse(told.value("source", ""));
  const auto destination = IpAddress::parse(told.value("destination", ""));
  if (!source || !destination) return std::nullopt;
  return ebpf::PolicyTuple{.source = *source,
                           .destination = *destination,
                           .source_port = told.value("source_port", std::uint16_t{0}),
                           .destination_port = told.value("destination_port", std::uint16_t{0}),
                           .protocol = told.value(protocol, std::uint8_t{0})};
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

PolicyLedger::PolicyLedger(const NodeConfig& config, const Log& log, const NodeState& state,
                           KernelSink& kernel)
    : config_(config), log_(log), state_(state), kernel_(kernel), switch_(config.switch_socket()) {
  if (const auto taken = take_up(); !taken)
    log_.warning("counters of policy begin anew", {{"reason", taken.error().text()}});
  kernel_.when_counters_begin_anew(
      [this](const std::vector<ebpf::PolicyCount>& counts, std::uint64_t generation) {
        taken_ = counted_;
        add_counts(counts, taken_);
        forget_removed(taken_);
        if (const auto kept = keep(taken_, generation); !kept)
          log_.warning("counters of policy would not outlive the agent", {{"reason", kept.error().text()}});
      },
      [this](bool came) {
        if (came) counted_ = std::move(taken_);
        taken_.clear();
      });
}

// Or policies that come and go would be remembered for ever.
void PolicyLedger::forget_removed(Counts& counts) const {
  std::set<std::pair<std::string, std::string>> there;
  for (const policy::PolicyName& name : state_.policy_names()) there.emplace(name.kind, name.id);
  std::erase_if(counts, [&](const auto& entry) {
    return !there.contains({std::get<0>(entry.first), std::get<1>(entry.first)});
  });
}

void PolicyLedger::Count::add(const Count& more) {
  hits += more.hits;
  audited += more.audited;
  last = std::max(last, more.last);
}

// A file that says less than it should would count twice or not at all: all of it is read, or nothing.
Result<> PolicyLedger::take_up() {
  VMLANE_ASSIGN(const std::string boot, read_boot_id(config_.boot_id_file));
  VMLANE_ASSIGN(const auto text, read_file(counters_file(config_), kMaxCountersFile));
  std::uint64_t since = 0;  // the generation whose counters are not among those of the file
  Counts counts;
  if (text) {
    const Json kept = Json::parse(*text, nullptr, false);
    const auto bad = [] { return fail(Code::kDecode, "the file of policy counters cannot be read"); };
    if (!kept.is_object() || kept.value("schema", Json()) != 1 ||
        !kept.value("since", Json()).is_number_unsigned() || !kept.value("rules", Json()).is_array())
      return bad();
    if (kept.value("boot", Json()) != boot) return {};
    since = kept["since"].get<std::uint64_t>();
    for (const Json& row : kept["rules"]) {
      const bool valid = row.is_array() && row.size() == 7 && row[0].is_string() && row[1].is_string() &&
                         row[2].is_number_integer() && row[3].is_boolean() && row[4].is_number_unsigned() &&
                         row[5].is_number_unsigned() && row[6].is_number_integer();
      if (!valid) return bad();
      counts[{row[0], row[1], row[2], row[3]}] = {row[4], row[5], nanoseconds(row[6].get<std::int64_t>())};
    }
  }
  counted_ = std::move(counts);
  const auto found = ebpf::PolicyTables::look(config_.run_dir);
  if (!found && found.error().code == Code::kNotFound) return {};
  if (!found) return fail(found.error());
  const std::uint64_t generation = found->generation();
  if (generation == 0 || generation < since) return {};
  const auto file = policy::TablesFile::map(config_.policy_dir() / policy::tables_file_name());
  if (!file) return fail(file.error());
  // The file is written after the kernel's tables. A number has been given to nobody else in between.
  if (!*file || (*file)->generation() > generation || generation - (*file)->generation() > 1) return {};
  VMLANE_ASSIGN(const auto names, (*file)->policies());
  add_counts(
      found->counters(),
      [&](std::uint32_t number) {
        return number < names.size() && !names[number].id.empty() ? &names[number] : nullptr;
      },
      counted_);
  return {};
}

Result<> PolicyLedger::keep(const Counts& counts, std::uint64_t generation) const {
  VMLANE_ASSIGN(const std::string boot, read_boot_id(config_.boot_id_file));
  Json rules = Json::array();
  for (const auto& [key, count] : counts) {
    const auto& [kind, id, rule, ingress] = key;
    rules.push_back({kind, id, rule, ingress, count.hits, count.audited, count.last.count()});
  }
  VMLANE_TRY(make_directory(config_.policy_dir(), {.mode = 0750, .group = config_.vmlane_gid}));
  return write_file_atomically(
      counters_file(config_),
      to_text({{"schema", 1}, {"boot", boot}, {"since", generation}, {"rules", std::move(rules)}}) + "\n",
      {.mode = 0640, .group = config_.vmlane_gid, .sync = Sync::kLater});
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
  row["audit"] = drop.audit;
  row["reason"] = drop.reason;
  add_policy(row, drop.policy, drop.rule, drop.generation);
  row["probe"] = probe_of(drop.packet, row.value("network", ""));
  return row;
}

// No value for one that nobody could make sense of.
std::optional<Json> PolicyLedger::switch_drop_row(const Json& told) const {
  const auto tuple = tuple_told(told, "protocol");
  if (!tuple) return std::nullopt;
  const ebpf::PolicyTuple& packet = *tuple;
  Json row = packet_row(told.value("attachment", ""), told.value("ingress", false), packet);
  row["time"] = time_text(nanoseconds(told.value("time", std::int64_t{0})));
  row["audit"] = told.value("audit", false);
  row["reason"] = told.value("reason", "");
  for (const char* key : {"kind", "policy", "rule"}) row[key] = told.value(key, Json());
  row["probe"] = probe_of(packet, row.value("network", ""));
  return row;
}

void PolicyLedger::add_drop(Json row) {
  drops_.push_back(std::move(row));
  if (drops_.size() > kRecentDrops) drops_.pop_front();
}

void PolicyLedger::collect_from_switch(const std::function<void(const Json&)>& tell) {
  for (const Json& told : switch_.drops()) {
    auto row = switch_drop_row(told);
    if (!row) continue;
    add_drop(std::move(*row));
    tell(drops_.back());
  }
}

void PolicyLedger::collect(bool with_switch, const std::function<void(const Json&)>& tell) {
  if (with_switch) collect_from_switch(tell);
  ebpf::PolicyTables* tables = kernel_.tables();
  if (tables == nullptr) return;
  // Nothing to read is no error that anybody could do something about.
  (void)tables->drops(std::chrono::milliseconds(0), [&](const ebpf::PolicyDrop& drop) {
    add_drop(drop_row(drop));
    tell(drops_.back());
  });
}

// Who follows has been told what is taken here: while somebody does, the switch is asked all the time.
Json PolicyLedger::recent_drops() {
  collect_from_switch([](const Json&) {});
  std::vector<Json> rows(drops_.begin(), drops_.end());
  std::ranges::stable_sort(rows, {}, [](const Json& row) { return row.value("time", ""); });
  return rows;
}

void PolicyLedger::add_counts(const std::vector<ebpf::PolicyCount>& counts, const NameOf& name_of,
                              Counts& into) {
  for (const ebpf::PolicyCount& count : counts) {
    const policy::PolicyName* name = name_of(count.policy);
    if (name == nullptr) continue;
    into[{name->kind, name->id, count.rule ? std::int64_t{*count.rule} : kIsolation, count.ingress}].add(
        {count.audit ? 0 : count.hits, count.audit ? count.hits : 0, count.last});
  }
}

// Those of an agent before this one have no name here, and were taken up.
void PolicyLedger::add_counts(const std::vector<ebpf::PolicyCount>& counts, Counts& into) const {
  const std::uint64_t generation = kernel_.published();
  add_counts(
      counts, [&](std::uint32_t number) { return state_.policy_name(generation, number); }, into);
}

Result<Json> PolicyLedger::counters() {
  VMLANE_ASSIGN(const ebpf::PolicyTables* tables, tables());
  Counts counts = counted_;
  add_counts(tables->counters(), counts);
  for (const Json& told : switch_.counters()) {
    const Json rule = told.value("rule", Json());
    counts[{told.value("kind", ""), told.value("policy", ""),
            rule.is_number_integer() ? rule.get<std::int64_t>() : kIsolation, told.value("ingress", false)}]
        .add({told.value("hits", std::uint64_t{0}), told.value("audited", std::uint64_t{0}),
              nanoseconds(told.value("last", std::int64_t{0}))});
  }
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
                    {"audited", count.audited},
                    {"last", count.last.count() == 0 ? Json() : Json(time_text(count.last))}});
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

Result<Json> PolicyLedger::connections(const std::optional<std::string>& attachment) {
  VMLANE_ASSIGN(const ebpf::PolicyTables* tables, tables());
  Json rows = Json::array();
  for (const auto& connection : tables->connections(attachment)) rows.push_back(connection_row(connection));
  for (const Json& told : switch_.connections(attachment)) {
    const auto opened = tuple_told(told, "protocol_number");
    if (!opened) continue;
    Json row = packet_row(told.value("attachment", ""), told.value("ingress", false), *opened);
    for (const char* key : {"state", "idle", "kind", "policy", "rule"}) row[key] = told.value(key, Json());
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<std::size_t> PolicyLedger::flush(const std::optional<std::string>& attachment) {
  VMLANE_ASSIGN(ebpf::PolicyTables * tables, tables());
  return tables->flush(attachment) + switch_.flush(attachment);
}

Result<Json> PolicyLedger::probes() {
  collect_from_switch([](const Json&) {});
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
