// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>
#include <regex>
#include <set>

#include "perf/compare.h"
#include "perf/html_report.h"
#include "perf/result.h"
#include "perf/table.h"
#include "tests/support/host.h"

namespace vmlane::perf {
namespace {

Epochs around(std::mt19937_64& random, double level, double spread, int epochs = 5, int each = 4) {
  std::normal_distribution<double> epoch_level(level, level * spread / 2);
  Epochs out;
  for (int i = 0; i < epochs; i++) {
    std::normal_distribution<double> value(epoch_level(random), level * spread);
    out.emplace_back();
    for (int k = 0; k < each; k++) out.back().push_back(value(random));
  }
  return out;
}

LaneResult lane_of(std::mt19937_64& random, const std::string& name, const std::string& guest, double ratio) {
  LaneResult lane{.name = name, .guest = guest, .status = "ok"};
  RttCell cell{.sent = 1000, .lost = 1};
  cell.kind = {"udp", 64, 0};
  std::lognormal_distribution<double> times(std::log(50'000 * ratio), 0.3);
  for (int i = 0; i < 1000; i++) cell.histogram.record(static_cast<std::uint64_t>(times(random)));
  cell.p50_us = around(random, 50 * ratio, 0.03);
  if (name != kYardstick) {
    cell.p50_ratio = around(random, ratio, 0.03);
    cell.p99_ratio = around(random, ratio, 0.05);
    lane.series["tcp_stream_gbps"].ratio = around(random, 1 / ratio, 0.03);
  }
  lane.rtt.push_back(std::move(cell));
  lane.series["tcp_stream_gbps"].values = around(random, 20 / ratio, 0.03);
  lane.processes.push_back({"client", 12000, 0.1});
  return lane;
}

RunResult run_of(std::uint64_t seed, double tap_ratio = 1.1) {
  std::mt19937_64 random(seed);
  RunResult run{.started = "2025-01-01T00:00:00Z", .seconds = 12.5, .status = "complete"};
  run.machine = {{"cpu", "one"}, {"kernel", "six"}};
  run.settings = {{"duration", "10"}};
  run.noise = {.verdict = "quiet", .floor_p50_us = 20, .blocks = 40};
  run.lanes.push_back(lane_of(random, kYardstick, "container", 1));
  run.lanes.push_back(lane_of(random, "tap", "native", tap_ratio));
  run.lanes.push_back({.name = "sriov", .guest = "native", .status = "skipped", .reason = "no hardware"});
  return run;
}

const Change* find(const Comparison& comparison, const std::string& quantity) {
  for (const Change& change : comparison.changes) {
    if (change.quantity.starts_with(quantity)) return &change;
  }
  return nullptr;
}

TEST(ResultTest, HasWhatReadersWereToldTheyWouldFind) {
  const Json json = run_of(1).to_json();
  EXPECT_EQ(json["schema"], 1);
  const Json& tap = json["lanes"][1];
  EXPECT_EQ(tap["name"], "tap");
  EXPECT_EQ(tap["guest"], "native");
  EXPECT_EQ(tap["status"], "ok");
  EXPECT_TRUE(tap.contains("reason"));
  for (const char* key : {"p50_us", "p90_us", "p99_us", "p999_us", "max_us"})
    EXPECT_GT(tap["rtt"][key], 10) << key;
  for (const char* key : {"median", "low", "high"})
    EXPECT_NEAR(tap["ratio_to_container"]["p50"][key], 1.1, 0.1) << key;
  EXPECT_EQ(json["lanes"][0]["ratio_to_container"]["p50"]["median"], 1);
  EXPECT_FALSE(json["lanes"][2].contains("rtt")) << "nothing was measured";
}

TEST(ResultTest, ComesBackFromItsFileAsItWas) {
  const test::TemporaryDirectory directory;
  const RunResult run = run_of(2);
  ASSERT_TRUE(write_result(directory.path() / "result.json", run));
  const auto back = read_result(directory.path() / "result.json");
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->to_json(), run.to_json());
}

// A lane's reason has what a program printed before it ended.
TEST(ResultTest, TextThatIsNoUtf8DoesNotCostTheRun) {
  const test::TemporaryDirectory directory;
  RunResult run = run_of(2);
  run.lanes[2].reason = "it said \xff\xfe";
  ASSERT_TRUE(write_result(directory.path() / "result.json", run));
  const auto back = read_result(directory.path() / "result.json");
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_TRUE(back->lanes[2].reason.starts_with("it said ")) << back->lanes[2].reason;
  EXPECT_EQ(back->lanes[1].rtt[0].histogram.count(), 1000U);
}

// Every key that is needed, taken away or made something else, is named.
TEST(ResultTest, WrongFilesAreToldOfByKey) {
  const Json good = run_of(3).to_json();
  for (const char* pointer :
       {"/schema", "/started", "/seconds", "/status", "/machine", "/settings", "/noise", "/noise/verdict",
        "/lanes", "/lanes/1/name", "/lanes/1/cells", "/lanes/1/cells/0/bytes", "/lanes/1/cells/0/histogram",
        "/lanes/1/cells/0/p50_ratio", "/lanes/1/series", "/lanes/1/series/tcp_stream_gbps/values",
        "/lanes/1/processes", "/lanes/1/processes/0/ns_per_packet"}) {
    const Json::json_pointer at(pointer);
    for (const Json& value : {Json(), Json(true)}) {
      Json bad = good;
      bad[at] = value;
      const auto result = RunResult::from_json(bad);
      ASSERT_FALSE(result) << pointer << " " << value;
      EXPECT_NE(result.error().text().find(at.back()), std::string::npos)
          << pointer << ": " << result.error().text();
    }
  }
  struct Planted {
    const char* pointer;
    Json value;
    const char* told;
  };
  for (const auto& [pointer, value, told] :
       std::vector<Planted>{{"/status", "fine", "\"status\""},
                            {"/noise/verdict", "loud", "\"noise.verdict\""},
                            {"/noise/reasons", nullptr, "\"noise.reasons\""},
                            {"/lanes/1/status", "fine", "\"lanes[1].status\""},
                            {"/lanes/1/cells/0", 7, "\"lanes[1].cells[0].protocol\""},
                            {"/lanes/1/cells/0/bytes", std::uint64_t{1} << 32, "\"lanes[1].cells[0].bytes\""},
                            {"/lanes/1/cells/0/histogram/max", "x", "\"lanes[1].cells[0].histogram.max\""},
                            {"/lanes/1/processes/0/name", 7, "\"lanes[1].processes[0].name\""}}) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    const auto result = RunResult::from_json(bad);
    ASSERT_FALSE(result) << pointer;
    EXPECT_NE(result.error().text().find(told), std::string::npos) << result.error().text();
  }
  Json newer = good;
  newer["schema"] = 2;
  EXPECT_EQ(RunResult::from_json(newer).error().code, Code::kIncompatibleVersion);
  EXPECT_FALSE(RunResult::from_json(Json::array()));
  EXPECT_EQ(read_result("/nowhere/result.json").error().code, Code::kNotFound);
}

TEST(CompareTest, FindsAPlantedFifth) {
  for (std::uint64_t seed = 1; seed <= 20; seed++) {
    const Comparison comparison = compare(run_of(seed, 1.0), run_of(seed + 1000, 1.2));
    const Change* change = find(comparison, "round trip");
    ASSERT_NE(change, nullptr);
    EXPECT_EQ(change->verdict, Verdict::kWorse) << seed << ": " << render_comparison(comparison);
    EXPECT_TRUE(comparison.worse());
    EXPECT_EQ(find(compare(run_of(seed, 1.2), run_of(seed + 1000, 1.0)), "round trip")->verdict,
              Verdict::kBetter);
  }
}

TEST(CompareTest, FindsNothingBetweenRunsOfTheSame) {
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 100; seed++) {
    const Comparison comparison = compare(run_of(seed), run_of(seed + 1000));
    for (const Change& change : comparison.changes) wrong += change.verdict == Verdict::kSame ? 0 : 1;
  }
  EXPECT_LE(wrong, 5) << "of 200 quantities";
}

// Thirty quantities of which each spreads by 8 %, in three set-ups: what thirty verdicts by themselves would
// get wrong every tenth time and oftener.
TEST(CompareTest, ManyQuantitiesAreNotSoManyFalseAlarms) {
  std::mt19937_64 random(7);
  const auto noisy_run = [&] {
    RunResult run = run_of(1);
    run.lanes.clear();
    for (int i = 0; i < 5; i++) {
      LaneResult lane = lane_of(random, "lane" + std::to_string(i), "qemu", 1);
      lane.series.clear();
      lane.rtt[0].p50_ratio = around(random, 1, 0.08, 3, 2);
      for (const char* key : {"cpu_ns_per_packet", "cpu_ns_per_packet_loaded", "tcp_stream_gbps",
                              "udp_zero_loss_pps", "tcp_connections_per_second"})
        lane.series[key].ratio = around(random, 1, 0.08, 3, 2);
      run.lanes.push_back(std::move(lane));
    }
    return run;
  };
  int alarms = 0;
  for (int i = 0; i < 100; i++) {
    const Comparison comparison = compare(noisy_run(), noisy_run());
    ASSERT_EQ(comparison.changes.size(), 30U);
    alarms += comparison.worse() ? 1 : 0;
  }
  EXPECT_LE(alarms, 8) << "of 100";
}

TEST(CompareTest, TooFewSetUpsAreSaidToBeSo) {
  RunResult before = run_of(1, 1.0);
  RunResult after = run_of(2, 2.0);
  after.lanes[1].rtt[0].p50_ratio = {{2.0, 2.0, 2.0}, {2.0, 2.0, 2.0}};
  EXPECT_EQ(find(compare(before, after), "round trip")->verdict, Verdict::kTooFew);
}

// A lane that lost packets at every rate has no rate without loss: 0, of which nothing is so many percent.
TEST(CompareTest, WhatWasNothingIsNotSaidToHaveChangedByAFactor) {
  const auto with = [](double ratio) {
    RunResult run = run_of(1, 1.0);
    run.lanes[1].series["udp_zero_loss_pps"].ratio = Epochs(3, std::vector<double>(3, ratio));
    return run;
  };
  const Comparison from_nothing = compare(with(0), with(0.5));
  EXPECT_EQ(find(from_nothing, "UDP without loss")->verdict, Verdict::kNoFactor);
  EXPECT_FALSE(from_nothing.worse()) << render_comparison(from_nothing);
  EXPECT_EQ(render_comparison(from_nothing).find("-100"), std::string::npos);
  EXPECT_EQ(find(compare(with(0), with(0)), "UDP without loss")->verdict, Verdict::kSame);
  EXPECT_EQ(find(compare(with(0.5), with(0)), "UDP without loss")->verdict, Verdict::kWorse);
}

TEST(CompareTest, LanesThatWereNotMeasuredAreToldWithTheirReason) {
  const RunResult before = run_of(1);
  RunResult after = run_of(2);
  after.lanes[1].status = "partial";
  after.lanes[1].reason = "interrupted";
  after.lanes.push_back({.name = "macvtap", .guest = "qemu", .status = "failed", .reason = "no kernel"});
  const std::string text = render_comparison(compare(before, after));
  for (const char* part : {"sriov (native) was measured in neither: skipped, no hardware",
                           "macvtap (qemu) was measured in neither: failed, no kernel",
                           "tap (native) was not measured wholly after: partial, interrupted"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
  EXPECT_EQ(text.find("sriov"), text.rfind("sriov")) << "told once\n" << text;
  after.lanes[1].rtt.clear();
  EXPECT_NE(render_comparison(compare(before, after)).find("measured before only: partial, interrupted"),
            std::string::npos);
}

TEST(CompareTest, TellsWhyTwoRunsMayNotBeComparable) {
  const RunResult before = run_of(1);
  RunResult after = run_of(2);
  after.machine["kernel"] = "seven";
  after.settings["duration"] = "20";
  after.noise.verdict = "noisy";
  after.noise.reasons = {"neighbours"};
  after.status = "partial";
  after.reason = "interrupted";
  after.lanes.pop_back();
  after.lanes.pop_back();
  const std::string text = render_comparison(compare(before, after));
  for (const char* part :
       {"kernel", "six before, seven after", "duration", "noisy: neighbours", "partial: interrupted",
        "tap (native) was measured before only", "no lane was measured in both"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
}

TEST(ReportTest, ShowsEveryLaneAndTakesNothingFromElsewhere) {
  RunResult run = run_of(1);
  run.lanes[1].name = "<script>alert(1)</script>";
  run.lanes[2].reason = "\"quotes\" & <b>";
  const std::string page = html_report({run, run_of(2)});
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;"), std::string::npos);
  EXPECT_NE(page.find("&quot;quotes&quot; &amp; &lt;b&gt;"), std::string::npos);
  EXPECT_NE(page.find("prefers-color-scheme"), std::string::npos);
  EXPECT_EQ(page.find("href="), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  EXPECT_EQ(page.find("inf,"), std::string::npos);
  for (const char* plot : {"against the container", "how many take how long", "TCP stream", "block by block"})
    EXPECT_NE(page.find(plot), std::string::npos) << plot;
}

// There are more lanes and guests than colours: no two lines may look alike.
TEST(ReportTest, LinesOfManyLanesDiffer) {
  std::mt19937_64 random(1);
  RunResult run = run_of(1);
  run.lanes.clear();
  for (int i = 0; i < 20; i++) run.lanes.push_back(lane_of(random, "lane" + std::to_string(i), "native", 1));
  const std::string page = html_report({run});
  const auto plot = page.find("how many take how long");
  const std::string svg = page.substr(plot, page.find("</svg>", plot) - plot);
  std::set<std::string> looks;
  const std::regex line("<polyline[^>]*(style=[^/]*)/>\\s*(<[a-z]+)?");
  for (std::sregex_iterator it(svg.begin(), svg.end(), line), end; it != end; ++it)
    looks.insert((*it)[1].str() + (*it)[2].str());
  EXPECT_EQ(looks.size(), 20U);
}

// Elements close in the order they opened.
TEST(ReportTest, IsWellFormed) {
  const std::string page = html_report({run_of(1)});
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z0-9]+)([^>]*?)(/?)>");
  for (std::sregex_iterator it(page.begin(), page.end(), tag), end; it != end; ++it) {
    const std::string name = (*it)[2];
    if ((*it)[4] == "/" || name == "meta") continue;
    if ((*it)[1] != "/") {
      open.push_back(name);
    } else {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), name) << "at " << it->position();
      open.pop_back();
    }
  }
  EXPECT_TRUE(open.empty());
}

// What a lane's programs said goes to a terminal, which must not obey it.
TEST(ReportTest, ControlCharactersDoNotReachTheTerminal) {
  RunResult run = run_of(1);
  run.lanes[2].reason =
      "it said \x1b[2J\x07, \xc2\x9b"
      "2J, \xc3\xa9\r";
  run.lanes[1].name = "t\x1b]0;x";
  for (const std::string& text : {render_table(run), render_comparison(compare(run, run))}) {
    EXPECT_NE(text.find("it said ?[2J?, ?2J, \xc3\xa9?"), std::string::npos) << text;
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
  }
}

TEST(ReportTest, ARunWithoutFiguresIsShownAsSuch) {
  RunResult run{.started = "now", .status = "partial", .reason = "interrupted"};
  run.noise.verdict = "quiet";
  run.lanes.push_back({.name = "tap", .guest = "qemu", .status = "skipped", .reason = "no QEMU"});
  EXPECT_NE(html_report({run}).find("no QEMU"), std::string::npos);
  const std::string table = render_table(run);
  EXPECT_NE(table.find("skipped: tap (qemu): no QEMU"), std::string::npos) << table;
  EXPECT_NE(table.find("PARTIAL: interrupted"), std::string::npos) << table;
}

}  // namespace
}  // namespace vmlane::perf
