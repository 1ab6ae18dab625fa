// SPDX-License-Identifier: Apache-2.0
// The switch's counters as Prometheus wants them.
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/metrics_server.h"
#include "dataplane/switch.h"

namespace vmlane::dataplane {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Families {
 public:
  void counter(const std::string& name, const std::string& help) { begin(name, help, MetricType::Counter); }
  void gauge(const std::string& name, const std::string& help) { begin(name, help, MetricType::Gauge); }
  // Of the family that was begun last.
  void sample(Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    (all_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    all_.back().metric.push_back(std::move(metric));
  }
  void histogram(const std::string& name, const std::string& help, ClientMetric::Histogram values) {
    begin(name, help, MetricType::Histogram);
    ClientMetric metric;
    metric.histogram = std::move(values);
    all_.back().metric.push_back(std::move(metric));
  }
  std::vector<MetricFamily> take() { return std::move(all_); }

 private:
  void begin(const std::string& name, const std::string& help, MetricType type) {
    all_.push_back({.name = "vmlane_switch_" + name, .help = help, .type = type, .metric = {}});
  }
  std::vector<MetricFamily> all_;
};

Labels port_labels(const Json& row, Labels more = {}) {
  Labels labels = {{"port", row.value("port", "")},
                   {"network", row.value("network", "")},
                   {"workload", row.value("workload", "")}};
  labels.insert(labels.end(), more.begin(), more.end());
  return labels;
}

double number(const Json& value) {
  return value.is_number() ? value.get<double>() : 0;
}

void add_ports(Families& families, const Json& ports) {
  constexpr std::array<std::array<const char*, 3>, 9> kCounters = {{
      {"rx", "received_frames_total", "Frames that the port's guest or uplink sent"},
      {"rx_bytes", "received_bytes_total", "Bytes of those"},
      {"tx", "sent_frames_total", "Frames that the port's guest or uplink was given"},
      {"tx_bytes", "sent_bytes_total", "Bytes of those"},
      {"segmented", "segmented_frames_total", "Frames that the switch cut for their receiver"},
      {"checksummed", "checksummed_frames_total", "Frames whose checksum the switch filled in"},
      {"announced", "announcements_total", "How often others were told where the guest is"},
      {"short_turns", "short_turns_total",
       "Rounds in which the port's frames were too costly for a full burst"},
      {"quarantines", "port_quarantines_total", "How often the switch itself took the port out of service"},
  }};
  for (const auto& [key, name, help] : kCounters) {
    families.counter(name, help);
    for (const Json& row : ports) {
      if (row.contains(key)) families.sample(port_labels(row), number(row[key]));
    }
  }
  families.gauge("port_up", "Whether the port forwards");
  for (const Json& row : ports)
    families.sample(port_labels(row), row["state"] == "running" && !row.contains("quarantined") ? 1 : 0);
  families.gauge("port_state", "Which of its states the port is in");
  for (const Json& row : ports) {
    for (const char* state : {"waiting", "refused", "connected", "running"})
      families.sample(port_labels(row, {{"state", state}}), row["state"] == state ? 1 : 0);
  }
  families.gauge("port_quarantined", "Whether the port is out of service, by whom and why");
  for (const Json& row : ports) {
    if (!row.contains("quarantined")) continue;
    families.sample(
        port_labels(row, {{"by", row.value("quarantined_by", "")}, {"reason", row.value("quarantined", "")}}),
        1);
  }
}

}  // namespace

std::vector<MetricFamily> Switch::metrics() {
  Families families;
  add_ports(families, ports_json());
  families.counter("dropped_frames_total", "Frames that went no further, by the port that it is counted at");
  for (const Json& row : drops_json()) {
    families.sample({{"port", row.value("port", "")},
                     {"network", row.value("network", "")},
                     {"reason", row.value("reason", "")}},
                    number(row["frames"]));
  }
  const Json stats = stats_json();
  const Json& worker = stats["worker"];
  families.counter("worker_seconds_total", "What the worker's time went into");
  for (const char* state : {"busy", "spinning", "blocked"})
    families.sample({{"state", state}}, number(worker[std::string(state) + "_seconds"]));
  families.counter("worker_wakes_total", "How often the worker was woken");
  families.sample({}, number(worker["wakes"]));
  families.histogram(
      "round_seconds",
      "Rounds that moved frames: what one brought in has left at its end, so no frame was in the "
      "switch for longer",
      round_histogram());
  families.gauge("buffers_free", "Buffers that hold no frame");
  families.sample({}, number(stats["buffers"]["free"]));
  families.gauge("drained", "Whether an operator has the switch take no frames");
  families.sample({}, drained_until_ ? 1 : 0);
  families.gauge("policy_generation", "Generation of the policy tables in use, 0 without");
  families.sample({}, number(stats["policy_generation"]));
  return families.take();
}

ClientMetric::Histogram Switch::round_histogram() {
  constexpr double kNanosecond = 1e-9;
  WorkerTimes times;
  worker_->mailbox().run([&] { times = worker_->times(); });
  ClientMetric::Histogram histogram;
  histogram.sample_sum = static_cast<double>(times.busy) * kNanosecond;
  for (std::size_t i = 0; i < times.rounds_by_length.size(); i++) {
    histogram.sample_count += times.rounds_by_length[i];
    const double bound = i + 1 == times.rounds_by_length.size()
                             ? std::numeric_limits<double>::infinity()
                             : static_cast<double>(WorkerTimes::longest_of(i)) * kNanosecond;
    histogram.bucket.push_back({.cumulative_count = histogram.sample_count, .upper_bound = bound});
  }
  return histogram;
}

Json Switch::metrics_json() {
  return prometheus::TextSerializer().Serialize(metrics());
}

// Not before frames are moved, which they wait for. The switch before this one may still have the address.
void Switch::serve_metrics() {
  if (waits_for_keeper_ || metrics_address_.empty() || metrics_server_) return;
  auto started = MetricsServer::start(metrics_address_, [this] {
    std::vector<MetricFamily> all;
    errands_->run([&] { all = metrics(); });
    return all;
  });
  if (started) {
    metrics_server_ = std::move(*started);
    metrics_problem_.clear();
    log_.info("metrics are given", {{"address", metrics_address_}});
    return;
  }
  const std::string problem = started.error().text();
  if (problem != metrics_problem_) log_.error("metrics are not given", {{"error", problem}});
  metrics_problem_ = problem;
}

// Who is being answered waits for this thread.
void Switch::end_metrics() {
  if (errands_) errands_->close();
  metrics_server_.reset();
}

}  // namespace vmlane::dataplane
