// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "keeper/switch_process.h"

namespace vmlane::keeper {

using Clock = std::chrono::steady_clock;

// Keeps one switch forwarding, and beside it, if wanted, one that has only to be told: starting DPDK takes a
// hundred times longer than what follows. Nothing here waits.
class Supervisor {
 public:
  // `standby`: a second switch is kept warm.
  Supervisor(std::vector<std::string> command, bool standby, const Log& log)
      : command_(std::move(command)), standby_wanted_(standby), log_(log) {}

  // Ends all of them.
  ~Supervisor() {
    if (active_) active_->stop();
  }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // An error is that of the first start, which will not get better by itself.
  Result<> start(Clock::time_point now);

  void append_wanted(std::vector<pollfd>& wanted) const;
  // Until step() has something to do by the clock.
  std::optional<Clock::time_point> due() const;
  void step(Clock::time_point now);

  // The process that sessions are for: the one that was told to take over. -1: none.
  pid_t active() const { return active_ && told_to_go_ ? active_->pid() : -1; }
  bool forwarding() const { return phase_ == Phase::kForwarding; }
  // Of the active switch: it has connected to what it knows, and waits for all sessions.
  bool awaits_sessions() const { return phase_ == Phase::kConnected; }
  void sessions_settled(Clock::time_point now);

  // Replaces the active switch by one that is started from the program as it is on disk now.
  void restart() { restart_wanted_ = true; }
  // As a crash: for a switch that does not answer.
  void kill_active(const std::string& why);

  Json to_json() const;

 private:
  enum class Phase { kNone, kWarming, kTakingOver, kConnected, kStarting, kForwarding, kDraining };

  void spawn_standby(Clock::time_point now);
  void enter(Phase phase, Clock::time_point now);
  void take_over(Clock::time_point now);
  void hear_active(Clock::time_point now);
  void hear_standby();
  void reap(Clock::time_point now);
  void step_restart(Clock::time_point now);

  const std::vector<std::string> command_;
  const bool standby_wanted_;
  const Log& log_;

  std::optional<SwitchProcess> active_;
  Phase phase_ = Phase::kNone;
  Clock::time_point entered_{};  // that phase
  bool told_to_go_ = false;
  std::optional<SwitchProcess> standby_;
  bool standby_warm_ = false;
  bool standby_fresh_ = false;  // started for the restart that is wanted
  bool restart_wanted_ = false;
  std::vector<SwitchProcess> retired_;  // killed, and not gone yet

  std::chrono::milliseconds pause_{};
  Clock::time_point not_before_{};        // the next start
  std::optional<Clock::time_point> gap_;  // since when nothing is forwarded
  std::chrono::microseconds last_gap_{};
  std::uint64_t deaths_ = 0;
  std::uint64_t restarts_ = 0;
  std::string last_end_;
};

}  // namespace vmlane::keeper
