// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "perf/wire.h"

// A guest without a processor: a process that holds what QEMU would hold, a descriptor or rings
// (guest_nic.h), and answers at the first possible moment. What it adds is one read and one write, so a
// measurement against it shows the dataplane, also where the machine cannot run real guests fast. TCP is left
// to a kernel (guest_stack.h).
namespace vmlane::perf {

// Answers what arrives for one MAC and IPv4 address: ARP (RFC 826), ICMP echo (RFC 792) and the UDP part of
// wire.h. Pure, so that it can be tested without a NIC.
class NativeGuest {
 public:
  NativeGuest(const MacAddress& mac, const IpAddress& address) : mac_(mac), address_(address) {}

  // Turns an Ethernet frame into its answer, in place; false when there is none. Frames that are cut or lie
  // about their lengths have none.
  bool answer(std::span<std::uint8_t> frame);
  // Whether a frame that has no answer is for a TCP stack behind this guest: TCP to its address, and the
  // answers to that stack's own ARP requests.
  bool is_for_stack(std::span<const std::uint8_t> frame) const;

 private:
  bool answer_arp(std::span<std::uint8_t> frame) const;
  bool answer_ipv4(std::span<std::uint8_t> frame);

  MacAddress mac_;
  IpAddress address_;
  StreamCounter counter_;
};

struct NativeGuestOptions {
  std::string tap;     // in the calling process' namespace, or the path of a macvtap's device node
  std::string socket;  // or that of a vhost-user NIC, on which it listens
  MacAddress mac;
  IpPrefix address;
  // How long it spins before each answer: a known slowdown, with which the harness is tested.
  std::uint64_t delay_ns = 0;
};

// Serves on the tap, or on rings of its own, until the process is ended. Writes "ready\n" to standard output
// once it holds the tap, or the switch its rings.
Result<> run_native_guest(const NativeGuestOptions& options);

}  // namespace vmlane::perf
