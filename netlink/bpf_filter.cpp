// SPDX-License-Identifier: Apache-2.0
#include "netlink/bpf_filter.h"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

// Where our filters are in a clsact qdisc. Fixed, with the order as priority, so that they can be found and
// replaced.
constexpr std::uint32_t kFilterHandle = 1;

std::uint32_t parent_of(Direction direction) {
  return TC_H_MAKE(TC_H_CLSACT, direction == Direction::kIngress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

tcmsg filter_header(int index, Direction direction, FilterOrder order) {
  constexpr unsigned kPriorityShift = 16;
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = index;
  header.tcm_parent = parent_of(direction);
  header.tcm_handle = kFilterHandle;
  header.tcm_info = (static_cast<std::uint32_t>(order) << kPriorityShift) | htons(ETH_P_ALL);
  return header;
}

Message qdisc_message(int index) {
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = index;
  header.tcm_parent = TC_H_CLSACT;
  header.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  Message message(RTM_NEWQDISC, NLM_F_CREATE, header);
  message.put_string(TCA_KIND, "clsact");
  return message;
}

std::string subject(int index, Direction direction) {
  return std::string("the ") + (direction == Direction::kIngress ? "ingress" : "egress") +
         " of link with index " + std::to_string(index);
}

}  // namespace

Result<> set_bpf_filter(const Namespace& network_namespace, int index, Direction direction,
                        const BpfFilterSpec& spec) {
  VMLANE_ASSIGN(Socket socket, Socket::open(network_namespace));
  Message filter(RTM_NEWTFILTER, NLM_F_CREATE, filter_header(index, direction, spec.order));
  filter.put_string(TCA_KIND, "bpf");
  filter.nest(TCA_OPTIONS, [&] {
    filter.put_u32(TCA_BPF_CLASSID, spec.class_id);
    filter.put_u32(TCA_BPF_FD, static_cast<std::uint32_t>(spec.program));
    filter.put_string(TCA_BPF_NAME, spec.name);
    filter.put_u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  });
  std::array<Message, 2> messages{qdisc_message(index), std::move(filter)};
  VMLANE_ASSIGN(const Reply reply, socket.request_together(messages));
  if (!reply.ok()) return fail(reply.to_error("put a program on " + subject(index, direction)));
  return {};
}

Result<std::optional<BpfFilter>> bpf_filter(const Namespace& network_namespace, int index,
                                            Direction direction, FilterOrder order) {
  VMLANE_ASSIGN(Socket socket, Socket::open(network_namespace));
  Message message(RTM_GETTFILTER, 0, filter_header(index, direction, order));
  message.put_string(TCA_KIND, "bpf");
  VMLANE_ASSIGN(const Reply reply, socket.request(message));
  // ENOENT: no such filter; EINVAL: no clsact qdisc.
  if (reply.error == ENOENT || reply.error == EINVAL) return std::optional<BpfFilter>();
  if (!reply.ok()) return fail(reply.to_error("read the program of " + subject(index, direction)));
  for (const ReceivedMessage& received : reply.messages) {
    const Attributes options = received.attributes<tcmsg>(TCA_MAX).nested(TCA_OPTIONS, TCA_BPF_MAX);
    const auto program = options.u32(TCA_BPF_ID);
    if (!program) continue;
    return std::optional(
        BpfFilter{.program_id = *program,
                  .class_id = static_cast<std::uint16_t>(options.u32(TCA_BPF_CLASSID).value_or(0))});
  }
  return std::optional<BpfFilter>();
}

}  // namespace vmlane::netlink
