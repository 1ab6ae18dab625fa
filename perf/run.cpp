// SPDX-License-Identifier: Apache-2.0
#include "perf/run.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>
#include <thread>

#include "core/clock.h"
#include "lab/privileges.h"
#include "perf/cpu_time.h"
#include "perf/machine.h"
#include "perf/terminal.h"
#include "perf/timing.h"
#include "perf/wire.h"

namespace vmlane::perf {
namespace {

constexpr const char* kClientPod = "client";
constexpr const char* kFloorPod = "floor";
constexpr const char* kYardstickPod = "yardstick";
constexpr const char* kLanePod = "lane";

// Loop-back round trips beside each pair of blocks: when they are slow the machine is.
constexpr Nanoseconds kFloorBlock = std::chrono::milliseconds(30);
constexpr double kFloorTolerance = 0.25;
constexpr Nanoseconds kWarmUp = std::chrono::milliseconds(200);
constexpr auto kAnswerLimit = std::chrono::seconds(10);
constexpr double kMaxStealPercent = 5;
constexpr double kMaxBusyPercent = 25;
// What Ethernet's 1500 bytes carry in one datagram; native guests put no fragments together.
constexpr std::uint32_t kMaxSize = 1472;

struct Entry {
  const Lane* lane = nullptr;
  std::string guest;
  LaneResult result;
  std::map<std::string, std::vector<double>> packet_ns;     // by process
  std::map<std::string, std::vector<double>> idle_percent;  // by process
};

struct Measured {
  Block block;
  std::map<std::string, double> packet_ns;  // by process
  double packet_ns_sum = 0;
};

// Two blocks, one after the other, and the floor beside them.
struct Pair {
  Entry* entry = nullptr;  // null: the yardstick by itself
  std::size_t kind = 0;
  unsigned epoch = 0;
  double floor_us = 0;
  Measured yardstick;
  std::optional<Measured> lane;
};

double microseconds(const Block& block, double fraction) {
  return static_cast<double>(block.histogram.percentile(fraction)) / 1000;
}

std::vector<RttKind> rtt_kinds(const RunOptions& options) {
  std::vector<double> rates = {0};  // the closed loop
  rates.insert(rates.end(), options.rates.begin(), options.rates.end());
  std::vector<RttKind> kinds;
  for (const double rate : rates) {
    for (const char* protocol : {"udp", "tcp"}) {
      for (const std::uint32_t bytes : options.sizes) kinds.push_back({protocol, bytes, rate});
    }
  }
  return kinds;
}

template <class Value>
std::string list_text(const std::vector<Value>& values) {
  std::ostringstream text;
  for (const Value& value : values) text << (text.tellp() > 0 ? "," : "") << value;
  return text.str();
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
  return list.empty() || std::ranges::find(list, value) != list.end();
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Result<> check_names(const RunOptions& options) {
  const auto lanes = all_lanes();
  std::vector<std::string> names;
  for (const auto& lane : lanes) names.push_back(lane->name());
  for (const std::string& name : options.lanes) {
    if (std::ranges::find(names, name) == names.end())
      return fail(Code::kInvalidConfig, "there is no lane \"" + name + "\"", "lanes are " + joined(names));
  }
  const std::vector<std::string> guests = {kNativeGuest, kQemuGuest};
  for (const std::string& guest : options.guests) {
    if (std::ranges::find(guests, guest) == guests.end())
      return fail(Code::kInvalidConfig, "there is no kind of guest \"" + guest + "\"",
                  "kinds are " + joined(guests));
  }
  for (const auto& [name, delay] : options.lane.guest_delay_ns) {
    if (std::ranges::find(names, name) == names.end())
      return fail(Code::kInvalidConfig, "there is no lane \"" + name + "\" to plant a delay in",
                  "lanes are " + joined(names));
  }
  return {};
}

Result<> check_numbers(const RunOptions& options) {
  if (options.duration < 0.1 || options.duration > 3600)
    return fail(Code::kInvalidConfig,
                "--duration is " + std::to_string(options.duration) + ", it must be 0.1 to 3600 seconds");
  if (options.epochs < 1 || options.epochs > 100 || options.rounds < 1 || options.rounds > 100)
    return fail(Code::kInvalidConfig, "--epochs and --rounds must be 1 to 100");
  for (const double rate : options.rates) {
    if (rate < 1 || rate > 1e6)
      return fail(Code::kInvalidConfig, "rates must be 1 to 1000000 requests a second");
  }
  if (options.sizes.empty()) return fail(Code::kInvalidConfig, "--sizes names none");
  for (const std::uint32_t size : options.sizes) {
    if (size < kMinBytes || size > kMaxSize)
      return fail(Code::kInvalidConfig, "--sizes has " + std::to_string(size) + ", a size must be " +
                                            std::to_string(kMinBytes) + " to " + std::to_string(kMaxSize) +
                                            " bytes");
  }
  const auto cpus = usable_cpus();
  for (const int cpu : options.site.cpus) {
    if (std::ranges::find(cpus, cpu) == cpus.end())
      return fail(Code::kInvalidConfig,
                  "CPU " + std::to_string(cpu) + " of --cpus is not one this process may use",
                  "it may use " + cpu_list(cpus));
  }
  return {};
}

Result<> check_idle(const RunOptions& options) {
  if (options.allow_busy) return {};
  const MachineCpu before = machine_cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const double busy = machine_cpu().busy_percent_since(before);
  if (busy <= kMaxBusyPercent) return {};
  return fail(Code::kNotAvailable,
              "the CPUs are " + std::to_string(std::lround(busy)) + " % busy before anything has begun",
              "end what keeps them busy, or measure all the same with --allow-busy");
}

std::vector<std::unique_ptr<Entry>> entries_of(const RunOptions& options,
                                               const std::vector<std::unique_ptr<Lane>>& lanes) {
  std::vector<std::unique_ptr<Entry>> entries;
  for (const auto& lane : lanes) {
    if (lane->name() != kYardstick && !contains(options.lanes, lane->name())) continue;
    for (const std::string& guest : lane->guests()) {
      if (guest != kContainerGuest && !contains(options.guests, guest)) continue;
      auto entry = std::make_unique<Entry>();
      entry->lane = lane.get();
      entry->guest = guest;
      entry->result.name = lane->name();
      entry->result.guest = guest;
      const auto available = lane->available(options.site, guest);
      entry->result.status = available ? "ok" : "skipped";
      if (!available) entry->result.reason = available.error().text();
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

class Runner {
 public:
  Runner(const RunOptions& options, const lab::Progress& progress, const Interrupted& interrupted)
      : options_(options),
        progress_(progress),
        interrupted_(interrupted),
        lanes_(all_lanes()),
        entries_(entries_of(options, lanes_)),
        kinds_(rtt_kinds(options)),
        block_(static_cast<std::int64_t>(options.duration * 1e9 / (options.epochs * options.rounds))),
        random_(options.seed) {}

  Result<RunResult> run();

 private:
  Entry& yardstick() { return *entries_.front(); }
  Result<> measure();
  Result<> epoch(unsigned number);
  Result<> measure_lane(Entry& entry, unsigned epoch);
  Result<> measure_path(Entry& entry, const Path& path, unsigned epoch);
  Result<> pair(Entry* entry, const Path* path, std::size_t kind, unsigned epoch);
  Result<Path> set_up(Entry& entry, const std::string& pod, unsigned epoch);
  using CpuTimes = std::map<std::string, std::uint64_t>;
  CpuTimes cpu_times(const Path& path) const;
  Result<Measured> block(const Path& path, const RttKind& kind);
  Result<double> loaded_cpu(const Path& path);
  Result<double> floor();
  Result<> series(Entry& entry, const Path& path, unsigned epoch);
  Result<> one_series(Entry& entry, const Path& path, unsigned epoch, const char* key,
                      const std::function<Result<double>(const Path&)>& measure);
  void note(Entry& entry, const char* key, unsigned epoch, double value, std::optional<double> ratio);
  void idle(Entry& entry, const Path& path, unsigned epoch);
  Result<> remove_pod(Entry& entry, const std::string& pod, unsigned epoch);
  Client client(const Path& path) { return {*client_namespace_, {path.address}, interrupted_}; }
  Result<> go_on() const { return interrupted_() ? fail(Code::kTryAgain, "interrupted") : Result<>(); }
  void tell(const std::string& subject, const std::string& what);

  void fold();
  static bool steady(const Pair& pair, double floor_median);
  bool has_steady_twin(const Pair& pair, double floor_median) const;
  void fold_pair(const Pair& pair, double floor_median);
  RttCell& cell(Entry& entry, std::size_t kind);
  void judge_noise(const MachineCpu& before);

  const RunOptions& options_;
  const lab::Progress& progress_;
  const Interrupted& interrupted_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<RttKind> kinds_;
  Nanoseconds block_;
  std::mt19937_64 random_;

  std::unique_ptr<Site> site_;
  std::optional<netlink::Namespace> client_namespace_;
  std::optional<netlink::Namespace> floor_namespace_;
  Path yardstick_path_;
  std::vector<pid_t> softirq_threads_ = softirq_threads();
  std::vector<Pair> pairs_;
  std::vector<double> floors_;
  std::uint64_t started_ns_ = now_ns();
  unsigned lanes_done_ = 0;
  unsigned lanes_in_all_ = 0;
  RunResult result_;
};

// Lines say how much is done, and from the second on how long the rest will take.
void Runner::tell(const std::string& subject, const std::string& what) {
  std::string text = what;
  if (lanes_done_ > 0 && lanes_in_all_ > 0) {
    const double elapsed = static_cast<double>(now_ns() - started_ns_) / 1e9;
    const double left = elapsed / lanes_done_ * (lanes_in_all_ - lanes_done_);
    text += " (" + std::to_string(lanes_done_ * 100 / lanes_in_all_) + " % done, about " +
            std::to_string(std::lround(left)) + " s left)";
  }
  progress_.line(subject, printable(text));
}

Result<Path> Runner::set_up(Entry& entry, const std::string& pod, unsigned epoch) {
  VMLANE_TRY(site_->make_pod(pod));
  VMLANE_ASSIGN(Path path, entry.lane->set_up(*site_, pod, entry.guest, options_.lane));
  VMLANE_TRY(client(path).await_answer(kAnswerLimit));
  if (path.attached) {
    note(entry, "add_ms", epoch, path.attached->add_ms, std::nullopt);
    note(entry, "nic_ready_ms", epoch, static_cast<double>(now_ns() - path.attached->started_ns) / 1e6,
         std::nullopt);
  }
  VMLANE_TRY(client(path).udp_closed(options_.sizes.front(), kWarmUp));
  return path;
}

Result<> Runner::remove_pod(Entry& entry, const std::string& pod, unsigned epoch) {
  VMLANE_ASSIGN(const auto del_ms, site_->remove_pod(pod));
  // Where the lane is no plugin's, the call that took its address back says nothing of it.
  if (del_ms && entry.result.series.contains("add_ms")) note(entry, "del_ms", epoch, *del_ms, std::nullopt);
  return {};
}

void Runner::note(Entry& entry, const char* key, unsigned epoch, double value, std::optional<double> ratio) {
  Series& series = entry.result.series[key];
  series.values.resize(options_.epochs);
  series.values[epoch].push_back(value);
  if (!ratio) return;
  series.ratio.resize(options_.epochs);
  series.ratio[epoch].push_back(*ratio);
}

Result<double> Runner::floor() {
  VMLANE_ASSIGN(const IpAddress loopback, IpAddress::parse("127.0.0.1"));
  const Client client(*floor_namespace_, {loopback}, interrupted_);
  VMLANE_ASSIGN(const Block block, client.udp_closed(options_.sizes.front(), kFloorBlock));
  return microseconds(block, 0.5);
}

// CPU time so far of all but the client that works on a path's packets.
Runner::CpuTimes Runner::cpu_times(const Path& path) const {
  CpuTimes times;
  for (const auto& [name, process] : path.processes) times[name] += process_cpu_ns(process.pid);
  for (const pid_t thread : softirq_threads_) times["ksoftirqd"] += process_cpu_ns(thread);
  return times;
}

// A way is a packet, so a round trip is two.
Result<Measured> Runner::block(const Path& path, const RttKind& kind) {
  const Client asking = client(path);
  Measured measured;
  CpuTimes before = cpu_times(path);
  Result<Block> block = fail(Code::kInternal, "not measured");
  const bool tcp = kind.protocol == "tcp";
  if (kind.rate > 0)
    block = tcp ? asking.tcp_open(kind.bytes, kind.rate, block_, random_())
                : asking.udp_open(kind.bytes, kind.rate, block_, random_());
  else
    block = tcp ? asking.tcp_closed(kind.bytes, block_) : asking.udp_closed(kind.bytes, block_);
  if (!block) return fail(block.error());
  measured.block = std::move(*block);
  const CpuTimes after = cpu_times(path);
  const auto packets = static_cast<double>(2 * measured.block.histogram.count());
  if (packets == 0)
    return fail(Code::kTryAgain, path.address.to_string() + " answered none of a block's requests");
  measured.packet_ns["client"] = static_cast<double>(measured.block.client_cpu_ns) / packets;
  for (const auto& [name, sum] : after)
    measured.packet_ns[name] = static_cast<double>(sum - before[name]) / packets;
  for (const auto& [name, spent] : measured.packet_ns) measured.packet_ns_sum += spent;
  return measured;
}

// Which of the two comes first alternates, so that a drift of the machine is in both directions.
Result<> Runner::pair(Entry* entry, const Path* path, std::size_t kind, unsigned epoch) {
  VMLANE_TRY(go_on());
  Pair pair{.entry = entry, .kind = kind, .epoch = epoch};
  VMLANE_ASSIGN(pair.floor_us, floor());
  floors_.push_back(pair.floor_us);
  const bool lane_first = pairs_.size() % 2 == 1;
  for (int turn = 0; turn < 2; turn++) {
    if ((turn == 0) != lane_first) {
      VMLANE_ASSIGN(pair.yardstick, block(yardstick_path_, kinds_[kind]));
    } else if (path != nullptr) {
      VMLANE_ASSIGN(pair.lane, block(*path, kinds_[kind]));
    }
  }
  VMLANE_TRY(go_on());  // a block that was cut short is no measurement
  pairs_.push_back(std::move(pair));
  return {};
}

// Nanoseconds of CPU for each datagram that arrives when they follow each other without a pause, so that what
// each costs is seen without the sleeping and waking in between.
Result<double> Runner::loaded_cpu(const Path& path) {
  CpuTimes before = cpu_times(path);
  VMLANE_ASSIGN(const Client::Flood flood, client(path).udp_flood(options_.sizes.front(), block_));
  if (flood.arrived == 0) return fail(Code::kTryAgain, path.address.to_string() + " got none of a flood");
  double sum = static_cast<double>(flood.client_cpu_ns);
  for (const auto& [name, spent] : cpu_times(path)) sum += static_cast<double>(spent - before[name]);
  return sum / static_cast<double>(flood.arrived);
}

Result<> Runner::one_series(Entry& entry, const Path& path, unsigned epoch, const char* key,
                            const std::function<Result<double>(const Path&)>& measure) {
  VMLANE_TRY(go_on());
  VMLANE_ASSIGN(const double reference, measure(yardstick_path_));
  std::optional<double> value;
  if (&entry != &yardstick()) {
    VMLANE_ASSIGN(value, measure(path));
  }
  VMLANE_TRY(go_on());
  note(yardstick(), key, epoch, reference, std::nullopt);
  if (value)
    note(entry, key, epoch, *value, reference > 0 ? std::optional(*value / reference) : std::nullopt);
  return {};
}

Result<> Runner::series(Entry& entry, const Path& path, unsigned epoch) {
  for (unsigned round = 0; round < options_.rounds; round++)
    VMLANE_TRY(one_series(entry, path, epoch, "cpu_ns_per_packet_loaded",
                          [this](const Path& of) { return loaded_cpu(of); }));
  VMLANE_TRY(one_series(entry, path, epoch, "udp_zero_loss_pps", [this](const Path& of) {
    return client(of).udp_zero_loss(options_.sizes.front(),
                                    std::min<Nanoseconds>(block_, std::chrono::milliseconds(300)));
  }));
  VMLANE_TRY(one_series(entry, path, epoch, "tcp_stream_gbps",
                        [this](const Path& of) { return client(of).tcp_stream(block_); }));
  return one_series(entry, path, epoch, "tcp_connections_per_second",
                    [this](const Path& of) { return client(of).tcp_connections(block_); });
}

void Runner::idle(Entry& entry, const Path& path, unsigned epoch) {
  std::map<std::string, std::uint64_t> before;
  for (const auto& [name, process] : path.processes) before[name] += process_cpu_ns(process.pid);
  const std::uint64_t start = now_ns();
  std::this_thread::sleep_for(block_);
  const auto took = static_cast<double>(now_ns() - start);
  double sum = 0;
  std::map<std::string, std::uint64_t> after;
  for (const auto& [name, process] : path.processes) after[name] += process_cpu_ns(process.pid);
  for (const auto& [name, spent] : after) {
    const double percent = 100 * static_cast<double>(spent - before[name]) / took;
    entry.idle_percent[name].push_back(percent);
    sum += percent;
  }
  note(entry, "idle_cpu_percent", epoch, sum, std::nullopt);
}

Result<> Runner::measure_path(Entry& entry, const Path& path, unsigned epoch) {
  const bool yardstick_only = &entry == &yardstick();
  for (unsigned round = 0; round < options_.rounds; round++)
    VMLANE_TRY(pair(yardstick_only ? nullptr : &entry, yardstick_only ? nullptr : &path, 0, epoch));
  for (std::size_t kind = 1; kind < kinds_.size(); kind++) {
    VMLANE_TRY(pair(yardstick_only ? nullptr : &entry, yardstick_only ? nullptr : &path, kind, epoch));
  }
  VMLANE_TRY(series(entry, path, epoch));
  idle(entry, path, epoch);
  return {};
}

// A lane that fails is told of and left out from then on; the others go on.
Result<> Runner::measure_lane(Entry& entry, unsigned epoch) {
  tell(entry.result.name + " (" + entry.guest + ")",
       "set-up " + std::to_string(epoch + 1) + " of " + std::to_string(options_.epochs));
  const auto measured = [&]() -> Result<> {
    VMLANE_ASSIGN(const Path path, set_up(entry, kLanePod, epoch));
    return measure_path(entry, path, epoch);
  }();
  const auto removed = remove_pod(entry, kLanePod, epoch);
  lanes_done_++;
  VMLANE_TRY(go_on());
  const auto& bad = measured ? removed : measured;
  if (bad) return {};
  entry.result.status = "failed";
  entry.result.reason = bad.error().text();
  tell(entry.result.name + " (" + entry.guest + ")", "failed: " + entry.result.reason);
  if (!removed) return removed;  // the next lane needs the pod's name
  return {};
}

Result<> Runner::epoch(unsigned number) {
  VMLANE_TRY(go_on());
  VMLANE_ASSIGN(yardstick_path_, set_up(yardstick(), kYardstickPod, number));
  std::vector<Entry*> order;
  for (const auto& entry : entries_) {
    if (entry.get() != &yardstick() && entry->result.status == "ok") order.push_back(entry.get());
  }
  std::ranges::shuffle(order, random_);
  for (Entry* entry : order) VMLANE_TRY(measure_lane(*entry, number));
  if (order.empty()) lanes_done_++;
  // By itself for what no lane has been measured beside it.
  if (order.empty() || !yardstick().result.series.contains("tcp_stream_gbps")) {
    VMLANE_TRY(measure_path(yardstick(), yardstick_path_, number));
  } else {
    idle(yardstick(), yardstick_path_, number);
  }
  return remove_pod(yardstick(), kYardstickPod, number);
}

Result<> Runner::measure() {
  VMLANE_TRY(site_->make_pod(kFloorPod));
  VMLANE_TRY(site_->start(kFloorPod, "floor", {"respond"}));
  VMLANE_TRY(site_->make_pod(kClientPod));
  VMLANE_TRY(site_->attach(kClientPod, "containers"));
  VMLANE_ASSIGN(client_namespace_, site_->pod(kClientPod));
  VMLANE_ASSIGN(floor_namespace_, site_->pod(kFloorPod));
  unsigned lanes = 0;
  for (const auto& entry : entries_) {
    if (entry.get() != &yardstick() && entry->result.status == "ok") lanes++;
  }
  lanes_in_all_ = std::max(lanes, 1U) * options_.epochs;
  started_ns_ = now_ns();
  for (unsigned number = 0; number < options_.epochs; number++) VMLANE_TRY(epoch(number));
  return {};
}

RttCell& Runner::cell(Entry& entry, std::size_t kind) {
  auto& cells = entry.result.rtt;
  const auto found = std::ranges::find(cells, kinds_[kind], &RttCell::kind);
  if (found != cells.end()) return *found;
  cells.push_back({.kind = kinds_[kind]});
  cells.back().p50_us.resize(options_.epochs);
  if (&entry != &yardstick()) {
    cells.back().p50_ratio.resize(options_.epochs);
    cells.back().p99_ratio.resize(options_.epochs);
  }
  return cells.back();
}

bool Runner::steady(const Pair& pair, double floor_median) {
  return std::abs(pair.floor_us / floor_median - 1) <= kFloorTolerance;
}

bool Runner::has_steady_twin(const Pair& pair, double floor_median) const {
  return std::ranges::any_of(pairs_, [&](const Pair& other) {
    return other.entry == pair.entry && other.kind == pair.kind && steady(other, floor_median);
  });
}

void Runner::fold_pair(const Pair& pair, double floor_median) {
  result_.noise.blocks++;
  if (!steady(pair, floor_median)) {
    result_.noise.discarded_blocks++;
    // A lane that would be left without any figure of that kind keeps what it has; the verdict tells.
    if (has_steady_twin(pair, floor_median)) return;
  }
  const auto add = [&](Entry& entry, const Measured& measured) {
    RttCell& cell = this->cell(entry, pair.kind);
    cell.histogram.merge(measured.block.histogram);
    cell.sent += measured.block.sent;
    cell.lost += measured.block.lost;
    cell.p50_us[pair.epoch].push_back(microseconds(measured.block, 0.5));
    if (pair.kind != 0) return;
    for (const auto& [name, spent] : measured.packet_ns) entry.packet_ns[name].push_back(spent);
    const bool own = &entry == &yardstick() || pair.yardstick.packet_ns_sum <= 0;
    note(entry, "cpu_ns_per_packet", pair.epoch, measured.packet_ns_sum,
         own ? std::nullopt : std::optional(measured.packet_ns_sum / pair.yardstick.packet_ns_sum));
  };
  add(yardstick(), pair.yardstick);
  if (!pair.lane) return;
  add(*pair.entry, *pair.lane);
  RttCell& cell = this->cell(*pair.entry, pair.kind);
  const auto ratio = [&](double fraction) {
    return microseconds(pair.lane->block, fraction) / microseconds(pair.yardstick.block, fraction);
  };
  cell.p50_ratio[pair.epoch].push_back(ratio(0.5));
  cell.p99_ratio[pair.epoch].push_back(ratio(0.99));
}

// Pairs beside which the machine itself was slow, or unusually fast, are left out.
void Runner::fold() {
  const double floor_median = median(floors_);
  for (const Pair& pair : pairs_) fold_pair(pair, floor_median);
  std::uint64_t wall = 0;
  std::uint64_t waited = 0;
  for (const Pair& pair : pairs_) {
    if (pair.kind != 0 || pair.yardstick.block.lost != 0) continue;
    wall += pair.yardstick.block.wall_ns;
    waited += pair.yardstick.block.histogram.sum();
  }
  if (wall > 0) result_.harness_percent = 100 * (1 - static_cast<double>(waited) / static_cast<double>(wall));
  for (const auto& entry : entries_) {
    for (const auto& [name, values] : entry->packet_ns) {
      const auto idle = entry->idle_percent.find(name);
      entry->result.processes.push_back(
          {name, median(values), idle == entry->idle_percent.end() ? 0 : median(idle->second)});
    }
    std::ranges::sort(entry->result.rtt, {}, [this](const RttCell& cell) {
      return std::ranges::find(kinds_, cell.kind) - kinds_.begin();
    });
    if (result_.status == "partial" && entry->result.status == "ok") {
      entry->result.status = "partial";
      entry->result.reason = result_.reason;
    }
    result_.lanes.push_back(std::move(entry->result));
  }
}

void Runner::judge_noise(const MachineCpu& before) {
  Noise& noise = result_.noise;
  noise.steal_percent = machine_cpu().steal_percent_since(before);
  noise.floor_p50_us = median(floors_);
  std::vector<double> deviations;
  for (const double floor : floors_) deviations.push_back(std::abs(floor - noise.floor_p50_us));
  if (noise.floor_p50_us > 0) noise.floor_spread_percent = 100 * median(deviations) / noise.floor_p50_us;
  const double discarded =
      noise.blocks == 0 ? 0 : static_cast<double>(noise.discarded_blocks) / static_cast<double>(noise.blocks);
  const auto complain = [&](bool bad, const std::string& why) {
    if (bad) noise.reasons.push_back(why);
    return bad;
  };
  constexpr double kSpreadLimit = 10;
  constexpr double kNoisyShare = 0.1;
  constexpr double kUnusableShare = 0.5;
  bool unusable = complain(noise.steal_percent > kMaxStealPercent, "the hypervisor took CPU time away");
  unusable |= complain(discarded > kUnusableShare, "more than half of the blocks had to be left out");
  bool noisy = complain(discarded > kNoisyShare && discarded <= kUnusableShare,
                        "more than a tenth of the blocks had to be left out");
  noisy |=
      complain(noise.floor_spread_percent > kSpreadLimit, "loop-back round trips spread by more than 10 %");
  noise.verdict = unusable ? "unusable" : noisy ? "noisy" : "quiet";
}

Result<RunResult> Runner::run() {
  const MachineCpu before = machine_cpu();
  result_.started = utc_now();
  result_.machine = describe_machine(options_.site);
  result_.settings = {{"duration", std::to_string(options_.duration)},
                      {"epochs", std::to_string(options_.epochs)},
                      {"rounds", std::to_string(options_.rounds)},
                      {"lanes", options_.lanes.empty() ? "all" : list_text(options_.lanes)},
                      {"guests", options_.guests.empty() ? "all" : list_text(options_.guests)},
                      {"rates", list_text(options_.rates)},
                      {"sizes", list_text(options_.sizes)},
                      {"seed", std::to_string(options_.seed)},
                      {"cpus", options_.site.cpus.empty() ? "not pinned" : cpu_list(options_.site.cpus)}};
  for (const auto& [lane, delay] : options_.lane.guest_delay_ns)
    result_.settings["planted delay in " + lane] = std::to_string(delay) + " ns";
  bool left_over = false;
  VMLANE_ASSIGN(site_, Site::open(options_.site, left_over));
  if (left_over)
    progress_.line("run", "removed what a killed run had left in " + options_.site.root.string());
  const auto measured = measure();
  const auto closed = site_->close();
  result_.seconds = static_cast<double>(now_ns() - started_ns_) / 1e9;
  result_.status = measured ? "complete" : "partial";
  if (!measured) result_.reason = measured.error().text();
  fold();
  judge_noise(before);
  if (!closed) return fail(closed.error().wrap("the run could not be taken down"));
  // Without a single pair there is nothing to report.
  if (!measured && pairs_.empty()) return fail(measured.error());
  return std::move(result_);
}

}  // namespace

Result<> check_run(const RunOptions& options) {
  VMLANE_TRY(check_names(options));
  VMLANE_TRY(check_numbers(options));
  VMLANE_TRY(lab::check_root());
  VMLANE_TRY(load_networks(options.site.networks));
  const auto lanes = all_lanes();
  VMLANE_TRY(lanes.front()->available(options.site, kContainerGuest));
  const auto entries = entries_of(options, lanes);
  const bool only_skipped = std::ranges::none_of(entries, [](const auto& entry) {
    return entry->guest != kContainerGuest && entry->result.status == "ok";
  });
  if (only_skipped && !options.lanes.empty() && entries.size() > 1) {
    return fail(Code::kNotAvailable,
                "none of the lanes that were named can be measured here: " + entries.back()->result.reason);
  }
  return check_idle(options);
}

Result<RunResult> run(const RunOptions& options, const lab::Progress& progress,
                      const Interrupted& interrupted) {
  return Runner(options, progress, interrupted).run();
}

}  // namespace vmlane::perf
