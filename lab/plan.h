// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "lab/state.h"
#include "multus-adapter/objects.h"

namespace vmlane::lab {

// What becomes of a VM object's cloud-init data.
enum class CloudInit {
  kRefused,  // the guest has no cloud-init, so data for it is an error
  kIgnored,  // the same, with a warning
  kDrive,    // every guest runs cloud-init and gets a NoCloud drive with that data and its network
};

struct PlanOptions {
  std::string default_network;  // "[ns/]name" of what stands in for the pod network; empty: there is none
  std::filesystem::path conf_dir = "/etc/cni/net.d";  // configurations of NADs without one
  CloudInit cloud_init = CloudInit::kRefused;
};

struct PlannedWorkload {
  WorkloadKind kind = WorkloadKind::kPod;
  multus::Pod pod;  // of a VM: its launcher pod
  std::optional<multus::VirtualMachineInstance> vm;

  const std::string& ns() const { return pod.ns; }
  const std::string& name() const { return vm ? vm->name : pod.name; }
};

// What a lab would start, in the order it starts it: pods, then VMs.
struct LabPlan {
  std::vector<PlannedWorkload> workloads;
  std::set<std::string> lower_devices;  // that the VMs' macvtaps are on
  bool needs_switch = false;            // a VM is on the vhost-user lane
  std::vector<std::string> warnings;
};

// Decides what the lab can run. Pure; nothing is made when it fails. Errors (Code::kInvalidConfig, kNotFound)
// name object and key and say what the lab runs instead: VMs on the tap and macvtap lanes with virtio NICs
// and at least 128 MiB, cloud-init data only where asked for, pods with a command of their own and a network
// of their own.
Result<LabPlan> plan_lab(const multus::ObjectStore& objects, const PlanOptions& options);

// The objects that vmlane-multus is to see, as one JSON List: the networks, and the plan's pods. host-local
// networks without a dataDir get `ipam_dir`: a lab leaves nothing in the node's own address store.
std::string objects_text(const multus::ObjectStore& objects, const LabPlan& plan,
                         const std::filesystem::path& ipam_dir);

}  // namespace vmlane::lab
