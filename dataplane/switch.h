// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/client_metric.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "core/directory_watch.h"
#include "core/error.h"
#include "core/json.h"
#include "core/json_rpc_server.h"
#include "core/log.h"
#include "core/node_config.h"
#include "dataplane/keeper_link.h"
#include "dataplane/metrics_server.h"
#include "dataplane/policy_log.h"
#include "dataplane/port_spec.h"
#include "dataplane/uplink_port.h"
#include "dataplane/vhost_port.h"
#include "dataplane/worker.h"

// The vhost-user switch: VMs on one network, and the network's kernel bridge, joined in user space. The only
// room that includes DPDK.
//
//   records (inotify) --> Switch (control thread) --> Worker (mailbox) --> frames
//   QEMU's socket <------ VhostPort (lib/vhost) ----/          \---------> UplinkPort (tap in the bridge)
//
// With vmlane-keeper, which starts it then, QEMU's sockets are the keeper's, and the switch has one of the
// keeper's for each.
//
// The switch learns of attachments from their records and nowhere else, so that it may be started, killed and
// started again at any time: what it has is what the records say. A guest that was connected before is
// connected again as soon as its socket takes the connection.
namespace vmlane::dataplane {

struct SwitchOptions {
  WorkerOptions worker;
  std::string metrics;  // where they are given over HTTP, as MetricsServer::parse() has it; empty: nowhere
};

class Switch {
 public:
  // With a keeper (null: none) it connects to that one's sockets in the place of QEMU's, and forwards when it
  // is told to. `pool` is from start_memory().
  static Result<std::unique_ptr<Switch>> create(const NodeConfig& config, const SwitchOptions& options,
                                                rte_mempool* pool, const KeeperLink* keeper, const Log& log);
  ~Switch();
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  // Serves until `stop`, a descriptor, is ready to be read.
  Result<> run(int stop);

 private:
  using Clock = std::chrono::steady_clock;

  // An operator who goes away leaves no node in the dark.
  static constexpr std::chrono::seconds kDrain{60};
  static constexpr std::chrono::seconds kLongestDrain{3600};

  struct Attached {
    PortSpec spec;
    std::unique_ptr<VhostPort> port;
    std::string problem;                      // why it is not as its record asks
    std::string quarantine;                   // why an operator took it out of service; empty: nobody did
    RingFault told_fault = RingFault::kNone;  // why the switch itself did, as it was last told
    std::chrono::milliseconds pause{};        // before the next try to connect
    std::optional<Clock::time_point> due;     // of that
  };
  // A guest's place is told more than once: frames get lost, and what is on the way to the guest takes a
  // while to learn.
  struct Announcing {
    MacAddress mac;
    unsigned told = 0;  // how often
    Clock::time_point due;
  };
  struct Uplink {
    std::string tap;
    std::unique_ptr<UplinkPort> port;  // null while it cannot be opened
    std::string problem;
  };

  Switch(const NodeConfig& config, const Log& log, rte_mempool* pool, const KeeperLink* keeper,
         std::string boot_id, DirectoryWatch watch);
  Result<> start(const SwitchOptions& options);
  // What the keeper says; false when it says that this switch is to do nothing more.
  bool obey_keeper();
  std::filesystem::path socket_of(const PortSpec& spec) const;
  json_rpc::Server::Methods methods();

  void load_policy();
  void collect_policy();
  // Brings ports and uplinks in line with the records.
  void resync();
  void attach(PortSpec spec);
  void detach(const std::string& id);
  void resync_uplinks();
  void open_uplink(const std::string& network, Uplink& uplink);
  void close_uplink(Uplink& uplink);

  // From lib/vhost's thread.
  void announce(const std::string& id, VhostPort& port, const MacAddress& mac);
  void announce_again();

  void connect(Attached& attached);
  void look_again();
  void tell_changed() const;
  void connect_in(const std::set<std::filesystem::path>& directories);
  void connect_due();
  // Until something is to be tried again, in milliseconds; -1 for nothing.
  int next_try();

  Json ports_json();
  // By attachment id, as the keeper tells; empty without one.
  Json sessions_json() const;
  Json macs_json();
  Json stats_json();
  Json drops_json();
  Result<Json> flows_json(const Json& params);
  Result<Json> flush_flows(const Json& params);
  Result<const VhostPort*> port_if_named(const Json& params);
  // The port that a call is about, by `port`: an attachment id or the beginning of one.
  Result<Attached*> port_named(const Json& params);
  Result<Json> quarantine(const Json& params);
  Result<Json> start_capture(const Json& params, uid_t caller);
  Result<Json> read_capture(const Json& params);
  struct TracedPort {
    Port* port = nullptr;
    const PortSpec* spec = nullptr;  // null of an uplink
    std::string network;
  };
  Result<TracedPort> traced_port(ObjectReader& reader, const Json& params);
  Result<std::vector<std::uint8_t>> crafted(const FrameMatch& wanted, const TracedPort& from) const;
  Result<Json> trace(const Json& params, uid_t caller);
  Result<Json> start_trace(const Json& params, uid_t caller);
  Result<Json> read_trace(const Json& params);
  void hold();
  Result<Json> drain(const Json& params, uid_t caller);
  Result<Json> resume();
  void end_drain(const std::string& by);
  std::vector<prometheus::MetricFamily> metrics();
  prometheus::ClientMetric::Histogram round_histogram();
  Json metrics_json();
  void serve_metrics();
  void end_metrics();
  Result<Json> release(const Json& params);
  static std::string quarantine_of(const Attached& attached);
  void tell_faults();
  std::filesystem::path quarantine_file(const std::string& id) const;

  const NodeConfig& config_;
  const Log& log_;
  rte_mempool* const pool_;
  const KeeperLink* const keeper_;
  const std::string boot_id_;
  Fd epoll_;
  Fd changed_;  // an event descriptor: a connection or an uplink came or went
  DirectoryWatch watch_;
  std::optional<json_rpc::Server> server_;
  std::unique_ptr<Worker> worker_;
  std::map<std::string, Attached> ports_;  // by attachment id
  std::map<std::string, Uplink> uplinks_;  // by network
  std::set<std::string> problems_;         // of records, as they were last told
  std::uint64_t policy_generation_ = 0;    // of the tables in use
  std::string policy_problem_;
  std::string metrics_address_;
  std::string metrics_problem_;
  std::unique_ptr<Mailbox> errands_;  // of the threads that give metrics
  std::unique_ptr<MetricsServer> metrics_server_;
  PolicyLog policy_log_;
  std::mutex announcing_mutex_;
  std::map<std::string, Announcing> announcing_;  // by attachment id
  bool waits_for_keeper_ = false;                 // it has not said that frames are to be moved, or no longer
  std::optional<Clock::time_point> drained_until_;  // an operator has no frames taken until then
  Clock::time_point next_check_{};                  // of uplinks and directories that are missing
};

}  // namespace vmlane::dataplane
