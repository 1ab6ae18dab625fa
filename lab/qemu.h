// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "lab/process.h"
#include "lab/qemu_command.h"

namespace vmlane::lab {

// A tap or macvtap that QEMU is to use.
struct TapPort {
  std::string name;
  bool multi_queue = false;  // of a tap
  unsigned queues = 1;       // descriptors to open; a multi-queue tap takes 2 or more
  std::string device;        // of a macvtap: its device node, of which each opening is a queue
};

struct GuestFiles {
  std::filesystem::path kernel;
  std::filesystem::path initramfs;
};

// Where and as whom a QEMU runs.
struct QemuPlace {
  std::filesystem::path network_namespace;
  std::filesystem::path directory;  // made by start_qemu, owned by uid; the sockets appear in it
  std::filesystem::path console_log;
  std::filesystem::path output;  // standard output and error of QEMU
  uid_t uid = 0;
  gid_t gid = 0;
  std::optional<gid_t> kvm_group;
  GuestFiles guest;
  std::filesystem::path seed;  // of a spec with one
};

// Starts QEMU as libvirt does for KubeVirt: an unprivileged process without capabilities in the pod's
// namespace. The taps are attached after privileges are dropped, so that it is their owner setting that lets
// it in. `taps` are those of the NICs on taps, in the order of spec.nics. `record` as for start_daemon.
// Errors name tap, file or program.
Result<ProcessRef> start_qemu(const QemuSpec& spec, const std::vector<TapPort>& taps, const QemuPlace& place,
                              const std::function<Result<>(const ProcessRef&)>& record);

}  // namespace vmlane::lab
