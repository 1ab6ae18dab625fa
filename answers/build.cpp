// SPDX-License-Identifier: Apache-2.0
#include "answers/build.h"

#include <algorithm>

#include "answers/dhcp4.h"
#include "answers/frame_writer.h"
#include "answers/ipv6.h"
#include "answers/neighbour.h"

namespace vmlane::answers {
namespace {

// What a reply may take over from a request: the client identifiers that clients send are no longer.
constexpr std::size_t kTakenOver = 40;
constexpr std::size_t kEthernetHeader = 14;

void add_once(std::vector<IpAddress>& to, const IpAddress& address) {
  if (!std::ranges::count(to, address)) to.push_back(address);
}

// The gateway's addresses, and the names by which our own servers are asked again.
std::vector<IpAddress> answered_addresses(const AnswerPlan& plan) {
  std::vector<IpAddress> out;
  for (const IpAddress& address : plan.answered_addresses) add_once(out, address);
  if (plan.ipv4 && !plan.ipv4->gateway) add_once(out, nameless_server());
  if (plan.ipv6 && plan.ipv6->advertise_router && !plan.ipv6->router) add_once(out, link_local(plan.gateway));
  return out;
}

Result<> check_mtu(const AnswerPlan& plan, const vmlane_answers& answers) {
  if (!plan.mtu) return {};
  for (const vmlane_template& one : answers.templates) {
    const std::size_t needed = one.length + kTakenOver - kEthernetHeader;
    if (one.length == 0 || needed <= *plan.mtu) continue;
    return fail(Code::kInvalidConfig,
                "\"guestAnswers\": a reply takes " + std::to_string(needed) + " bytes, the MTU is " +
                    std::to_string(*plan.mtu),
                "raise the MTU, give the guest less to know, or set \"guestAnswers\" to false");
  }
  return {};
}

}  // namespace

IpAddress nameless_server() {
  return {false, {169, 254, 0, 1}};
}

Result<std::unique_ptr<vmlane_answers>> build_answers(const AnswerPlan& plan) {
  auto answers = std::make_unique<vmlane_answers>();
  std::ranges::copy(plan.guest.bytes, static_cast<std::uint8_t*>(answers->guest_mac));
  std::ranges::copy(plan.gateway.bytes, static_cast<std::uint8_t*>(answers->gateway_mac));
  if (plan.ipv4) {
    VMLANE_TRY(build_dhcp4(plan, *answers));
  }
  if (plan.ipv6 && plan.ipv6->dhcp) {
    VMLANE_TRY(build_dhcp6(plan, *answers));
  }
  if (plan.ipv6 && plan.ipv6->advertise_router) {
    VMLANE_TRY(build_router_advertisement(plan, *answers));
  }
  VMLANE_TRY(build_neighbours(plan, answered_addresses(plan), *answers));
  VMLANE_TRY(check_mtu(plan, *answers));
  return answers;
}

}  // namespace vmlane::answers
