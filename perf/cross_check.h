// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "perf/client.h"
#include "perf/site.h"

namespace vmlane::perf {

// A figure of the container's lane, by this program and by a generator that everybody knows.
struct CrossCheck {
  std::string generator;  // "sockperf" ...
  std::string quantity;
  std::string unit;
  double own = 0;  // medians of a few turns each
  double other = 0;
  std::string skipped;  // why there is no figure, else empty
};

// TCP stream by iperf3 and UDP round trip by sockperf, each in turns with the client's own, between the
// client's pod and `pod`, which has `address`. What is not installed is skipped.
Result<std::vector<CrossCheck>> cross_check(const Site& site, const std::string& client_pod,
                                            const std::string& pod, const IpAddress& address,
                                            const Interrupted& interrupted);

// The figures in what the generators print, for tests: bits a second that the receiver counted, in Gbit/s,
// and the median in microseconds. Code::kDecode quoting the text where there is none.
Result<double> iperf3_gbps(const std::string& output);
Result<double> sockperf_p50_us(const std::string& output);

}  // namespace vmlane::perf
