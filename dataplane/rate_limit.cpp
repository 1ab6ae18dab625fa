// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rate_limit.h"

#include <algorithm>
#include <string>

namespace vmlane::dataplane {

Result<RateLimit> RateLimit::create(const Bandwidth& bandwidth) {
  constexpr std::uint64_t kByteBits = 8;
  constexpr std::uint64_t kPartOfSecond = 100;
  const std::uint64_t rate = (bandwidth.rate + kByteBits / 2) / kByteBits;
  rte_meter_srtcm_params parameters{};
  parameters.cir = rate;
  parameters.cbs = std::max({bandwidth.burst / kByteBits, rate / kPartOfSecond, kLeastBurst});
  RateLimit limit;
  if (rte_meter_srtcm_profile_config(&limit.profile_, &parameters) != 0 ||
      rte_meter_srtcm_config(&limit.meter_, &limit.profile_) != 0)
    return fail(Code::kInvalidConfig,
                "a bandwidth of " + std::to_string(bandwidth.rate) + " bit/s cannot be metered");
  return limit;
}

bool RateLimit::allows(const rte_mbuf& frame) {
  std::uint32_t bytes = frame.pkt_len;
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0 && frame.tso_segsz != 0) {
    const auto headers = static_cast<std::uint32_t>(frame.l2_len + frame.l3_len + frame.l4_len);
    const std::uint32_t payload = frame.pkt_len - std::min(headers, frame.pkt_len);
    if (payload != 0) bytes += (payload - 1) / frame.tso_segsz * headers;
  }
  return rte_meter_srtcm_color_blind_check(&meter_, &profile_, rte_rdtsc(), bytes) == RTE_COLOR_GREEN;
}

}  // namespace vmlane::dataplane
