// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "lab/process.h"

// An Open vSwitch of a measurement's own, with the userspace datapath over DPDK: a peer to measure against.
// Database, sockets and logs are in one directory; nothing of an Open vSwitch that the machine has is used or
// touched, and no NIC (--no-pci).
namespace vmlane::perf {

struct OvsPlace {
  std::filesystem::path directory;          // a new one
  std::filesystem::path network_namespace;  // where its uplink appears
  std::optional<int> polling_cpu;           // of the thread that carries the guest's frames and never sleeps
  std::optional<int> main_cpu;              // of all else, the uplink's frames among it
};

// The switch has two ports: `kOvsUplink`, a tap in the namespace, and a vhost-user port that connects to
// `kOvsSocket` in the directory, on which the VM listens.
inline constexpr const char* kOvsUplink = "ovs-uplink0";
inline constexpr const char* kOvsSocket = "guest.sock";

// Code::kNotAvailable with the fix when the programs, or the huge pages that they need, are not there.
Result<> have_ovs_dpdk();

struct OvsProcesses {
  std::optional<lab::ProcessRef> database;
  std::optional<lab::ProcessRef> daemon;  // carries the frames
};

// Starts both and returns when the ports are there. After an error, too, `processes` has what was started.
Result<> start_ovs_dpdk(const OvsPlace& place, OvsProcesses& processes);

}  // namespace vmlane::perf
