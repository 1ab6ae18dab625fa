// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "perf/histogram.h"
#include "perf/statistics.h"

// What a run found: result.json, schema 1. docs/performance.md describes each key; everything a report or a
// comparison shows is computed from this file alone.
namespace vmlane::perf {

inline constexpr int kResultSchema = 1;
// The lane all others are compared with.
inline constexpr const char* kYardstick = "container";

// One way of asking for round trips.
struct RttKind {
  std::string protocol;      // "udp" or "tcp"
  std::uint32_t bytes = 64;  // of payload, each way
  double rate = 0;           // requests a second on a schedule (open loop); 0: the next when one has returned

  bool operator==(const RttKind&) const = default;
  std::string title() const;  // "udp 64 B", "udp 64 B at 5000/s"
};

struct RttCell {
  RttKind kind;
  // Open loop: from the moment a request was due, so that a stall counts for every request that it held up.
  Histogram histogram;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  // p50 of each block over p50 of the yardstick's block beside it, by epoch; empty for the yardstick itself.
  Epochs p50_ratio;
  Epochs p99_ratio;
  Epochs p50_us;  // of each block, for comparisons between runs
};

// A quantity measured once a round: its values and, beside each, its ratio to the yardstick's.
struct Series {
  Epochs values;
  Epochs ratio;  // empty for the yardstick and where the yardstick has no such value
};

struct ProcessCpu {
  std::string name;          // "client", "guest", "qemu", "passt" ...
  double ns_per_packet = 0;  // CPU time while packets flow, a packet being one way of a round trip
  double idle_percent = 0;   // of one CPU while none flow
};

struct LaneResult {
  std::string name;
  std::string guest;                     // "container", "native" or "qemu"
  std::string status;                    // "ok", "skipped", "failed" or "partial" (interrupted)
  std::string reason;                    // of all but "ok"
  std::vector<RttCell> rtt;              // the first is the headline
  std::map<std::string, Series> series;  // by key; see kSeries
  std::vector<ProcessCpu> processes;
};

// What `series` may hold.
struct SeriesInfo {
  const char* key;
  const char* title;
  const char* unit;
  bool higher_is_better;
};
inline constexpr SeriesInfo kSeries[] = {
    {"cpu_ns_per_packet", "CPU per packet, one at a time", "ns", false},
    {"cpu_ns_per_packet_loaded", "CPU per packet, in a flood", "ns", false},
    {"idle_cpu_percent", "CPU while idle", "% of a CPU", false},
    {"tcp_stream_gbps", "TCP stream", "Gbit/s", true},
    {"udp_zero_loss_pps", "UDP without loss", "packets/s", true},
    {"tcp_connections_per_second", "TCP connections", "1/s", true},
    {"add_ms", "CNI ADD", "ms", false},
    {"del_ms", "CNI DEL", "ms", false},
    {"nic_ready_ms", "ADD to first answer", "ms", false},
};

struct Noise {
  std::string verdict;               // "quiet", "noisy" or "unusable"
  std::vector<std::string> reasons;  // why not "quiet"
  double steal_percent = 0;
  double floor_p50_us = 0;          // UDP round trip over loopback, measured in every round
  double floor_spread_percent = 0;  // median absolute deviation of it, of its median
  std::uint64_t discarded_blocks = 0;
  std::uint64_t blocks = 0;
};

struct RunResult {
  std::string started;  // UTC, ISO 8601
  double seconds = 0;
  std::string status;                           // "complete" or "partial"
  std::string reason;                           // of "partial"
  std::map<std::string, std::string> machine;   // cpu, cpus, kernel, governor, qemu ... as text
  std::map<std::string, std::string> settings;  // what the run was asked for
  Noise noise;
  double harness_percent = 0;  // time between round trips, of the container lane's
  std::vector<LaneResult> lanes;

  Json to_json() const;
  static Result<RunResult> from_json(const Json& json);
};

// Errors name the file; another schema than ours is Code::kIncompatibleVersion.
Result<RunResult> read_result(const std::filesystem::path& file);
// Whole or not at all. Bytes in texts that are no UTF-8 are replaced.
Result<> write_result(const std::filesystem::path& file, const RunResult& result);

// As the table and the report show it: the yardstick's own is exactly 1.
std::optional<Estimate> ratio_to_container(const LaneResult& lane);

}  // namespace vmlane::perf
