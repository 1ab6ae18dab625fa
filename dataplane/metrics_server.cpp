// SPDX-License-Identifier: Apache-2.0
#include "dataplane/metrics_server.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <charconv>
#include <exception>
#include <utility>

#include "core/address.h"

namespace vmlane::dataplane {

class MetricsServer::Source final : public prometheus::Collectable {
 public:
  explicit Source(MetricsServer::Collect collect) : collect_(std::move(collect)) {}
  std::vector<prometheus::MetricFamily> Collect() const override { return collect_(); }

 private:
  MetricsServer::Collect collect_;
};

MetricsServer::MetricsServer(std::unique_ptr<prometheus::Exposer> exposer, std::shared_ptr<Source> source)
    : source_(std::move(source)), exposer_(std::move(exposer)) {}

MetricsServer::~MetricsServer() = default;

Result<std::string> MetricsServer::parse(const std::string& text) {
  const auto wrong = [&] {
    return fail(Code::kInvalidConfig,
                "\"" + text +
                    "\" is no address to give metrics at: 192.0.2.1:9464 or [2001:db8::1]:9464 would be one");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return wrong();
  std::string address = text.substr(0, colon);
  const bool bracketed = address.size() >= 2 && address.front() == '[' && address.back() == ']';
  if (bracketed) address = address.substr(1, address.size() - 2);
  const auto parsed = IpAddress::parse(address);
  if (!parsed || parsed->v6 != bracketed) return wrong();
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc() || rest != end || port == 0) return wrong();
  return text;
}

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(const std::string& address, Collect collect) {
  constexpr std::size_t kThreads = 2;
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address, kThreads);
    auto source = std::make_shared<Source>(std::move(collect));
    exposer->RegisterCollectable(source);
    return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(exposer), std::move(source)));
  } catch (const std::exception&) {
    return fail(Code::kTryAgain,
                "metrics cannot be given at " + address + ": the address is taken, or not this node's");
  }
}

}  // namespace vmlane::dataplane
