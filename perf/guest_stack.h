// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/address.h"
#include "core/error.h"
#include "perf/guest_nic.h"

namespace vmlane::perf {

// TCP for a guest without a processor: a kernel's, this machine's own, in a network namespace that nobody
// else has. Behind the guest's NIC is a tap in that namespace with the guest's MAC and address, and two
// threads carry frames between the two as they are, segments of 64 KiB in one piece.
//
//   lane -- guest's NIC <--frames--> tap -- kernel's TCP -- the responder's TCP part (wire.h)
//
// What it costs: each frame is read and written once more, and a task more is woken up. So a native guest's
// TCP figures are the lane's and this relay's together, the same on every lane.
class GuestStack {
 public:
  // With the responder listening. The threads and the namespace end with the process.
  static Result<std::unique_ptr<GuestStack>> start(GuestNic& nic, const MacAddress& mac,
                                                   const IpPrefix& address);

  // A frame that arrived on the NIC.
  Result<> take(const GuestFrame& frame) { return tap_->send(frame); }

 private:
  explicit GuestStack(std::unique_ptr<GuestNic> tap) : tap_(std::move(tap)) {}
  std::unique_ptr<GuestNic> tap_;
};

}  // namespace vmlane::perf
