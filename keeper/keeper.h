// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/directory_watch.h"
#include "core/error.h"
#include "core/json.h"
#include "core/json_rpc_server.h"
#include "core/log.h"
#include "core/node_config.h"
#include "keeper/relay.h"
#include "keeper/supervisor.h"

// What lets vmlane-switch be killed, and replaced, without a guest seeing it (contracts.md 6.1): it holds the
// connections to QEMU that the switch would have, knows what was said over them, and says it again to the
// next switch, which it has ready.
//
//   records (inotify) --> Keeper --+-- Relay, one a port:   QEMU <-> keeper <-> switch
//                                  +-- Supervisor:          the switch that forwards, and one that is warm
//
// One thread, which waits in poll() and nowhere else. It never sees a frame and maps no guest's memory.
namespace vmlane::keeper {

struct KeeperOptions {
  std::vector<std::string> switch_command;  // program and arguments
  bool standby = true;
};

class Keeper {
 public:
  static Result<std::unique_ptr<Keeper>> create(const NodeConfig& config, const KeeperOptions& options,
                                                const Log& log);
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Serves until `stop`, a descriptor, is ready to be read. `ready` is called when the first switch forwards.
  Result<> run(int stop, const std::function<void()>& ready);

 private:
  struct Port {
    std::unique_ptr<Relay> relay;
    std::string told_problem;              // as it was last logged
    std::chrono::milliseconds pause{};     // before the next try to connect
    std::optional<Clock::time_point> due;  // of that
    Clock::time_point begun{};             // the session that is, or was
  };

  Keeper(const NodeConfig& config, const KeeperOptions& options, const Log& log, std::string boot_id,
         DirectoryWatch watch);
  Result<> start();
  json_rpc::Server::Methods methods();
  Json sessions_json() const;

  // Brings ports in line with the records.
  void resync();
  void add(const std::string& id, const std::filesystem::path& socket);
  void remove(const std::string& id);
  void connect(const std::string& id, Port& port);
  void connect_due();
  void look_into(const std::set<std::filesystem::path>& directories);
  void step_ports();
  void watch_over_switch();
  int next_due() const;

  const NodeConfig& config_;
  const Log& log_;
  const std::string boot_id_;
  DirectoryWatch watch_;
  Supervisor supervisor_;
  std::optional<json_rpc::Server> server_;
  std::map<std::string, Port> ports_;  // by attachment id
  std::set<std::string> problems_;     // of records, as they were last told
  Clock::time_point now_{};
  Clock::time_point next_check_{};  // of a directory that is missing
};

}  // namespace vmlane::keeper
