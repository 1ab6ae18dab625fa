// SPDX-License-Identifier: Apache-2.0
#include "perf/table.h"

#include <array>
#include <cstdio>

#include "perf/terminal.h"
#include "perf/text_table.h"

namespace vmlane::perf {
namespace {

std::optional<double> percentile_us(const LaneResult& lane, double fraction) {
  if (lane.rtt.empty()) return std::nullopt;
  return static_cast<double>(lane.rtt.front().histogram.percentile(fraction)) / 1000;
}

std::optional<double> scaled(std::optional<double> value, double factor) {
  return value ? std::optional(*value * factor) : std::nullopt;
}

}  // namespace

std::string figure(std::optional<double> value, int digits) {
  if (!value) return "-";
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, *value);
  return text.data();
}

std::optional<double> series_median(const LaneResult& lane, const std::string& key) {
  const auto found = lane.series.find(key);
  if (found == lane.series.end()) return std::nullopt;
  return overall_median(found->second.values);
}

std::string interval_text(const std::optional<Estimate>& estimate) {
  if (!estimate) return "-";
  if (estimate->low == estimate->high) return figure(estimate->median, 2);
  return figure(estimate->median, 2) + " (" + figure(estimate->low, 2) + " to " + figure(estimate->high, 2) +
         ")";
}

std::string render_table(const RunResult& result) {
  TextTable table({"LANE", "GUEST", "P50 us", "P99 us", "P99.9 us", "TO CONTAINER (P50)", "CPU ns/PACKET",
                   "STREAM Gbit/s", "NO-LOSS kpps", "CONN/s", "ADD ms", "DEL ms", "STATUS"});
  std::string others;
  for (const LaneResult& lane : result.lanes) {
    if (lane.rtt.empty()) {
      others += lane.status + ": " + lane.name + " (" + lane.guest + "): " + lane.reason + "\n";
      continue;
    }
    table.add({lane.name, lane.guest, figure(percentile_us(lane, 0.5)), figure(percentile_us(lane, 0.99)),
               figure(percentile_us(lane, 0.999)), interval_text(ratio_to_container(lane)),
               figure(series_median(lane, "cpu_ns_per_packet"), 0),
               figure(series_median(lane, "tcp_stream_gbps"), 2),
               figure(scaled(series_median(lane, "udp_zero_loss_pps"), 1e-3), 0),
               figure(series_median(lane, "tcp_connections_per_second"), 0),
               figure(series_median(lane, "add_ms")), figure(series_median(lane, "del_ms")), lane.status});
    if (lane.status != "ok")
      others += lane.status + ": " + lane.name + " (" + lane.guest + "): " + lane.reason + "\n";
  }
  std::string text = table.text() + "\n" + others;
  const Noise& noise = result.noise;
  text += "machine: " + noise.verdict;
  for (const std::string& reason : noise.reasons) text += "; " + reason;
  text += " (" + std::to_string(noise.discarded_blocks) + " of " + std::to_string(noise.blocks) +
          " pairs left out, steal " + figure(noise.steal_percent) + " %, loop-back p50 " +
          figure(noise.floor_p50_us) + " us)\nharness: " + figure(result.harness_percent, 2) +
          " % of the time between the container's round trips\n";
  if (result.status != "complete") text += "PARTIAL: " + result.reason + "\n";
  return printable(text);  // reasons carry what other programs said
}

}  // namespace vmlane::perf
