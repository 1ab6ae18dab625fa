// SPDX-License-Identifier: Apache-2.0
#include "perf/result.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string_view>

#include "core/files.h"

namespace vmlane::perf {
namespace {

constexpr auto kLarge = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kMaxFile = std::size_t{64} << 20;

Json to_json(const Estimate& estimate) {
  return {{"median", estimate.median}, {"low", estimate.low}, {"high", estimate.high}};
}

double microseconds(const Histogram& histogram, double fraction) {
  return static_cast<double>(histogram.percentile(fraction)) / 1000;
}

Json percentiles(const Histogram& histogram) {
  return {{"p50_us", microseconds(histogram, 0.5)},
          {"p90_us", microseconds(histogram, 0.9)},
          {"p99_us", microseconds(histogram, 0.99)},
          {"p999_us", microseconds(histogram, 0.999)},
          {"max_us", static_cast<double>(histogram.max()) / 1000}};
}

bool any(const Epochs& epochs) {
  for (const auto& epoch : epochs) {
    if (!epoch.empty()) return true;
  }
  return false;
}

Json to_json(const RttCell& cell) {
  Json json = percentiles(cell.histogram);
  json["protocol"] = cell.kind.protocol;
  json["bytes"] = cell.kind.bytes;
  json["rate"] = cell.kind.rate;
  json["sent"] = cell.sent;
  json["lost"] = cell.lost;
  json["histogram"] = cell.histogram.to_json();
  json["p50_ratio"] = cell.p50_ratio;
  json["p99_ratio"] = cell.p99_ratio;
  json["block_p50_us"] = cell.p50_us;
  return json;
}

Json to_json(const LaneResult& lane) {
  Json json = {{"name", lane.name}, {"guest", lane.guest}, {"status", lane.status}, {"reason", lane.reason}};
  json["cells"] = Json::array();
  for (const RttCell& cell : lane.rtt) json["cells"].push_back(to_json(cell));
  if (!lane.rtt.empty()) {
    const RttCell& headline = lane.rtt.front();
    json["rtt"] = percentiles(headline.histogram);
    const bool yardstick = lane.name == kYardstick;
    const Estimate one{1, 1, 1};
    if (yardstick || any(headline.p50_ratio)) {
      json["ratio_to_container"] = {{"p50", to_json(yardstick ? one : bootstrap(headline.p50_ratio))},
                                    {"p99", to_json(yardstick ? one : bootstrap(headline.p99_ratio))}};
    }
  }
  json["series"] = Json::object();
  for (const auto& [key, series] : lane.series)
    json["series"][key] = {
        {"values", series.values}, {"ratio", series.ratio}, {"median", bootstrap(series.values).median}};
  json["processes"] = Json::array();
  for (const ProcessCpu& process : lane.processes)
    json["processes"].push_back({{"name", process.name},
                                 {"ns_per_packet", process.ns_per_packet},
                                 {"idle_percent", process.idle_percent}});
  return json;
}

// Reads one object of a result. `what` is its place in the file, with a dot at the end.
class Reader {
 public:
  Reader(const Json& json, const std::string& what) : reader_(json, what, Code::kDecode) {}

  Result<std::string> text(const char* key) {
    VMLANE_ASSIGN(auto value, reader_.string(key));
    if (!value) return reader_.wrong(key, "text");
    return std::move(*value);
  }
  Result<double> number(const char* key) {
    const Json* value = reader_.find(key);
    if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>()))
      return reader_.wrong(key, "a number");
    return value->get<double>();
  }
  // One of a few words: a status nobody knows would be shown as if all were well.
  Result<std::string> word(const char* key, std::initializer_list<std::string_view> words) {
    VMLANE_ASSIGN(auto value, text(key));
    if (std::ranges::find(words, value) != words.end()) return value;
    std::string expected;
    for (const std::string_view known : words)
      expected += (expected.empty() ? "one of " : ", ") + std::string(known);
    return reader_.wrong(key, expected);
  }
  Result<std::uint64_t> count(const char* key, std::int64_t most = kLarge) {
    VMLANE_ASSIGN(const auto value, reader_.integer(key, 0, most));
    if (!value) return reader_.wrong(key, "a count");
    return static_cast<std::uint64_t>(*value);
  }
  Result<const Json*> object(const char* key) {
    VMLANE_ASSIGN(const Json* value, reader_.object(key));
    if (value == nullptr) return reader_.wrong(key, "an object");
    return value;
  }
  Result<const Json*> array(const char* key) {
    VMLANE_ASSIGN(const Json* value, reader_.array(key));
    if (value == nullptr) return reader_.wrong(key, "a list");
    return value;
  }
  Result<Epochs> epochs(const char* key) {
    VMLANE_ASSIGN(const Json* value, array(key));
    Epochs epochs;
    for (const Json& epoch : *value) {
      if (!epoch.is_array()) return reader_.wrong(key, "a list of lists of numbers");
      epochs.emplace_back();
      for (const Json& number : epoch) {
        if (!number.is_number() || !std::isfinite(number.get<double>()))
          return reader_.wrong(key, "a list of lists of numbers");
        epochs.back().push_back(number.get<double>());
      }
    }
    return epochs;
  }
  Result<std::map<std::string, std::string>> texts(const char* key) {
    VMLANE_ASSIGN(const Json* value, object(key));
    std::map<std::string, std::string> texts;
    for (const auto& [name, text] : value->items()) {
      if (!text.is_string()) return reader_.wrong(key, "an object of texts");
      texts[name] = text.get<std::string>();
    }
    return texts;
  }
  Result<std::vector<std::string>> list(const char* key) {
    VMLANE_ASSIGN(auto value, reader_.strings(key));
    if (!value) return reader_.wrong(key, "a list of texts");
    return std::move(*value);
  }

 private:
  ObjectReader reader_;
};

Result<RttCell> read_cell(const Json& json, const std::string& what) {
  Reader reader(json, what);
  RttCell cell;
  VMLANE_ASSIGN(cell.kind.protocol, reader.text("protocol"));
  VMLANE_ASSIGN(const std::uint64_t bytes, reader.count("bytes", std::numeric_limits<std::uint32_t>::max()));
  cell.kind.bytes = static_cast<std::uint32_t>(bytes);
  VMLANE_ASSIGN(cell.kind.rate, reader.number("rate"));
  VMLANE_ASSIGN(cell.sent, reader.count("sent"));
  VMLANE_ASSIGN(cell.lost, reader.count("lost"));
  VMLANE_ASSIGN(const Json* histogram, reader.object("histogram"));
  VMLANE_ASSIGN(cell.histogram, Histogram::from_json(*histogram, what + "histogram."));
  VMLANE_ASSIGN(cell.p50_ratio, reader.epochs("p50_ratio"));
  VMLANE_ASSIGN(cell.p99_ratio, reader.epochs("p99_ratio"));
  VMLANE_ASSIGN(cell.p50_us, reader.epochs("block_p50_us"));
  return cell;
}

Result<LaneResult> read_lane(const Json& json, const std::string& what) {
  if (!json.is_object()) return fail(Code::kDecode, what + " is no object");
  Reader reader(json, what + ".");
  LaneResult lane;
  VMLANE_ASSIGN(lane.name, reader.text("name"));
  VMLANE_ASSIGN(lane.guest, reader.text("guest"));
  VMLANE_ASSIGN(lane.status, reader.word("status", {"ok", "skipped", "failed", "partial"}));
  VMLANE_ASSIGN(lane.reason, reader.text("reason"));
  VMLANE_ASSIGN(const Json* cells, reader.array("cells"));
  for (std::size_t i = 0; i < cells->size(); i++) {
    VMLANE_ASSIGN(auto cell, read_cell((*cells)[i], what + ".cells[" + std::to_string(i) + "]."));
    lane.rtt.push_back(std::move(cell));
  }
  VMLANE_ASSIGN(const Json* series, reader.object("series"));
  for (const auto& [key, value] : series->items()) {
    Reader entry(value, what + ".series." + key + ".");
    VMLANE_ASSIGN(lane.series[key].values, entry.epochs("values"));
    VMLANE_ASSIGN(lane.series[key].ratio, entry.epochs("ratio"));
  }
  VMLANE_ASSIGN(const Json* processes, reader.array("processes"));
  for (std::size_t i = 0; i < processes->size(); i++) {
    Reader entry((*processes)[i], what + ".processes[" + std::to_string(i) + "].");
    ProcessCpu process;
    VMLANE_ASSIGN(process.name, entry.text("name"));
    VMLANE_ASSIGN(process.ns_per_packet, entry.number("ns_per_packet"));
    VMLANE_ASSIGN(process.idle_percent, entry.number("idle_percent"));
    lane.processes.push_back(std::move(process));
  }
  return lane;
}

Json to_json(const Noise& noise) {
  return {{"verdict", noise.verdict},
          {"reasons", noise.reasons},
          {"steal_percent", noise.steal_percent},
          {"floor_p50_us", noise.floor_p50_us},
          {"floor_spread_percent", noise.floor_spread_percent},
          {"discarded_blocks", noise.discarded_blocks},
          {"blocks", noise.blocks}};
}

Result<Noise> read_noise(const Json& json) {
  Reader reader(json, "noise.");
  Noise noise;
  VMLANE_ASSIGN(noise.verdict, reader.word("verdict", {"quiet", "noisy", "unusable"}));
  VMLANE_ASSIGN(noise.reasons, reader.list("reasons"));
  VMLANE_ASSIGN(noise.steal_percent, reader.number("steal_percent"));
  VMLANE_ASSIGN(noise.floor_p50_us, reader.number("floor_p50_us"));
  VMLANE_ASSIGN(noise.floor_spread_percent, reader.number("floor_spread_percent"));
  VMLANE_ASSIGN(noise.discarded_blocks, reader.count("discarded_blocks"));
  VMLANE_ASSIGN(noise.blocks, reader.count("blocks"));
  return noise;
}

}  // namespace

std::string RttKind::title() const {
  std::string text = protocol + " " + std::to_string(bytes) + " B";
  if (rate > 0) text += " at " + std::to_string(std::lround(rate)) + "/s";
  return text;
}

Json RunResult::to_json() const {
  Json json = {{"schema", kResultSchema},
               {"started", started},
               {"seconds", seconds},
               {"status", status},
               {"reason", reason},
               {"machine", machine},
               {"settings", settings},
               {"noise", perf::to_json(noise)},
               {"harness_percent", harness_percent},
               {"lanes", Json::array()}};
  for (const LaneResult& lane : lanes) json["lanes"].push_back(perf::to_json(lane));
  return json;
}

Result<RunResult> RunResult::from_json(const Json& json) {
  if (!json.is_object()) return fail(Code::kDecode, "the result is no JSON object");
  Reader reader(json, "");
  VMLANE_ASSIGN(const std::uint64_t schema, reader.count("schema"));
  if (schema != kResultSchema)
    return fail(Code::kIncompatibleVersion, "key \"schema\" is " + std::to_string(schema) +
                                                ", this program reads " + std::to_string(kResultSchema));
  RunResult result;
  VMLANE_ASSIGN(result.started, reader.text("started"));
  VMLANE_ASSIGN(result.seconds, reader.number("seconds"));
  VMLANE_ASSIGN(result.status, reader.word("status", {"complete", "partial"}));
  VMLANE_ASSIGN(result.reason, reader.text("reason"));
  VMLANE_ASSIGN(result.machine, reader.texts("machine"));
  VMLANE_ASSIGN(result.settings, reader.texts("settings"));
  VMLANE_ASSIGN(const Json* noise, reader.object("noise"));
  VMLANE_ASSIGN(result.noise, read_noise(*noise));
  VMLANE_ASSIGN(result.harness_percent, reader.number("harness_percent"));
  VMLANE_ASSIGN(const Json* lanes, reader.array("lanes"));
  for (std::size_t i = 0; i < lanes->size(); i++) {
    VMLANE_ASSIGN(auto lane, read_lane((*lanes)[i], "lanes[" + std::to_string(i) + "]"));
    result.lanes.push_back(std::move(lane));
  }
  return result;
}

Result<RunResult> read_result(const std::filesystem::path& file) {
  VMLANE_ASSIGN(const auto text, read_file(file, kMaxFile));
  if (!text) return fail(Code::kNotFound, "there is no file " + file.string());
  // Not parse_json, which takes no more than a CNI configuration may have.
  const Json json = Json::parse(*text, nullptr, false);
  if (json.is_discarded()) return fail(Code::kDecode, file.string() + " is no JSON");
  auto result = RunResult::from_json(json);
  if (!result) return fail(result.error().wrap("cannot read " + file.string()));
  return result;
}

Result<> write_result(const std::filesystem::path& file, const RunResult& result) {
  // Reasons carry what programs printed, which need not be UTF-8: a run is not lost to a byte of theirs.
  const std::string text = result.to_json().dump(1, ' ', false, Json::error_handler_t::replace);
  return write_file_atomically(file, text + "\n", {.mode = 0644});
}

std::optional<Estimate> ratio_to_container(const LaneResult& lane) {
  if (lane.name == kYardstick) return Estimate{1, 1, 1};
  if (lane.rtt.empty() || !any(lane.rtt.front().p50_ratio)) return std::nullopt;
  return bootstrap(lane.rtt.front().p50_ratio);
}

}  // namespace vmlane::perf
