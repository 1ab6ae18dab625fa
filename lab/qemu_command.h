// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/address.h"

namespace vmlane::lab {

// QEMU's own user-mode network: the guest is behind a NAT in QEMU, reached by these UDP and TCP ports of the
// network namespace that QEMU runs in. IPv4 only.
struct UserNetwork {
  IpPrefix guest;  // the guest's address with the length of its subnet
  std::vector<std::uint16_t> udp_ports;
  std::vector<std::uint16_t> tcp_ports;
};

// A unix socket on which another process gives and takes frames, as passt does; a path that QEMU reaches.
struct FrameSocket {
  std::string path;
};

// A unix socket on which QEMU listens for a vhost-user switch. QEMU does not go on before the switch has
// connected.
struct VhostSocket {
  std::string path;
};

// A virtio NIC.
struct QemuNic {
  MacAddress mac;
  std::optional<std::uint32_t> mtu;  // told to the guest by the device (host_mtu)
  unsigned queues = 1;               // descriptors of the tap; more than 1: multi-queue
  // What is behind it instead of a tap.
  std::variant<std::monostate, UserNetwork, FrameSocket, VhostSocket> backend = {};

  bool on_tap() const { return std::holds_alternative<std::monostate>(backend); }
};

struct QemuSpec {
  std::string program = "qemu-system-x86_64";
  std::string name;  // shown by ps
  std::uint64_t memory_mib = 0;
  unsigned vcpus = 1;
  bool kvm = false;
  std::string kernel_arguments;
  bool seed = false;  // a read-only drive with what cloud-init is told
  std::vector<QemuNic> nics;
};

// QEMU gets all its files as descriptors, under fixed numbers: it runs as a user that may not be able to
// reach their paths. These come first, then the queues of each tap in order.
struct QemuDescriptors {
  static constexpr int kKernel = 10;
  static constexpr int kInitramfs = 11;
  static constexpr int kConsoleLog = 12;
  static constexpr int kSeed = 13;  // nothing is there without a seed
  static constexpr int kFirstTap = 14;
};

// Unix sockets in the directory QEMU runs in: its two serial ports.
inline constexpr std::string_view kConsoleSocket = "console.sock";
inline constexpr std::string_view kCommandSocket = "command.sock";

// Program and arguments. The machine has nothing but serial ports and NICs, no network boot ROMs, and a
// seccomp filter.
std::vector<std::string> qemu_command(const QemuSpec& spec);

}  // namespace vmlane::lab
