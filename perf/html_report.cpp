// SPDX-License-Identifier: Apache-2.0
#include "perf/html_report.h"

#include <algorithm>
#include <cmath>

#include "perf/svg_plot.h"
#include "perf/table.h"

namespace vmlane::perf {
namespace {

// Colours that people with the common kinds of colour blindness tell apart (Okabe and Ito), lightened for
// dark.
constexpr const char* kStyle = R"(
:root{--bg:#fff;--fg:#1b1f24;--dim:#57606a;--line:#d0d7de;--soft:#f6f8fa;
--c0:#555;--c1:#0072b2;--c2:#d55e00;--c3:#008e68;--c4:#b0558b;--c5:#a87f00;--c6:#2f7fb8;--c7:#7a4fb5}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9da7b3;--line:#30363d;--soft:#161b22;
--c0:#aaa;--c1:#4fa8e0;--c2:#ff8a3d;--c3:#2fc795;--c4:#e08fc0;--c5:#e0b93a;--c6:#86c5f0;--c7:#b79aec}}
*{box-sizing:border-box}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1140px;padding:16px}
h1{font-size:1.6em;margin:.6em 0 .2em}h2{font-size:1.25em;margin:1.6em 0 .4em;border-bottom:1px solid var(--line)}
p{margin:.5em 0}.note,.dim{color:var(--dim);font-size:.9em}
figure{margin:1em 0;padding:12px;background:var(--soft);border:1px solid var(--line);border-radius:6px}
figcaption{font-weight:600;margin-bottom:6px}svg{width:100%;min-width:560px;height:auto;display:block}
svg text{fill:var(--fg);font-size:13px;paint-order:stroke;stroke:var(--soft);stroke-width:4px;stroke-linejoin:round}svg .axis{fill:var(--dim)}svg .grid{stroke:var(--line)}
svg .whisker{stroke:var(--fg);stroke-width:1.5}svg .reference{stroke:var(--fg);stroke-dasharray:4 3}
svg .line{fill:none;stroke-width:2}svg .mark{stroke:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9em;min-width:100%}
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--dim);font-weight:600}td:first-child,th:first-child,td.text,th.text{text-align:left}td.text{white-space:normal;min-width:11em}
.verdict{display:inline-block;padding:2px 8px;border:1px solid var(--line);border-radius:10px;background:var(--soft)}
)";

constexpr double kMicro = 1000;

std::string lane_title(const LaneResult& lane) {
  return lane.guest == "container" ? lane.name : lane.name + ", " + lane.guest;
}

double percentile_us(const RttCell& cell, double fraction) {
  return static_cast<double>(cell.histogram.percentile(fraction)) / kMicro;
}

std::vector<const LaneResult*> measured_lanes(const RunResult& run) {
  std::vector<const LaneResult*> lanes;
  for (const LaneResult& lane : run.lanes) {
    if (!lane.rtt.empty()) lanes.push_back(&lane);
  }
  return lanes;
}

// Runs of thousands of samples end in a tail nobody can read off a straight scale: each nine takes the same
// height.
double nines(double fraction) {
  constexpr double kMost = 4;
  return std::min(-std::log10(std::max(1 - fraction, 1e-9)), kMost) / kMost;
}

std::string distribution_plot(const std::vector<const LaneResult*>& lanes) {
  double low = 1e18;
  double high = 0;
  for (const LaneResult* lane : lanes) {
    low = std::min(low, percentile_us(lane->rtt.front(), 0.001));
    high = std::max(high, percentile_us(lane->rtt.front(), 0.9999));
  }
  if (low <= 0 || high <= low) return {};
  const double from = std::log10(low);
  const double span = std::log10(high) - from;
  LinePlot plot{
      .title = "Round trips: how many take how long",
      .description =
          "A line further left is faster. Each step of the upright scale is another nine: at 99 % one "
          "round trip in a hundred takes longer.",
      .x_label = "microseconds, logarithmic",
      .y_label = "share of round trips"};
  for (int decade = static_cast<int>(std::floor(from)); decade <= from + span + 1; decade++) {
    for (const int step : {1, 2, 5}) {
      const double value = step * std::pow(10, decade);
      const double at = (std::log10(value) - from) / span;
      if (at >= 0 && at <= 1) plot.x_ticks.push_back({at, figure(value, value < 1 ? 1 : 0)});
    }
  }
  for (const auto& [fraction, label] :
       {std::pair(0.0, "0 %"), std::pair(0.5, "50 %"), std::pair(0.9, "90 %"), std::pair(0.99, "99 %"),
        std::pair(0.999, "99.9 %"), std::pair(0.9999, "99.99 %")})
    plot.y_ticks.push_back({nines(fraction), label});
  int colour = 0;
  for (const LaneResult* lane : lanes) {
    Line line{.label = lane_title(*lane), .colour = colour++};
    const Histogram& histogram = lane->rtt.front().histogram;
    std::uint64_t seen = 0;
    for (const auto& [value, count] : histogram.buckets()) {
      const double x = (std::log10(static_cast<double>(value) / kMicro) - from) / span;
      const auto share = [&] {
        return nines(static_cast<double>(seen) / static_cast<double>(histogram.count()));
      };
      if (x >= 0 && x <= 1) line.points.emplace_back(x, share());
      seen += count;
      if (x >= 0 && x <= 1) line.points.emplace_back(x, share());
    }
    plot.lines.push_back(std::move(line));
  }
  return line_plot(plot);
}

std::string drift_plot(const std::vector<const LaneResult*>& lanes) {
  double high = 0;
  std::size_t longest = 0;
  const auto blocks_of = [](const LaneResult& lane) {
    std::vector<double> all;
    for (const auto& epoch : lane.rtt.front().p50_us) all.insert(all.end(), epoch.begin(), epoch.end());
    return all;
  };
  for (const LaneResult* lane : lanes) {
    const auto blocks = blocks_of(*lane);
    longest = std::max(longest, blocks.size());
    for (const double value : blocks) high = std::max(high, value);
  }
  if (longest < 2) return {};
  LinePlot plot{
      .title = "Median round trip, block by block",
      .description =
          "In the order they were measured. Lines that rise and fall together show the machine, not "
          "the lanes.",
      .x_label = "time",
      .y_label = "microseconds"};
  for (int i = 0; i <= 4; i++) plot.y_ticks.push_back({i / 4.0, figure(high * 1.05 * i / 4, 0)});
  int colour = 0;
  for (const LaneResult* lane : lanes) {
    Line line{.label = lane_title(*lane), .colour = colour++};
    const auto blocks = blocks_of(*lane);
    for (std::size_t i = 0; i < blocks.size(); i++)
      line.points.emplace_back(
          blocks.size() == 1 ? 0.5 : static_cast<double>(i) / static_cast<double>(blocks.size() - 1),
          blocks[i] / (high * 1.05));
    plot.lines.push_back(std::move(line));
  }
  return line_plot(plot);
}

std::string ratio_plot(const std::vector<const LaneResult*>& lanes) {
  BarPlot plot{
      .title = "Median round trip, against the container",
      .description =
          "1 is the container measured beside it; less is better. Whiskers: 95 % confidence interval.",
      .reference = 1};
  int colour = 0;
  for (const LaneResult* lane : lanes) {
    const int own = colour++;
    const auto ratio = ratio_to_container(*lane);
    if (!ratio) continue;
    Bar bar{lane_title(*lane), interval_text(ratio), ratio->median, std::nullopt, own};
    if (ratio->low != ratio->high) bar.interval = {ratio->low, ratio->high};
    plot.bars.push_back(std::move(bar));
  }
  return bar_plot(plot);
}

std::string series_plot(const std::vector<const LaneResult*>& lanes, const SeriesInfo& info) {
  BarPlot plot{.title = std::string(info.title) + ", " + info.unit,
               .description = info.higher_is_better ? "More is better. Whiskers: 95 % confidence interval."
                                                    : "Less is better. Whiskers: 95 % confidence interval."};
  if (info.unit == std::string("% of a CPU")) plot.least_scale = 1;
  int colour = 0;
  for (const LaneResult* lane : lanes) {
    const int own = colour++;
    const auto found = lane->series.find(info.key);
    if (found == lane->series.end()) continue;
    const Estimate estimate = bootstrap(found->second.values);
    Bar bar{lane_title(*lane), figure(estimate.median, estimate.median < 100 ? 2 : 0), estimate.median,
            std::nullopt, own};
    bar.interval = {estimate.low, estimate.high};
    plot.bars.push_back(std::move(bar));
  }
  return bar_plot(plot);
}

// Cells are escaped; those of the columns in `texts` are left-aligned.
std::string html_table(const std::vector<std::vector<std::string>>& rows,
                       const std::vector<std::size_t>& texts = {}) {
  std::string out = "<div class=\"wide\"><table>";
  for (std::size_t i = 0; i < rows.size(); i++) {
    out += "<tr>";
    for (std::size_t k = 0; k < rows[i].size(); k++) {
      const std::string tag = i == 0 ? "th" : "td";
      const bool text = std::ranges::find(texts, k) != texts.end();
      out += "<" + tag + (text ? " class=\"text\"" : "") + ">" + escape_html(rows[i][k]) + "</" + tag + ">";
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string round_trip_table(const std::vector<const LaneResult*>& lanes) {
  std::vector<std::vector<std::string>> rows = {{"lane", "how", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs",
                                                 "max µs", "p50 to container", "sent", "lost"}};
  for (const LaneResult* lane : lanes) {
    for (const RttCell& cell : lane->rtt) {
      const auto us = [&](double fraction) { return figure(percentile_us(cell, fraction)); };
      const bool yardstick = lane->name == kYardstick;
      const Estimate ratio = yardstick ? Estimate{1, 1, 1} : bootstrap(cell.p50_ratio);
      rows.push_back({lane_title(*lane), cell.kind.title(), us(0.5), us(0.9), us(0.99), us(0.999),
                      figure(static_cast<double>(cell.histogram.max()) / kMicro), interval_text(ratio),
                      std::to_string(cell.sent), std::to_string(cell.lost)});
    }
  }
  return html_table(rows, {1});
}

std::string series_table(const std::vector<const LaneResult*>& lanes) {
  std::vector<std::vector<std::string>> rows = {
      {"lane", "quantity", "median", "95 % interval", "to container"}};
  for (const LaneResult* lane : lanes) {
    for (const SeriesInfo& info : kSeries) {
      const auto found = lane->series.find(info.key);
      if (found == lane->series.end()) continue;
      const Estimate value = bootstrap(found->second.values);
      const int digits = value.median < 100 ? 2 : 0;
      const bool has_ratio =
          std::ranges::any_of(found->second.ratio, [](const auto& epoch) { return !epoch.empty(); });
      rows.push_back({lane_title(*lane), std::string(info.title) + " (" + info.unit + ")",
                      figure(value.median, digits),
                      figure(value.low, digits) + " to " + figure(value.high, digits),
                      has_ratio ? interval_text(bootstrap(found->second.ratio)) : "-"});
    }
  }
  return html_table(rows, {1});
}

std::string process_table(const std::vector<const LaneResult*>& lanes) {
  std::vector<std::vector<std::string>> rows = {{"lane", "process", "ns per packet", "idle, % of a CPU"}};
  for (const LaneResult* lane : lanes) {
    for (const ProcessCpu& process : lane->processes)
      rows.push_back({lane_title(*lane), process.name, figure(process.ns_per_packet, 0),
                      figure(process.idle_percent, 2)});
  }
  return html_table(rows, {1});
}

std::string text_table(const char* what, const std::map<std::string, std::string>& values) {
  std::vector<std::vector<std::string>> rows = {{what, ""}};
  for (const auto& [key, value] : values) rows.push_back({key, value});
  return html_table(rows, {1});
}

std::string missing_lanes(const RunResult& run) {
  std::vector<std::vector<std::string>> rows = {{"lane", "guest", "status", "reason"}};
  for (const LaneResult& lane : run.lanes) {
    if (lane.status != "ok") rows.push_back({lane.name, lane.guest, lane.status, lane.reason});
  }
  if (rows.size() == 1) return {};
  return "<h2>Not measured, or not wholly</h2>" + html_table(rows, {1, 2, 3});
}

std::string noise_text(const Noise& noise) {
  std::string out = "<p><span class=\"verdict\">machine: " + escape_html(noise.verdict) + "</span> ";
  std::string why;
  for (const std::string& reason : noise.reasons) why += (why.empty() ? "" : "; ") + escape_html(reason);
  if (!why.empty()) out += why + ". ";
  return out + std::to_string(noise.discarded_blocks) + " of " + std::to_string(noise.blocks) +
         " pairs of blocks were left out because the machine itself was slow or fast beside them; loop-back "
         "round trip " +
         figure(noise.floor_p50_us) + " µs, spread " + figure(noise.floor_spread_percent) +
         " %; steal time " + figure(noise.steal_percent) + " %.</p>\n";
}

std::string summary_text(const RunResult& run) {
  const LaneResult* best = nullptr;
  for (const LaneResult& lane : run.lanes) {
    if (lane.name == kYardstick || !ratio_to_container(lane)) continue;
    if (best == nullptr || ratio_to_container(lane)->median < ratio_to_container(*best)->median) best = &lane;
  }
  std::string out;
  if (run.status != "complete")
    out +=
        "<p><span class=\"verdict\">partial</span> The run did not end: " + escape_html(run.reason) + "</p>";
  if (best != nullptr)
    out += "<p>Nearest to the container: <b>" + escape_html(lane_title(*best)) +
           "</b>, whose median round trip is " + interval_text(ratio_to_container(*best)) +
           " of the container's.</p>";
  return out;
}

std::string section(const RunResult& run) {
  const auto lanes = measured_lanes(run);
  std::string out =
      "<h1>Run of " + escape_html(run.started) + "</h1>" + summary_text(run) + noise_text(run.noise);
  out += ratio_plot(lanes) + distribution_plot(lanes);
  for (const SeriesInfo& info : kSeries) out += series_plot(lanes, info);
  out += drift_plot(lanes);
  out +=
      "<h2>Round trips</h2><p class=\"note\">\"at N/s\" is an open loop: requests fall due at that rate "
      "whether or not "
      "earlier ones were answered, and count from when they were due. The others are a closed loop: the next "
      "request "
      "goes when the answer has come.</p>" +
      round_trip_table(lanes);
  out += "<h2>Throughput, CPU, set-up</h2>" + series_table(lanes);
  out +=
      "<h2>CPU of each process</h2><p class=\"note\">Of round trips one at a time; a round trip is two "
      "packets.</p>" +
      process_table(lanes);
  out += missing_lanes(run);
  out += "<h2>Machine and settings</h2>" + text_table("machine", run.machine) +
         text_table("setting", run.settings);
  return out + "<p class=\"note\">The harness took " + figure(run.harness_percent, 2) +
         " % of the time between the container's round trips.</p>\n";
}

}  // namespace

std::string html_report(const std::vector<RunResult>& results) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta name=\"color-scheme\" content=\"light dark\"><title>vmlane-perf report</title><style>";
  out += kStyle;
  out += "</style></head><body>\n<p class=\"dim\">vmlane-perf: VM lanes measured against the container</p>\n";
  for (const RunResult& run : results) out += section(run);
  return out + "</body></html>\n";
}

}  // namespace vmlane::perf
