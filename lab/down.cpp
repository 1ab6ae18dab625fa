// SPDX-License-Identifier: Apache-2.0
#include "lab/down.h"

#include "core/boot_id.h"
#include "lab/cni_call.h"
#include "lab/lab.h"
#include "lab/namespaces.h"
#include "lab/privileges.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

constexpr auto kGrace = std::chrono::seconds(3);

// Keeps the first error, shows the others.
class Failures {
 public:
  explicit Failures(const Progress& progress) : progress_(progress) {}
  void add(const Result<>& result, const std::string& what) {
    if (result) return;
    Error error = result.error().wrap(what);
    if (first_)
      first_ = fail(std::move(error));
    else
      progress_.line("warning", error.text());
  }
  Result<> first() const { return first_; }

 private:
  const Progress& progress_;
  Result<> first_;
};

std::vector<fs::path> namespaces_of(const LabPaths& paths) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(paths.namespaces_dir(), error), end; !error && entry != end;
       entry.increment(error))
    found.push_back(entry->path());
  return found;
}

void stop_workloads(const LabState& state, const Progress& progress, Failures& failures) {
  std::vector<ProcessRef> processes;
  for (const Workload& workload : state.workloads)
    processes.insert(processes.end(), workload.processes.begin(), workload.processes.end());
  processes.insert(processes.end(), state.node_processes.begin(), state.node_processes.end());
  if (processes.empty()) return;
  failures.add(stop_processes(processes, kGrace), "cannot stop the lab's processes");
  progress.line("lab", "processes stopped");
}

void detach(const LabPaths& paths, const LabState& state, const Progress& progress, Failures& failures) {
  // With the node's namespace gone, so are all links in it and all programs on them.
  if (!is_namespace(paths.host_namespace())) return;
  for (const Workload& workload : state.workloads) {
    if (!workload.attached) continue;
    const std::string subject = std::string(to_string(workload.kind)) + " " + workload.id();
    const auto detached = call_multus(paths, state, workload, "DEL");
    failures.add(detached, "cannot detach " + subject);
    if (detached) progress.line(subject, "detached");
  }
}

Result<> remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);  // does not follow symlinks
  if (error) return fail(Code::kIo, "cannot remove " + path.string(), error.message());
  return {};
}

}  // namespace

Result<> take_down(const LabPaths& paths, const Progress& progress) {
  Failures failures(progress);
  VMLANE_ASSIGN(const auto state, read_state(paths));
  if (state) {
    // Numbers and start times of another boot say nothing about today's processes.
    const auto boot_id = read_boot_id(NodeConfig{}.boot_id_file);
    if (boot_id && *boot_id == state->boot_id) stop_workloads(*state, progress, failures);
    // Plugins of an `up` that was killed may still be at work; DEL must not meet them.
    failures.add(stop_processes(processes_inside({paths.host_namespace()}), kGrace),
                 "cannot stop running plugins");
    detach(paths, *state, progress, failures);
  }
  const auto namespaces = namespaces_of(paths);
  failures.add(stop_processes(processes_inside(namespaces), kGrace), "cannot stop what was left running");
  for (const fs::path& path : namespaces)
    failures.add(remove_namespace(path), "cannot remove a network namespace");
  failures.add(remove_tree(paths.bpf_dir()), "cannot remove the lab's eBPF pins");
  failures.add(remove_tree(paths.root), "cannot remove the lab's directory");
  return failures.first();
}

Result<> lab_down(const LabPaths& paths, const Progress& progress) {
  VMLANE_TRY(check_root());
  std::error_code error;
  if (!fs::exists(paths.root, error)) {
    progress.line("lab", "there is none in " + paths.root.string());
    return {};
  }
  VMLANE_ASSIGN(const LabLock lock, LabLock::acquire(paths, false));
  VMLANE_ASSIGN(const auto state, read_state(paths));
  if (!state && !is_unused(paths))
    return fail(Code::kConflict, "directory " + paths.root.string() + " is not empty and holds no lab",
                "nothing was removed");
  VMLANE_TRY(take_down(paths, progress));
  progress.line("lab", "down");
  return {};
}

}  // namespace vmlane::lab
