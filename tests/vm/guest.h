// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "lab/guest_channel.h"
#include "lab/qemu.h"

namespace vmlane::test {

// Kernel and initramfs of the lab's guest, built when they are not there; empty paths when that failed. Call
// it while still in the machine's own network namespace: the first build downloads the kernel.
const lab::GuestFiles& guest_image();
// The same of the guest that can be a node, with the newest kernel of a series.
inline constexpr const char* kNodeKernel = "6.1";
const lab::GuestFiles& node_guest_image(const std::string& kernel = kNodeKernel);

// That of the guest that runs cloud-init, and the tree in which cloud-init runs here as well.
struct CloudInitImage {
  lab::GuestFiles guest;
  std::filesystem::path tree;
};
const CloudInitImage& cloud_init_image();

// What a command in a guest did.
struct GuestResult {
  int status = -1;  // exit status, lab::kLimitStatus, or -1 when it could not be run
  std::string out;
  std::string err;  // also why it could not be run
};

GuestResult guest_run(lab::GuestChannel& channel, const std::string& command, unsigned limit = 60);

}  // namespace vmlane::test
