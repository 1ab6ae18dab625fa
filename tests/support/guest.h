// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "core/address.h"
#include "core/files.h"
#include "tests/support/frames.h"

namespace vmlane::test {

// Opens a tap of a namespace as libvirt's QEMU would: by a process of uid and gid `uid` that has no
// capability, with vnet_hdr. The descriptor, or errno of the refusal.
struct TapOpening {
  Fd fd;
  int error = 0;
};
TapOpening open_tap(const std::string& netns, const std::string& tap, uid_t uid, bool multi_queue);

// Stands in for a VM on a tap or macvtap: sends and receives frames through its descriptor.
class FakeGuest {
 public:
  // Returns when the tap takes frames. Throws when it cannot be opened by uid 107.
  FakeGuest(const std::string& netns, const std::string& tap, const MacAddress& mac);
  // The same for a macvtap, whose device node is opened.
  static FakeGuest on_macvtap(const std::string& netns, const std::string& link, const MacAddress& mac);
  ~FakeGuest();
  FakeGuest(const FakeGuest&) = delete;
  FakeGuest& operator=(const FakeGuest&) = delete;
  FakeGuest(FakeGuest&&) = default;

  const MacAddress& mac() const { return mac_; }
  // Frames with a plain virtio header: no offload asked.
  void send(const Frame& frame) const;
  std::optional<Frame> receive(const std::function<bool(const Frame&)>& wanted,
                               std::chrono::milliseconds timeout) const;
  // From now on a thread answers ARP and ICMP echo for `address`.
  void serve(const IpAddress& address);

 private:
  FakeGuest(TapOpening opening, const std::string& netns, const std::string& link, const MacAddress& mac);

  Fd fd_;
  MacAddress mac_;
  std::jthread server_;
};

}  // namespace vmlane::test
