// SPDX-License-Identifier: Apache-2.0
#include "perf/self_test.h"

#include <vector>

#include "perf/lanes/container.h"
#include "perf/statistics.h"
#include "perf/timing.h"

namespace vmlane::perf {
namespace {

double instruments_ns() {
  constexpr int kTimes = 200'000;
  Histogram histogram;
  const std::uint64_t start = now_ns();
  for (int i = 0; i < kTimes; i++) {
    const std::uint64_t before = now_ns();
    histogram.record(now_ns() - before);
  }
  return static_cast<double>(now_ns() - start) / kTimes;
}

}  // namespace

Result<SelfTest> self_test(const SiteOptions& options, bool cross_checks, const Interrupted& interrupted) {
  SelfTest out;
  out.instruments_ns = instruments_ns();
  bool left_over = false;
  VMLANE_ASSIGN(const auto site, Site::open(options, left_over));
  VMLANE_TRY(site->make_pod("floor"));
  VMLANE_TRY(site->start("floor", "floor", {"respond"}));
  VMLANE_TRY(site->make_pod("client"));
  VMLANE_TRY(site->attach("client", "containers"));
  VMLANE_TRY(site->make_pod("container"));
  VMLANE_ASSIGN(const Path path, ContainerLane().set_up(*site, "container", kContainerGuest, {}));
  VMLANE_ASSIGN(const auto client_namespace, site->pod("client"));
  const Client container(client_namespace, {path.address}, interrupted);
  constexpr std::uint32_t kBytes = 64;
  VMLANE_TRY(container.await_answer(std::chrono::seconds(5)));
  VMLANE_TRY(container.udp_closed(kBytes, std::chrono::milliseconds(100)));
  VMLANE_ASSIGN(const Block block, container.udp_closed(kBytes, std::chrono::milliseconds(500)));
  out.container_p50_us = static_cast<double>(block.histogram.percentile(0.5)) / 1000;
  out.instruments_percent = out.instruments_ns / 10 / out.container_p50_us;

  if (cross_checks) {
    VMLANE_ASSIGN(out.cross_checks, cross_check(*site, "client", "container", path.address, interrupted));
  }

  VMLANE_ASSIGN(const auto floor_namespace, site->pod("floor"));
  VMLANE_ASSIGN(const IpAddress loopback, IpAddress::parse("127.0.0.1"));
  const Client floor(floor_namespace, {loopback}, interrupted);
  constexpr int kBlocks = 60;
  constexpr std::uint64_t kTrips = 500;
  std::vector<double> bare;
  std::vector<double> timed;
  std::vector<double> ratios;
  for (int i = 0; i < kBlocks && !interrupted(); i++) {
    for (const bool instruments : {i % 2 == 0, i % 2 != 0}) {
      VMLANE_ASSIGN(const double took, floor.udp_trips(kBytes, kTrips, instruments));
      (instruments ? timed : bare).push_back(took / 1000);
    }
    ratios.push_back(timed.back() / bare.back());
  }
  out.bare_us = median(bare);
  out.timed_us = median(timed);
  out.difference_percent = 100 * (median(ratios) - 1);
  VMLANE_TRY(site->close());
  return out;
}

}  // namespace vmlane::perf
