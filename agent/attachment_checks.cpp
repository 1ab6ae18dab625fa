// SPDX-License-Identifier: Apache-2.0
#include "agent/attachment_checks.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "cni/recorded_call.h"

namespace vmlane::agent {
namespace {

using std::chrono::milliseconds;

// A CHECK takes some milliseconds; one that takes this long has its cause for a problem.
constexpr std::chrono::seconds kPatience{30};
// Before what failed is tried again, to tell a moment's disorder from a fault.
constexpr std::chrono::seconds kSecondLook{2};
// However many attachments there are, they leave the node time for other things.
constexpr milliseconds kLeastPause{20};

bool has_ended(const RunningPlugin& plugin) {
  pollfd fd{.fd = plugin.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) > 0;
}

}  // namespace

AttachmentChecks::AttachmentChecks(std::string boot_id, Environment env, milliseconds interval)
    : boot_id_(std::move(boot_id)), env_(std::move(env)), interval_(interval) {}

bool AttachmentChecks::is_meant(const AttachmentRecord& record) const {
  return record.state == RecordState::kDone && record.boot_id == boot_id_;
}

void AttachmentChecks::update(Clock::time_point now, const Records& records) {
  if (interval_.count() == 0) return;
  if (due_ == Clock::time_point{}) due_ = now + interval_;  // after a start there is more urgent work
  if (running_ && (has_ended(running_->plugin) || now >= running_->deadline)) take_outcome(now);
  std::erase_if(failures_, [&](const auto& failure) {
    const auto record = records.find(failure.first);
    return record == records.end() || record->second.created != failure.second.created ||
           !is_meant(record->second);
  });
  if (running_) return;
  if (const AttachmentRecord* record = choose(now, records)) start(now, *record);
}

const AttachmentRecord* AttachmentChecks::choose(Clock::time_point now, const Records& records) {
  for (const auto& [id, failure] : failures_) {
    if (failure.again <= now) return &records.at(id);
  }
  if (now < due_) return nullptr;
  const auto count = static_cast<milliseconds::rep>(std::max<std::size_t>(records.size(), 1));
  due_ = now + std::max(interval_ / count, kLeastPause);
  auto next = records.upper_bound(last_);
  if (next == records.end()) next = records.begin();
  if (next == records.end()) return nullptr;
  last_ = next->first;
  return is_meant(next->second) ? &next->second : nullptr;
}

void AttachmentChecks::start(Clock::time_point now, const AttachmentRecord& record) {
  const std::string id = record.key.id();
  done_++;
  const auto call = cni::recorded_check(env_, record);
  if (!call) return note_failure(now, id, record.created, call.error());
  auto plugin = RunningPlugin::start(call->program, call->env, call->input);
  if (!plugin) return note_failure(now, id, record.created, plugin.error());
  running_.emplace(Running{id, record.created, std::move(*plugin), now + kPatience});
}

void AttachmentChecks::take_outcome(Clock::time_point now) {
  Running running = std::move(*running_);
  running_.reset();
  if (!has_ended(running.plugin)) {
    return note_failure(
        now, running.id, running.created,
        {Code::kTryAgain, "CHECK did not end within " + std::to_string(kPatience.count()) + " s",
         "it was killed", nullptr});
  }
  const auto outcome = running.plugin.finish();
  if (outcome)
    failures_.erase(running.id);
  else
    note_failure(now, running.id, running.created, outcome.error());
}

void AttachmentChecks::note_failure(Clock::time_point now, const std::string& id, const std::string& created,
                                    Error error) {
  const auto before = failures_.find(id);
  const bool told = before != failures_.end() && before->second.created == created;
  // What is known to be wrong is looked at at the pace of the others.
  failures_.insert_or_assign(
      id, Failure{created, std::move(error), told, now + (told ? interval_ : milliseconds(kSecondLook))});
}

AttachmentChecks::Clock::time_point AttachmentChecks::next() const {
  if (interval_.count() == 0) return Clock::time_point::max();
  if (running_) return running_->deadline;
  Clock::time_point next = due_;
  for (const auto& [id, failure] : failures_) next = std::min(next, failure.again);
  return next;
}

std::vector<Error> AttachmentChecks::problems() const {
  std::vector<Error> problems;
  for (const auto& [id, failure] : failures_) {
    if (failure.told)
      problems.push_back(failure.error.wrap("attachment " + id + " is not as ADD has made it"));
  }
  return problems;
}

Json AttachmentChecks::status() const {
  const auto wrong = std::ranges::count_if(failures_, [](const auto& entry) { return entry.second.told; });
  return {{"interval", std::chrono::duration<double>(interval_).count()}, {"done", done_}, {"wrong", wrong}};
}

}  // namespace vmlane::agent
