// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

constexpr std::uint64_t kBitsPerByte = 8;
// What may wait in the queue before frames are dropped: 25 ms at the given rate, as the reference bandwidth
// plugin has it.
constexpr std::uint64_t kQueueFraction = 40;
// A small burst has every segmented frame taken apart, and is used up unseen while the processor that sends
// is at something else: tokens do not gather above it. So at least this, and this part of a second at the
// rate.
constexpr std::uint64_t kMinBurst = 65536;
constexpr std::uint64_t kBurstFraction = 100;

std::uint32_t clamp_u32(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
}

template <class Struct>
std::span<const std::uint8_t> bytes_of(const Struct& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof(value)};
}

tcmsg queue_header(int index, std::uint32_t parent) {
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = index;
  header.tcm_parent = parent;
  return header;
}

// Behind the filters of those who decide whether a frame may pass at all.
constexpr std::uint32_t kRedirectPriority = 49152;
constexpr int kPriorityShift = 16;

// A u32 filter without keys, which takes every frame, and its one action.
Message redirect_message(int index, int ifb) {
  tcmsg header = queue_header(index, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS));
  header.tcm_info = (kRedirectPriority << kPriorityShift) | htons(ETH_P_ALL);
  tc_u32_sel all{};
  all.flags = TC_U32_TERMINAL;
  const auto all_bytes = bytes_of(all);
  tc_mirred redirect{};
  redirect.action = TC_ACT_STOLEN;
  redirect.eaction = TCA_EGRESS_REDIR;
  redirect.ifindex = static_cast<std::uint32_t>(ifb);
  Message message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, header);
  message.put_string(TCA_KIND, "u32");
  message.nest(TCA_OPTIONS, [&] {
    message.put(TCA_U32_SEL, all_bytes);
    message.nest(TCA_U32_ACT, [&] {
      message.nest(1, [&] {
        message.put_string(TCA_ACT_KIND, "mirred");
        message.nest(TCA_ACT_OPTIONS, [&] { message.put(TCA_MIRRED_PARMS, bytes_of(redirect)); });
      });
    });
  });
  return message;
}

}  // namespace

Result<> KernelNetlink::redirect_received(int index, int ifb) {
  tcmsg header = queue_header(index, TC_H_CLSACT);
  header.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  Message clsact(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, header);
  clsact.put_string(TCA_KIND, "clsact");
  VMLANE_ASSIGN(const Reply made, socket_.request(clsact));
  const std::string what = "redirect what link with index " + std::to_string(index) + " receives";
  if (!made.ok() && made.error != EEXIST) return fail(made.to_error(what));
  Message filter = redirect_message(index, ifb);
  VMLANE_ASSIGN(const Reply reply, socket_.request(filter));
  if (!reply.ok()) return fail(reply.to_error(what));
  return {};
}

Result<> KernelNetlink::limit_egress(int index, const RateLimit& limit) {
  const std::uint64_t rate = std::max<std::uint64_t>(limit.bits_per_second / kBitsPerByte, 1);
  const std::uint32_t burst =
      clamp_u32(std::max({limit.burst_bits / kBitsPerByte, kMinBurst, rate / kBurstFraction}));
  tc_tbf_qopt options{};
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;
  options.rate.rate = clamp_u32(rate);
  options.limit = clamp_u32(rate / kQueueFraction + burst);
  Message message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, queue_header(index, TC_H_ROOT));
  message.put_string(TCA_KIND, "tbf");
  message.nest(TCA_OPTIONS, [&] {
    message.put(TCA_TBF_PARMS, bytes_of(options));
    message.put_u32(TCA_TBF_BURST, burst);
    if (rate > UINT32_MAX) message.put(TCA_TBF_RATE64, bytes_of(rate));
  });
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (!reply.ok()) return fail(reply.to_error("limit the rate of link with index " + std::to_string(index)));
  return {};
}

}  // namespace vmlane::netlink
