// SPDX-License-Identifier: Apache-2.0
#include "answers/neighbour.h"

#include <cstring>

#include "answers/frame_writer.h"

namespace vmlane::answers {
namespace {

Bytes arp_reply(const AnswerPlan& plan) {
  Bytes out;
  put(out, plan.guest.bytes);
  put(out, plan.gateway.bytes);
  put16(out, 0x0806);
  put16(out, 1);
  put16(out, 0x0800);
  put16(out, 0x0604);  // lengths of the addresses
  put16(out, 2);       // a reply
  put(out, plan.gateway.bytes);
  put32(out, 0);  // the address that was asked for
  put(out, plan.guest.bytes);
  put32(out, 0);  // who asked
  return out;
}

Bytes neighbour_advertisement(const AnswerPlan& plan) {
  Bytes message{136, 0, 0, 0};
  put32(message, 0);                    // flags
  put(message, IpAddress{.v6 = true});  // the address that was asked for
  put8(message, 2);                     // target link-layer address
  put8(message, 1);
  put(message, plan.gateway.bytes);
  return icmp6_frame({plan.gateway, plan.guest, IpAddress{.v6 = true}, all_nodes()}, message);
}

}  // namespace

Result<> build_neighbours(const AnswerPlan& plan, const std::vector<IpAddress>& addresses,
                          vmlane_answers& answers) {
  std::size_t of4 = 0;
  std::size_t of6 = 0;
  for (const IpAddress& address : addresses) {
    std::size_t& count = address.v6 ? of6 : of4;
    if (count == VMLANE_ANSWERED_ADDRESSES) {
      return fail(Code::kInvalidConfig,
                  "the gateway has more than " + std::to_string(VMLANE_ANSWERED_ADDRESSES) +
                      " addresses of one family that ARP and ND are to be answered for");
    }
    if (address.v6)
      std::memcpy(answers.nd_addresses[count], address.bytes.data(), sizeof(answers.nd_addresses[count]));
    else
      std::memcpy(&answers.arp_addresses[count], address.bytes.data(), sizeof(answers.arp_addresses[count]));
    count++;
  }
  if (of4 != 0) {
    VMLANE_TRY(set_template(answers, VMLANE_TEMPLATE_ARP, arp_reply(plan), "the ARP reply"));
    answers.flags |= VMLANE_ANSWER_ARP;
  }
  if (of6 != 0) {
    VMLANE_TRY(set_template(answers, VMLANE_TEMPLATE_NA, neighbour_advertisement(plan),
                            "the neighbour advertisement"));
    answers.flags |= VMLANE_ANSWER_ND;
  }
  return {};
}

}  // namespace vmlane::answers
