// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "core/json_rpc_server.h"
#include "core/log.h"
#include "core/node_config.h"
#include "dataplane/directory_watch.h"
#include "dataplane/memory.h"
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
// The switch learns of attachments from their records and nowhere else, so that it may be started, killed and
// started again at any time: what it has is what the records say. A guest that was connected before is
// connected again as soon as its socket takes the connection.
namespace vmlane::dataplane {

struct SwitchOptions {
  MemoryOptions memory;
  WorkerOptions worker;
};

class Switch {
 public:
  static Result<std::unique_ptr<Switch>> create(const NodeConfig& config, const SwitchOptions& options,
                                                const Log& log);
  ~Switch();
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  // Serves until `stop`, a descriptor, is ready to be read.
  Result<> run(int stop);

 private:
  using Clock = std::chrono::steady_clock;

  struct Attached {
    PortSpec spec;
    std::unique_ptr<VhostPort> port;
    std::string problem;                   // why it is not as its record asks
    std::chrono::milliseconds pause{};     // before the next try to connect
    std::optional<Clock::time_point> due;  // of that
  };
  struct Uplink {
    std::string tap;
    std::unique_ptr<UplinkPort> port;  // null while it cannot be opened
    std::string problem;
  };

  Switch(const NodeConfig& config, const Log& log, rte_mempool* pool, std::string boot_id,
         DirectoryWatch watch);
  Result<> start(const SwitchOptions& options);
  json_rpc::Server::Methods methods();

  // Brings ports and uplinks in line with the records.
  void resync();
  void attach(PortSpec spec);
  void detach(const std::string& id);
  void resync_uplinks();
  void open_uplink(const std::string& network, Uplink& uplink);
  void close_uplink(Uplink& uplink);

  void connect(Attached& attached);
  void look_again();
  void tell_changed() const;
  void connect_in(const std::set<std::filesystem::path>& directories);
  void connect_due();
  // Until something is to be tried again, in milliseconds; -1 for nothing.
  int next_try() const;

  Json ports_json();
  Json macs_json();
  Json stats_json();
  Json drops_json();

  const NodeConfig& config_;
  const Log& log_;
  rte_mempool* const pool_;
  const std::string boot_id_;
  Fd epoll_;
  Fd changed_;  // an event descriptor: a connection or an uplink came or went
  DirectoryWatch watch_;
  std::optional<json_rpc::Server> server_;
  std::unique_ptr<Worker> worker_;
  std::map<std::string, Attached> ports_;  // by attachment id
  std::map<std::string, Uplink> uplinks_;  // by network
  std::set<std::string> problems_;         // of records, as they were last told
  Clock::time_point next_check_{};         // of uplinks and directories that are missing
};

}  // namespace vmlane::dataplane
