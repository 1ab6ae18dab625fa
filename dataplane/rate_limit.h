// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <rte_meter.h>

#include <cstdint>

#include "core/error.h"
#include "dataplane/dpdk.h"
#include "dataplane/port_spec.h"

namespace vmlane::dataplane {

// Bandwidth of a port in one direction: a token bucket (RFC 2697 without its second bucket). What is above is
// dropped, as in every policer: a switch that never waits has no place to keep it.
class RateLimit {
 public:
  // What counts for shorter bursts: two of the largest frames, or 10 ms at the rate.
  static constexpr std::uint64_t kLeastBurst = 128 * 1024;

  static Result<RateLimit> create(const Bandwidth& bandwidth);

  // Whether the frame may pass now. A frame that is to be segmented counts as its segments will.
  bool allows(const rte_mbuf& frame);

 private:
  RateLimit() = default;
  rte_meter_srtcm_profile profile_{};
  rte_meter_srtcm meter_{};
};

}  // namespace vmlane::dataplane
