// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/metric_family.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace prometheus {  // NOLINT(readability-identifier-naming): the library's name
class Exposer;
}

namespace vmlane::dataplane {

// Gives counters to Prometheus over HTTP, at /metrics.
class MetricsServer {
 public:
  // Called by threads of the server's.
  using Collect = std::function<std::vector<prometheus::MetricFamily>()>;

  // `address` as parse() gives it. Code::kTryAgain when it cannot be listened on, as while another switch
  // still does.
  static Result<std::unique_ptr<MetricsServer>> start(const std::string& address, Collect collect);
  // Waits for who is being answered.
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // "192.0.2.1:9464" or "[2001:db8::1]:9464" as it was; an error for anything else.
  static Result<std::string> parse(const std::string& text);

 private:
  class Source;
  MetricsServer(std::unique_ptr<prometheus::Exposer> exposer, std::shared_ptr<Source> source);

  std::shared_ptr<Source> source_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // goes first
};

}  // namespace vmlane::dataplane
