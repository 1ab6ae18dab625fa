// SPDX-License-Identifier: Apache-2.0
#include "perf/guest_stack.h"

#include <sched.h>

#include <cerrno>
#include <future>
#include <thread>

#include "netlink/netlink.h"
#include "perf/responder.h"

namespace vmlane::perf {
namespace {

constexpr const char* kTap = "guest0";

// In the calling thread's namespace.
Result<std::unique_ptr<GuestNic>> make_tap(const MacAddress& mac, const IpPrefix& address, bool offloads) {
  VMLANE_ASSIGN(const auto here, netlink::Namespace::current());
  VMLANE_ASSIGN(const auto links, netlink::open_netlink(here));
  VMLANE_TRY(netlink::create_tap(here, {.name = kTap, .owner = 0, .group = 0}));
  VMLANE_ASSIGN(const auto tap, links->find_link(kTap));
  if (!tap) return fail(Code::kInternal, "the guest's own tap vanished");
  VMLANE_TRY(links->change_link(tap->index, {.mac = mac, .no_ipv6_address_generation = true}));
  VMLANE_TRY(links->add_address(tap->index, {address}));
  VMLANE_ASSIGN(auto nic, open_tap_nic(kTap, offloads));
  VMLANE_TRY(links->change_link(tap->index, {.up = true}));
  return nic;
}

// The namespace of this thread alone: the process stays in the pod's, by which it is found and ended.
Result<std::unique_ptr<GuestNic>> make_in_own_namespace(const MacAddress& mac, const IpPrefix& address,
                                                        bool offloads) {
  if (::unshare(CLONE_NEWNET) != 0) return fail(kernel_error("cannot make a network namespace", errno));
  VMLANE_ASSIGN(auto tap, make_tap(mac, address, offloads));
  VMLANE_TRY(respond_on_tcp());
  return tap;
}

}  // namespace

Result<std::unique_ptr<GuestStack>> GuestStack::start(GuestNic& nic, const MacAddress& mac,
                                                      const IpPrefix& address) {
  auto made = std::async(std::launch::async, [&] {
                return make_in_own_namespace(mac, address, nic.sends_offloads());
              }).get();
  if (!made) return fail(made.error().wrap("the guest has no TCP"));
  std::unique_ptr<GuestStack> stack(new GuestStack(std::move(*made)));
  std::thread([&nic, &tap = *stack->tap_] {
    for (;;) {
      const auto frame = tap.receive();
      if (!frame) return;
      if (*frame && !nic.send(**frame)) return;
    }
  }).detach();
  return stack;
}

}  // namespace vmlane::perf
