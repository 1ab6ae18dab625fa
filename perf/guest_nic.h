// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/error.h"
#include "lab/vhost_frontend.h"

// The NIC of a guest without a processor: what QEMU would hold.
namespace vmlane::perf {

// A frame with what virtio says of its checksum and segments (virtio 1.1, 5.1.6).
struct GuestFrame {
  lab::VirtioNetHeader header;
  std::span<std::uint8_t> bytes;
};

class GuestNic {
 public:
  virtual ~GuestNic() = default;
  // The next frame, whose bytes stay until the next call; nothing now and then while none comes. Sleeps in
  // the kernel, as a guest does. One thread.
  virtual Result<std::optional<GuestFrame>> receive() = 0;
  // A frame that the link does not take (it is going down, its queue is full) is lost, as on a wire. Any
  // thread.
  virtual Result<> send(const GuestFrame& frame) = 0;
  // Whether it may be given frames to send that lack a checksum or are to be cut into segments.
  virtual bool sends_offloads() const = 0;
};

// A tap in the calling thread's namespace, or the path of a macvtap's device node. With `offloads` it
// receives frames without a checksum and segments of up to 64 KiB, as a Linux guest's driver does.
Result<std::unique_ptr<GuestNic>> open_tap_nic(const std::string& name, bool offloads = true);

// Rings of its own, offered on a vhost-user socket on which it listens; returns when a switch holds them.
// Later switches are waited for while it receives.
Result<std::unique_ptr<GuestNic>> open_vhost_nic(const std::filesystem::path& socket);

}  // namespace vmlane::perf
