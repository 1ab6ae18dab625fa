// SPDX-License-Identifier: Apache-2.0
#include "perf/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "perf/terminal.h"
#include "perf/text_table.h"

namespace vmlane::perf {
namespace {

constexpr double kLeastChange = 0.05;
constexpr std::size_t kLeastEpochs = 3;
// For all quantities of a comparison together.
constexpr double kWrongOnce = 0.05;

// A quantity that both runs have.
struct Quantity {
  const LaneResult* lane = nullptr;
  std::string title;
  const Epochs* before = nullptr;
  const Epochs* after = nullptr;
  bool higher_is_better = false;
};

std::size_t count(const Epochs& epochs) {
  return static_cast<std::size_t>(
      std::ranges::count_if(epochs, [](const auto& epoch) { return !epoch.empty(); }));
}

bool enough(const Quantity& quantity) {
  return std::min(count(*quantity.before), count(*quantity.after)) >= kLeastEpochs;
}

Verdict judge(const Estimate& factor, bool higher_is_better) {
  const bool sure = factor.low > 1 || factor.high < 1;
  if (!sure || std::abs(factor.median - 1) < kLeastChange) return Verdict::kSame;
  return (factor.median > 1) == higher_is_better ? Verdict::kBetter : Verdict::kWorse;
}

Change change_of(const Quantity& quantity, double confidence) {
  Change change{.lane = quantity.lane->name,
                .guest = quantity.lane->guest,
                .quantity = quantity.title,
                .before = overall_median(*quantity.before),
                .after = overall_median(*quantity.after)};
  change.factor = factor_between(*quantity.before, *quantity.after, confidence);
  if (change.before == 0 && change.after == 0) change.factor = Estimate{1, 1, 1};
  if (!enough(quantity))
    change.verdict = Verdict::kTooFew;
  else if (!change.factor)
    change.verdict = Verdict::kNoFactor;
  else
    change.verdict = judge(*change.factor, quantity.higher_is_better);
  return change;
}

void collect(std::vector<Quantity>& quantities, const LaneResult& before, const LaneResult& after) {
  const auto add = [&](const std::string& title, const Epochs& a, const Epochs& b, bool higher_is_better) {
    if (count(a) > 0 && count(b) > 0)
      quantities.push_back({&before, title + " to container's", &a, &b, higher_is_better});
  };
  add("round trip, p50", before.rtt.front().p50_ratio, after.rtt.front().p50_ratio, false);
  for (const SeriesInfo& info : kSeries) {
    const auto a = before.series.find(info.key);
    const auto b = after.series.find(info.key);
    if (a != before.series.end() && b != after.series.end())
      add(info.title, a->second.ratio, b->second.ratio, info.higher_is_better);
  }
}

// Thirty quantities are thirty chances of a wrong alarm, so each gets its share of what is allowed for all
// (Bonferroni).
void judge_all(Comparison& comparison, const std::vector<Quantity>& quantities) {
  const auto judged = std::max<std::ptrdiff_t>(1, std::ranges::count_if(quantities, enough));
  const double confidence = 1 - kWrongOnce / static_cast<double>(judged);
  comparison.confidence = confidence;
  for (const Quantity& quantity : quantities) comparison.changes.push_back(change_of(quantity, confidence));
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
  std::vector<Quantity> quantities;
  for (const LaneResult& lane : before.lanes) {
    const LaneResult* other = find(after, lane);
    const bool there = other != nullptr && measured(*other);
    if (measured(lane) && there) {
      if (lane.name != kYardstick) collect(quantities, lane, *other);
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
  judge_all(comparison, quantities);
  return comparison;
}

std::string render_comparison(const Comparison& comparison) {
  std::string text;
  for (const std::string& warning : comparison.warnings) text += "warning: " + warning + "\n";
  for (const std::string& note : comparison.notes) text += "note: " + note + "\n";
  TextTable table({"LANE", "GUEST", "QUANTITY", "BEFORE", "AFTER", "CHANGE",
                   fixed(100 * comparison.confidence, 1) + " % INTERVAL", "VERDICT"});
  for (const Change& change : comparison.changes) {
    table.add({change.lane, change.guest, change.quantity, fixed(change.before, 3), fixed(change.after, 3),
               change.factor ? percent(change.factor->median) : "",
               change.factor ? percent(change.factor->low) + " to " + percent(change.factor->high) : "",
               verdict_text(change.verdict)});
  }
  text += table.text();
  text = printable(text);  // names and reasons come from files
  if (comparison.changes.empty()) return text + "Nothing can be compared: no lane was measured in both.\n";
  return text + (comparison.worse() ? "Something got worse.\n" : "Nothing got worse.\n");
}

}  // namespace vmlane::perf
