// SPDX-License-Identifier: Apache-2.0
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

constexpr std::uint64_t kBitsPerByte = 8;
// What may wait in the queue before frames are dropped: 25 ms at the given rate, as the reference bandwidth
// plugin has it.
constexpr std::uint64_t kQueueFraction = 40;
// A burst below one full-size segmented packet would let a large frame never pass.
constexpr std::uint64_t kMinBurst = 65536;

std::uint32_t clamp_u32(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
}

}  // namespace

Result<> KernelNetlink::limit_egress(int index, const RateLimit& limit) {
  const std::uint64_t rate = std::max<std::uint64_t>(limit.bits_per_second / kBitsPerByte, 1);
  const std::uint32_t burst = clamp_u32(std::max(limit.burst_bits / kBitsPerByte, kMinBurst));
  tc_tbf_qopt options{};
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;
  options.rate.rate = clamp_u32(rate);
  options.limit = clamp_u32(rate / kQueueFraction + burst);
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = index;
  header.tcm_parent = TC_H_ROOT;
  Message message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, header);
  message.put_string(TCA_KIND, "tbf");
  message.nest(TCA_OPTIONS, [&] {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&options);
    message.put(TCA_TBF_PARMS, std::span(bytes, sizeof(options)));
    message.put_u32(TCA_TBF_BURST, burst);
    if (rate > UINT32_MAX)
      message.put(TCA_TBF_RATE64, std::span(reinterpret_cast<const std::uint8_t*>(&rate), sizeof(rate)));
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (!reply.ok()) return fail(reply.to_error("limit the rate of link with index " + std::to_string(index)));
  return {};
}

}  // namespace vmlane::netlink
