// SPDX-License-Identifier: Apache-2.0
#include "keeper/supervisor.h"

#include <algorithm>
#include <utility>

#include "core/switch_words.h"

namespace vmlane::keeper {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{50};
constexpr milliseconds kLongestPause{5000};
// A switch that forwarded for so long is started again at once when it ends.
constexpr auto kProven = std::chrono::seconds(10);
// A switch that does not say that it is drained is replaced all the same.
constexpr milliseconds kDrainPatience{500};
// The machine's CPUs are for the guests first, when a switch has just taken over.
constexpr milliseconds kStandbyDelay{200};
// For everything between its start and its first frame. Huge pages take a while to be zeroed.
constexpr milliseconds kStartPatience{30000};

}  // namespace

Result<> Supervisor::start(Clock::time_point now) {
  gap_ = now;
  VMLANE_ASSIGN(SwitchProcess process, SwitchProcess::start(command_));
  active_.emplace(std::move(process));
  enter(Phase::kWarming, now);
  return {};
}

void Supervisor::append_wanted(std::vector<pollfd>& wanted) const {
  for (const auto* process : {&active_, &standby_}) {
    if (!*process) continue;
    wanted.push_back({.fd = (*process)->link(), .events = POLLIN, .revents = 0});
    wanted.push_back({.fd = (*process)->end(), .events = POLLIN, .revents = 0});
  }
  for (const SwitchProcess& process : retired_)
    wanted.push_back({.fd = process.end(), .events = POLLIN, .revents = 0});
}

std::optional<Clock::time_point> Supervisor::due() const {
  if (phase_ == Phase::kDraining) return entered_ + kDrainPatience;
  if (active_ && phase_ != Phase::kForwarding) return entered_ + kStartPatience;
  const bool wants_active = !active_;
  const bool wants_standby =
      !standby_ && phase_ == Phase::kForwarding && (standby_wanted_ || restart_wanted_);
  if (wants_active || wants_standby) return not_before_;
  return std::nullopt;
}

void Supervisor::step(Clock::time_point now) {
  if (active_) hear_active(now);
  if (standby_) hear_standby();
  reap(now);
  step_restart(now);
  const bool starts = active_ && phase_ != Phase::kForwarding && phase_ != Phase::kDraining;
  if (starts && now - entered_ >= kStartPatience) {
    kill_active("it does not come to forwarding frames");
    entered_ = now;
  }
  if (!active_ && standby_ && standby_warm_) take_over(now);
  if (!active_ && standby_ && !standby_warm_) {
    // It is on its way already.
    active_ = std::move(standby_);
    standby_.reset();
    enter(Phase::kWarming, now);
    told_to_go_ = false;
  }
  if (now < not_before_) return;
  if (!active_) {
    auto started = SwitchProcess::start(command_);
    if (started) {
      active_.emplace(std::move(*started));
      enter(Phase::kWarming, now);
      told_to_go_ = false;
      return;
    }
    log_.error("the switch cannot be started", {{"error", started.error().text()}});
    last_end_ = started.error().text();
    pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
    not_before_ = now + pause_;
  }
  if (!standby_ && phase_ == Phase::kForwarding && (standby_wanted_ || restart_wanted_)) spawn_standby(now);
}

void Supervisor::spawn_standby(Clock::time_point now) {
  auto started = SwitchProcess::start(command_);
  standby_warm_ = false;
  if (started) {
    standby_.emplace(std::move(*started));
    standby_fresh_ = restart_wanted_;
    return;
  }
  log_.error("a stand-by switch cannot be started", {{"error", started.error().text()}});
  not_before_ = now + kLongestPause;
}

void Supervisor::hear_active(Clock::time_point now) {
  for (std::string word = active_->hear(); !word.empty(); word = active_->hear()) {
    if (word == switch_words::kWarm && phase_ == Phase::kWarming) {
      active_->say(switch_words::kGo);
      told_to_go_ = true;
      enter(Phase::kTakingOver, now);
    } else if (word == switch_words::kConnected && phase_ == Phase::kTakingOver) {
      enter(Phase::kConnected, now);
    } else if (word == switch_words::kForwarding && phase_ == Phase::kStarting) {
      enter(Phase::kForwarding, now);
      if (gap_) last_gap_ = std::chrono::duration_cast<std::chrono::microseconds>(now - *gap_);
      gap_.reset();
      not_before_ = std::max(not_before_, now + kStandbyDelay);
      log_.info("the switch forwards",
                {{"pid", std::to_string(active_->pid())}, {"gap_us", std::to_string(last_gap_.count())}});
    } else if (word == switch_words::kDrained && phase_ == Phase::kDraining) {
      take_over(now);
      return;
    }
  }
}

void Supervisor::hear_standby() {
  for (std::string word = standby_->hear(); !word.empty(); word = standby_->hear()) {
    if (word == switch_words::kWarm) standby_warm_ = true;
  }
}

void Supervisor::enter(Phase phase, Clock::time_point now) {
  phase_ = phase;
  entered_ = now;
}

void Supervisor::reap(Clock::time_point now) {
  std::erase_if(retired_, [](SwitchProcess& process) { return !process.reap().empty(); });
  if (standby_) {
    if (const std::string end = standby_->reap(); !end.empty()) {
      log_.error("the stand-by switch ended", {{"by", end}});
      standby_.reset();
      pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
      not_before_ = now + pause_;
    }
  }
  if (!active_) return;
  const std::string end = active_->reap();
  if (end.empty()) return;
  log_.error("the switch ended", {{"by", end}});
  last_end_ = end;
  deaths_++;
  const bool proven = phase_ == Phase::kForwarding && now - entered_ >= kProven;
  pause_ = proven ? milliseconds(0) : std::clamp(2 * pause_, kFirstPause, kLongestPause);
  // What is warm already costs nothing to try.
  not_before_ = now + pause_;
  active_.reset();
  told_to_go_ = false;
  enter(Phase::kNone, now);
  if (!gap_) gap_ = now;
}

// First a fresh switch is made ready beside the one that forwards; only then that one is stopped.
void Supervisor::step_restart(Clock::time_point now) {
  if (!restart_wanted_ || !active_) return;
  if (phase_ == Phase::kDraining) {
    if (now - entered_ >= kDrainPatience) take_over(now);
    return;
  }
  if (phase_ != Phase::kForwarding) return;
  if (standby_ && !standby_fresh_) {
    standby_->kill();
    retired_.push_back(std::move(*standby_));
    standby_.reset();
    not_before_ = now;
  }
  if (!standby_ || !standby_warm_) return;
  gap_ = now;
  enter(Phase::kDraining, now);
  active_->say(switch_words::kDrain);
}

void Supervisor::take_over(Clock::time_point now) {
  if (!standby_ || !standby_warm_) {
    // It died while the other one drained; that one forwards no more.
    if (active_) active_->kill();
    return;
  }
  if (standby_fresh_) {
    restarts_++;
    restart_wanted_ = false;
  }
  // Told before the one that is drained is killed, which takes its time.
  standby_->say(switch_words::kGo);
  if (active_) {
    active_->kill();
    retired_.push_back(std::move(*active_));
  }
  active_ = std::move(standby_);
  standby_.reset();
  standby_warm_ = false;
  told_to_go_ = true;
  enter(Phase::kTakingOver, now);
}

void Supervisor::sessions_settled(Clock::time_point now) {
  active_->say(switch_words::kForward);
  enter(Phase::kStarting, now);
}

void Supervisor::kill_active(const std::string& why) {
  log_.error("the switch is killed", {{"reason", why}});
  active_->kill();
}

Json Supervisor::to_json() const {
  Json json{{"state", forwarding() ? "forwarding" : "starting"},
            {"deaths", deaths_},
            {"restarts", restarts_},
            {"standby", standby_ ? (standby_warm_ ? "warm" : "starting") : "none"},
            {"last_gap_seconds", static_cast<double>(last_gap_.count()) / 1e6}};
  if (active_) json["pid"] = active_->pid();
  if (!last_end_.empty()) json["last_end"] = last_end_;
  return json;
}

}  // namespace vmlane::keeper
