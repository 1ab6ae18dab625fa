// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "lab/process.h"

namespace vmlane::lab {

// Where a lab keeps what. Everything but the pins of its eBPF programs is under one directory.
struct LabPaths {
  std::filesystem::path root;

  std::filesystem::path state_file() const { return root / "lab.json"; }
  std::filesystem::path node_config() const { return root / "node.json"; }
  std::filesystem::path objects_file() const { return root / "objects/objects.json"; }
  std::filesystem::path namespaces_dir() const { return root / "netns"; }
  std::filesystem::path host_namespace() const { return namespaces_dir() / "host"; }
  std::filesystem::path seeds_dir() const { return root / "seeds"; }
  std::filesystem::path ipam_dir() const { return root / "state/ipam"; }
  std::filesystem::path log_dir() const { return root / "log"; }
  std::filesystem::path bpf_dir() const;
};

enum class WorkloadKind { kPod, kVm };
std::string_view to_string(WorkloadKind kind);  // "pod", "vm"

// A pod or VM of a lab, as it was started.
struct Workload {
  WorkloadKind kind = WorkloadKind::kPod;
  std::string ns;
  std::string name;
  std::string pod_name;  // of a VM: its launcher pod
  std::string pod_uid;
  std::string container_id;
  bool attached = false;  // CNI ADD was called, or is about to be
  bool ready = false;     // a VM's guest has answered
  std::vector<ProcessRef> processes;

  std::string id() const { return ns + "/" + name; }
  // "default_blue": a file name; Kubernetes names have no "_".
  std::string file_name() const { return ns + "_" + name; }
  std::filesystem::path network_namespace(const LabPaths& paths) const {
    return paths.namespaces_dir() / (ns + "_" + pod_name);
  }
  std::filesystem::path vm_directory(const LabPaths& paths) const { return paths.root / "vm" / file_name(); }
  // Its NoCloud drive, which may hold secrets: root's.
  std::filesystem::path seed(const LabPaths& paths) const {
    return paths.seeds_dir() / (file_name() + ".iso");
  }
  std::filesystem::path console_log(const LabPaths& paths) const {
    return paths.log_dir() / (file_name() + ".console");
  }
  std::filesystem::path output_log(const LabPaths& paths) const {
    return paths.log_dir() / (file_name() + ".log");
  }
};

// What `lab down` needs to know; written before each thing is made.
struct LabState {
  static constexpr int kSchema = 1;

  std::string boot_id;
  std::string bin_dir;
  std::string cni_path;
  std::string default_network;
  std::vector<Workload> workloads;
  std::vector<ProcessRef> node_processes;  // of the node: the switch

  Json to_json() const;
  static Result<LabState> from_json(const Json& json);
};

// No value when there is no lab in the directory. Errors name the file.
Result<std::optional<LabState>> read_state(const LabPaths& paths);
Result<> write_state(const LabPaths& paths, const LabState& state);
// Whether the lab's directory, which has no state, has nothing else either. What a write_state() that was
// killed left is removed first.
bool is_unused(const LabPaths& paths);

// The lab's directory, locked against other vmlanectl processes for as long as this lives; the kernel frees
// the lock of a dead one.
class LabLock {
 public:
  // Makes the directory (0755: the VM's user passes through it) when `create`, else Code::kNotFound when
  // there is none. Code::kTryAgain when another process works on it.
  static Result<LabLock> acquire(const LabPaths& paths, bool create);

 private:
  explicit LabLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// The workload of `name`, "ns/name" or a name that only one has. Code::kNotFound lists what there is.
Result<const Workload*> find_workload(const LabState& state, std::string_view name);

}  // namespace vmlane::lab
