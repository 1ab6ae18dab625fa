// SPDX-License-Identifier: Apache-2.0
#include "perf/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "perf/text_table.h"

namespace vmlane::perf {
namespace {

constexpr double kConfidence = 0.99;
constexpr double kLeastChange = 0.05;
constexpr std::size_t kLeastObservations = 5;

std::size_t count(const Epochs& epochs) {
  std::size_t sum = 0;
  for (const auto& epoch : epochs) sum += epoch.size();
  return sum;
}

Verdict judge(const Estimate& factor, bool higher_is_better) {
  const bool sure = factor.low > 1 || factor.high < 1;
  if (!sure || std::abs(factor.median - 1) < kLeastChange) return Verdict::kSame;
  return (factor.median > 1) == higher_is_better ? Verdict::kBetter : Verdict::kWorse;
}

void add(Comparison& comparison, const LaneResult& lane, const std::string& quantity, const Epochs& before,
         const Epochs& after, bool higher_is_better) {
  if (count(before) == 0 || count(after) == 0) return;
  Change change{.lane = lane.name,
                .guest = lane.guest,
                .quantity = quantity,
                .before = bootstrap(before).median,
                .after = bootstrap(after).median,
                .factor = bootstrap_ratio(before, after, kConfidence)};
  if (change.before == 0 && change.after == 0) change.factor = {1, 1, 1};
  if (std::min(count(before), count(after)) < kLeastObservations)
    change.verdict = Verdict::kTooFew;
  else if (change.before == 0 && change.after != 0)
    change.verdict = Verdict::kNoFactor;
  else
    change.verdict = judge(change.factor, higher_is_better);
  comparison.changes.push_back(std::move(change));
}

void add_lane(Comparison& comparison, const LaneResult& before, const LaneResult& after) {
  if (!before.rtt.empty() && !after.rtt.empty())
    add(comparison, before, "round trip, p50 to container's", before.rtt.front().p50_ratio,
        after.rtt.front().p50_ratio, false);
  for (const SeriesInfo& info : kSeries) {
    const auto a = before.series.find(info.key);
    const auto b = after.series.find(info.key);
    if (a == before.series.end() || b == after.series.end()) continue;
    add(comparison, before, std::string(info.title) + " to container's", a->second.ratio, b->second.ratio,
        info.higher_is_better);
  }
}

bool measured(const LaneResult& lane) {
  return !lane.rtt.empty();
}

const LaneResult* find(const RunResult& result, const LaneResult& like) {
  const auto found = std::ranges::find_if(result.lanes, [&](const LaneResult& lane) {
    return lane.name == like.name && lane.guest == like.guest;
  });
  return found == result.lanes.end() ? nullptr : &*found;
}

std::string title(const LaneResult& lane) {
  return lane.name + " (" + lane.guest + ")";
}

// ": skipped, no such NIC" of a lane that is in a result and was not measured, nothing of one that is not in
// it.
std::string why_not(const LaneResult* lane) {
  return lane == nullptr ? std::string() : ": " + lane->status + ", " + lane->reason;
}

// A lane that broke off has figures all the same, of fewer set-ups than the other side's.
void tell_incomplete(Comparison& comparison, const std::string& which, const LaneResult& lane) {
  if (lane.status != "ok")
    comparison.notes.push_back(title(lane) + " was not measured wholly " + which + why_not(&lane));
}

void compare_texts(Comparison& comparison, const std::string& what,
                   const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
  std::map<std::string, std::string> keys = a;
  keys.insert(b.begin(), b.end());
  const auto value = [](const auto& map, const std::string& key) {
    const auto found = map.find(key);
    return found == map.end() ? std::string("not told") : found->second;
  };
  for (const auto& [key, unused] : keys) {
    if (value(a, key) != value(b, key))
      comparison.warnings.push_back(what + " \"" + key + "\" differs: " + value(a, key) + " before, " +
                                    value(b, key) + " after");
  }
}

void warn_about(Comparison& comparison, const std::string& which, const RunResult& result) {
  if (result.status != "complete")
    comparison.warnings.push_back("the run " + which + " is partial: " + result.reason);
  if (result.noise.verdict == "quiet") return;
  std::string why;
  for (const std::string& reason : result.noise.reasons) why += (why.empty() ? "" : "; ") + reason;
  comparison.warnings.push_back("the run " + which + " is " + result.noise.verdict + ": " + why);
}

std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string percent(double factor) {
  const double change = 100 * (factor - 1);
  return (change >= 0 ? "+" : "") + fixed(change, 1) + " %";
}

std::string verdict_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::kSame:
      return "same";
    case Verdict::kBetter:
      return "BETTER";
    case Verdict::kWorse:
      return "WORSE";
    case Verdict::kTooFew:
      return "too few to tell";
    case Verdict::kNoFactor:
      return "was 0, cannot be told";
  }
  return "";
}

}  // namespace

bool Comparison::worse() const {
  return std::ranges::any_of(changes, [](const Change& change) { return change.verdict == Verdict::kWorse; });
}

Comparison compare(const RunResult& before, const RunResult& after) {
  Comparison comparison;
  warn_about(comparison, "before", before);
  warn_about(comparison, "after", after);
  compare_texts(comparison, "machine", before.machine, after.machine);
  compare_texts(comparison, "setting", before.settings, after.settings);
  for (const LaneResult& lane : before.lanes) {
    const LaneResult* other = find(after, lane);
    const bool there = other != nullptr && measured(*other);
    if (measured(lane) && there) {
      if (lane.name != kYardstick) add_lane(comparison, lane, *other);
      tell_incomplete(comparison, "before", lane);
      tell_incomplete(comparison, "after", *other);
    } else if (measured(lane)) {
      comparison.notes.push_back(title(lane) + " was measured before only" + why_not(other));
    } else if (!there) {
      comparison.notes.push_back(title(lane) + " was measured in neither" + why_not(&lane));
    }
  }
  for (const LaneResult& lane : after.lanes) {
    const LaneResult* other = find(before, lane);
    if (measured(lane) && (other == nullptr || !measured(*other)))
      comparison.notes.push_back(title(lane) + " was measured after only" + why_not(other));
    if (!measured(lane) && other == nullptr)
      comparison.notes.push_back(title(lane) + " was measured in neither" + why_not(&lane));
  }
  return comparison;
}

std::string render_comparison(const Comparison& comparison) {
  std::string text;
  for (const std::string& warning : comparison.warnings) text += "warning: " + warning + "\n";
  for (const std::string& note : comparison.notes) text += "note: " + note + "\n";
  TextTable table({"LANE", "GUEST", "QUANTITY", "BEFORE", "AFTER", "CHANGE", "99 % INTERVAL", "VERDICT"});
  for (const Change& change : comparison.changes) {
    const bool none = change.verdict == Verdict::kNoFactor;
    table.add({change.lane, change.guest, change.quantity, fixed(change.before, 3), fixed(change.after, 3),
               none ? "" : percent(change.factor.median),
               none ? "" : percent(change.factor.low) + " to " + percent(change.factor.high),
               verdict_text(change.verdict)});
  }
  text += table.text();
  if (comparison.changes.empty()) return text + "Nothing can be compared: no lane was measured in both.\n";
  return text + (comparison.worse() ? "Something got worse.\n" : "Nothing got worse.\n");
}

}  // namespace vmlane::perf
