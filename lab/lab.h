// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"
#include "core/record.h"
#include "lab/plan.h"
#include "lab/progress.h"
#include "lab/qemu.h"
#include "lab/state.h"

// The lab: pods and VMs on one machine without a cluster. It stands in for kubelet, container runtime and
// KubeVirt: a network namespace for the node and one for each pod, the real plugins called through
// vmlane-multus, processes for containers, QEMU for VMs.
//
// Invariants: nothing outside the lab's directory and its eBPF pin directory is changed, the root network
// namespace least of all; lab.json names a thing before it is made, so that `down` after a kill at any moment
// leaves nothing; processes are stopped by number and start time, and those left over by the namespace they
// are in, never by name.
namespace vmlane::lab {

struct LabOptions {
  LabPaths paths;
  std::vector<std::filesystem::path> files;
  std::filesystem::path bin_dir;                // where vmlane-multus and the lane plugins are
  std::vector<std::filesystem::path> cni_dirs;  // where IPAM plugins are
  std::filesystem::path guest_dir;              // with vmlinuz and initramfs.gz; needed only for VMs
  std::string qemu = "qemu-system-x86_64";
  std::chrono::seconds ready_limit{180};  // for each guest
  PlanOptions plan;
  std::string search_path;  // PATH, for the program that makes NoCloud drives
  bool keep = false;        // leave what was made when `up` fails
};

// Starts what the files describe and returns when every guest is ready. On failure, or when interrupted,
// everything is taken down again unless `keep`. Code::kConflict when the directory already has a lab or
// somebody else's files.
Result<> lab_up(const LabOptions& options, const Progress& progress, const Interrupted& interrupted);

// Stops and removes everything. No lab is success. Goes on after errors and returns the first.
Result<> lab_down(const LabPaths& paths, const Progress& progress);

// Code::kNotFound when there is no lab in the directory.
Result<LabState> open_lab(const LabPaths& paths);

// The node configuration that the lab's plugins use.
Result<NodeConfig> lab_node_config(const LabPaths& paths);

// One object for each attachment, or for a workload without one: {name, kind, lane, network, ifname, mac,
// ips, mtu, state}; state is ready, starting or stopped for a VM, running or exited for a pod.
Result<Json> lab_rows(const LabPaths& paths);

}  // namespace vmlane::lab
