// SPDX-License-Identifier: Apache-2.0
// What the switch tells of itself on its socket.
#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "core/json_rpc.h"
#include "core/keeper_paths.h"
#include "dataplane/switch.h"

namespace vmlane::dataplane {
namespace {

std::string state_name(VhostPort::State state) {
  switch (state) {
    case VhostPort::State::kWaiting:
      return "waiting";
    case VhostPort::State::kRefused:
      return "refused";
    case VhostPort::State::kConnected:
      return "connected";
    case VhostPort::State::kRunning:
      return "running";
  }
  return "";
}

Json counters_json(const PortCounters& counters) {
  std::uint64_t dropped = 0;
  for (const std::uint64_t count : counters.dropped) dropped += count;
  return {{"rx", counters.received},
          {"rx_bytes", counters.received_bytes},
          {"tx", counters.sent},
          {"tx_bytes", counters.sent_bytes},
          {"segmented", counters.segmented},
          {"checksummed", counters.checksummed},
          {"announced", counters.announced},
          {"short_turns", counters.short_turns},
          {"dropped", dropped}};
}

std::string policy_state(const PortSpec& spec) {
  if (!spec.policy_denies) return "none";
  return *spec.policy_denies ? "enforced, denied until judged" : "enforced, allowed until judged";
}

// In bits; as the attachment asked.
Json bandwidth_json(const PortSpec& spec) {
  Json json = Json::object();
  const auto add = [&](const char* name, const Bandwidth& limit) {
    if (limit.rate != 0) json[name] = {{"rate", limit.rate}, {"burst", limit.burst}};
  };
  add("ingress", spec.ingress);
  add("egress", spec.egress);
  return json;
}

constexpr double kSecond = 1e9;

// What that share of the rounds that moved frames took at most, to a factor of two.
double microseconds_of(const WorkerTimes& times, double share) {
  constexpr double kMicrosecond = 1e3;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < times.rounds_by_length.size(); i++) {
    count += times.rounds_by_length[i];
    if (static_cast<double>(count) >= share * static_cast<double>(times.rounds))
      return static_cast<double>(WorkerTimes::longest_of(i)) / kMicrosecond;
  }
  return 0;
}

}  // namespace

Json Switch::sessions_json() const {
  if (keeper_ == nullptr) return Json::object();
  // The keeper waits for nobody, so that it answers at once.
  constexpr std::chrono::seconds kPatience{1};
  auto client = json_rpc::Client::connect(keeper_socket(config_), kPatience);
  if (!client) return Json::object();
  auto rows = client->call("sessions");
  Json by_port = Json::object();
  if (!rows || !rows->is_array()) return by_port;
  for (Json& row : *rows) {
    const std::string port = row.value("port", "");
    row.erase("port");
    row.erase("socket");
    by_port[port] = std::move(row);
  }
  return by_port;
}

Json Switch::ports_json() {
  Json rows = Json::array();
  const Json sessions = sessions_json();
  worker_->mailbox().run([&] {
    for (const auto& [id, attached] : ports_) {
      const VhostPort& port = *attached.port;
      Json row = counters_json(port.counters);
      row.update({{"port", id},
                  {"kind", "vhost-user"},
                  {"network", attached.spec.network},
                  {"workload", attached.spec.workload},
                  {"mac", attached.spec.mac.to_string()},
                  {"mtu", attached.spec.mtu},
                  {"socket", attached.spec.socket.string()},
                  {"state", state_name(port.state())},
                  {"policy", policy_state(attached.spec)},
                  {"pairs", port.pairs()},
                  {"features", port.features()}});
      if (Json limits = bandwidth_json(attached.spec); !limits.empty()) row["bandwidth"] = std::move(limits);
      std::string problem = attached.problem.empty() ? port.error() : attached.problem;
      if (const auto session = sessions.find(id); session != sessions.end()) {
        if (problem.empty()) problem = session->value("problem", "");
        if (session->value("state", "") == "refused") row["state"] = "refused";
        row["session"] = *session;
      }
      if (const std::string why = quarantine_of(attached); !why.empty()) {
        row["quarantined"] = why;
        row["quarantined_by"] = attached.quarantine.empty() ? "switch" : "operator";
        if (problem.empty()) problem = "quarantined: " + why;
      }
      row["quarantines"] = port.faults();
      if (!problem.empty()) row["problem"] = problem;
      rows.push_back(std::move(row));
    }
    for (const auto& [network, uplink] : uplinks_) {
      Json row = uplink.port ? counters_json(uplink.port->counters) : Json::object();
      row.update({{"port", uplink.tap},
                  {"kind", "uplink"},
                  {"network", network},
                  {"state", uplink.port && uplink.port->linked() ? "running" : "waiting"}});
      if (!uplink.problem.empty()) row["problem"] = uplink.problem;
      rows.push_back(std::move(row));
    }
  });
  return rows;
}

Json Switch::macs_json() {
  Json rows = Json::array();
  const std::uint64_t now = clock_ns();
  std::vector<Forwarder::MacView> macs;
  worker_->mailbox().run([&] { macs = worker_->forwarder().macs(now); });
  for (const Forwarder::MacView& view : macs) {
    Json row{{"mac", view.entry.mac.to_string()},
             {"network", view.network},
             {"port", view.port},
             {"kind", view.entry.fixed ? "fixed" : "learned"}};
    if (!view.entry.fixed) row["age_seconds"] = static_cast<double>(now - view.entry.seen) / kSecond;
    rows.push_back(std::move(row));
  }
  return rows;
}

Json Switch::stats_json() {
  WorkerTimes times;
  worker_->mailbox().run([&] { times = worker_->times(); });
  const unsigned free = rte_mempool_avail_count(pool_);
  return {{"worker",
           {{"busy_seconds", static_cast<double>(times.busy) / kSecond},
            {"spinning_seconds", static_cast<double>(times.spinning) / kSecond},
            {"blocked_seconds", static_cast<double>(times.blocked) / kSecond},
            {"wakes", times.wakes},
            {"rounds", times.rounds},
            {"round_p50_us", microseconds_of(times, 0.5)},
            {"round_p99_us", microseconds_of(times, 0.99)},
            {"spin_window_ns", times.window}}},
          {"ports", ports_.size()},
          {"uplinks", uplinks_.size()},
          {"policy_generation", policy_generation_},
          {"drained", drained_until_.has_value()},
          {"buffers", {{"size", pool_->size}, {"free", free}}}};
}

Result<Switch::Attached*> Switch::port_named(const Json& params) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const std::string name, reader.text("port"));
  std::vector<Attached*> found;
  for (auto& [id, attached] : ports_) {
    if (!name.empty() && id.starts_with(name)) found.push_back(&attached);
  }
  if (found.size() == 1) return found.front();
  return fail(found.empty() ? Code::kNotFound : Code::kConflict,
              found.empty()
                  ? "there is no port \"" + name + "\""
                  : "\"" + name + "\" is the beginning of " + std::to_string(found.size()) + " ports",
              "list them with: vmlanectl switch ports");
}

std::filesystem::path Switch::quarantine_file(const std::string& id) const {
  return config_.run_dir / "quarantine" / id;
}

std::string Switch::quarantine_of(const Attached& attached) {
  return attached.quarantine.empty() ? std::string(text_of(attached.port->fault())) : attached.quarantine;
}

// The switch's own quarantines end with the guest's driver, or when an operator says so; the next switch has
// its own eyes.
void Switch::tell_faults() {
  for (auto& [id, attached] : ports_) {
    const RingFault fault = attached.port->fault();
    if (fault == attached.told_fault) continue;
    attached.told_fault = fault;
    if (fault == RingFault::kNone) {
      log_.info("port released", {{"attachment", id}, {"by", "a reset of its driver"}});
    } else {
      log_.warning("port quarantined", {{"attachment", id}, {"reason", std::string(text_of(fault))}});
    }
  }
}

// What says so is a file, so that it holds for the next switch too.
Result<Json> Switch::quarantine(const Json& params) {
  VMLANE_ASSIGN(Attached* const attached, port_named(params));
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(std::string reason, reader.text("reason"));
  constexpr std::size_t kMost = 200;
  if (reason.empty() || reason.size() > kMost) return reader.wrong("reason", "a text of 1 to 200 bytes");
  const auto file = quarantine_file(attached->spec.id);
  VMLANE_TRY(make_directory(file.parent_path(), {.mode = 0750}));
  VMLANE_TRY(write_file_atomically(file, reason, {.mode = 0640}));
  attached->quarantine = std::move(reason);
  worker_->mailbox().run([&] { worker_->forwarder().quarantine(*attached->port, true); });
  log_.warning("port quarantined", {{"attachment", attached->spec.id}, {"reason", attached->quarantine}});
  return Json{{"port", attached->spec.id}, {"quarantined", attached->quarantine}};
}

Result<Json> Switch::release(const Json& params) {
  VMLANE_ASSIGN(Attached* const attached, port_named(params));
  if (quarantine_of(*attached).empty())
    return fail(Code::kNotFound, "port " + attached->spec.id + " is not in quarantine");
  VMLANE_TRY(remove_file(quarantine_file(attached->spec.id)));
  attached->quarantine.clear();
  attached->told_fault = RingFault::kNone;
  worker_->mailbox().run([&] {
    worker_->forwarder().quarantine(*attached->port, false);
    attached->port->forgive();
  });
  log_.info("port released", {{"attachment", attached->spec.id}});
  return Json{{"port", attached->spec.id}, {"quarantined", nullptr}};
}

// Null for all.
Result<const VhostPort*> Switch::port_if_named(const Json& params) {
  if (!params.contains("port")) return nullptr;
  VMLANE_ASSIGN(const Attached* const attached, port_named(params));
  return attached->port.get();
}

Result<Json> Switch::flush_flows(const Json& params) {
  VMLANE_ASSIGN(const VhostPort* const port, port_if_named(params));
  std::size_t flushed = 0;
  worker_->mailbox().run([&] { flushed = worker_->forwarder().flush_flows(port, clock_ns()); });
  log_.info("connections forgotten",
            {{"attachment", port == nullptr ? "all" : port->name()}, {"count", std::to_string(flushed)}});
  return Json{{"flushed", flushed}};
}

Result<Json> Switch::flows_json(const Json& params) {
  VMLANE_ASSIGN(const VhostPort* const port, port_if_named(params));
  std::vector<PolicyGate::Flow> flows;
  worker_->mailbox().run([&] { flows = worker_->forwarder().flows(port, clock_ns()); });
  return policy_log_.flows(flows);
}

Json Switch::drops_json() {
  Json rows = Json::array();
  const auto add = [&](const std::string& name, const std::string& network, const PortCounters& counters) {
    for (std::size_t i = 1; i < kDropReasons; i++) {
      if (counters.dropped[i] == 0) continue;
      rows.push_back(
          {{"port", name}, {"network", network}, {"reason", kDropNames[i]}, {"frames", counters.dropped[i]}});
    }
  };
  worker_->mailbox().run([&] {
    for (const auto& [id, attached] : ports_) add(id, attached.spec.network, attached.port->counters);
    for (const auto& [network, uplink] : uplinks_) {
      if (uplink.port) add(uplink.tap, network, uplink.port->counters);
    }
  });
  return rows;
}

}  // namespace vmlane::dataplane
