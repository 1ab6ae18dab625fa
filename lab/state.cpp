// SPDX-License-Identifier: Apache-2.0
#include "lab/state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "core/hash.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

Json processes_json(const std::vector<ProcessRef>& processes) {
  Json json = Json::array();
  for (const ProcessRef& process : processes)
    json.push_back({{"pid", process.pid}, {"startTime", process.start_time}});
  return json;
}

std::vector<ProcessRef> processes_from(const Json& json) {
  std::vector<ProcessRef> processes;
  for (const Json& process : json)
    processes.push_back({process.at("pid").get<pid_t>(), process.at("startTime").get<std::uint64_t>()});
  return processes;
}

Json workload_json(const Workload& workload) {
  return {{"kind", to_string(workload.kind)},
          {"namespace", workload.ns},
          {"name", workload.name},
          {"podName", workload.pod_name},
          {"podUid", workload.pod_uid},
          {"containerId", workload.container_id},
          {"attached", workload.attached},
          {"ready", workload.ready},
          {"processes", processes_json(workload.processes)}};
}

Workload workload_from(const Json& json) {
  Workload workload;
  workload.kind = json.at("kind") == to_string(WorkloadKind::kVm) ? WorkloadKind::kVm : WorkloadKind::kPod;
  json.at("namespace").get_to(workload.ns);
  json.at("name").get_to(workload.name);
  json.at("podName").get_to(workload.pod_name);
  json.at("podUid").get_to(workload.pod_uid);
  json.at("containerId").get_to(workload.container_id);
  json.at("attached").get_to(workload.attached);
  json.at("ready").get_to(workload.ready);
  workload.processes = processes_from(json.at("processes"));
  return workload;
}

bool is_path_of(const fs::path& path, int fd) {
  struct stat there {};
  struct stat ours {};
  return ::stat(path.c_str(), &there) == 0 && ::fstat(fd, &ours) == 0 && there.st_dev == ours.st_dev &&
         there.st_ino == ours.st_ino;
}

}  // namespace

fs::path LabPaths::bpf_dir() const {
  constexpr std::size_t kDigits = 12;
  return fs::path("/sys/fs/bpf") / ("vmlane-lab-" + sha256_hex(root.string()).substr(0, kDigits));
}

std::string_view to_string(WorkloadKind kind) {
  return kind == WorkloadKind::kVm ? "vm" : "pod";
}

Json LabState::to_json() const {
  Json json = {{"schema", kSchema},
               {"bootId", boot_id},
               {"binDir", bin_dir},
               {"cniPath", cni_path},
               {"defaultNetwork", default_network},
               {"nodeProcesses", processes_json(node_processes)},
               {"workloads", Json::array()}};
  for (const Workload& workload : workloads) json["workloads"].push_back(workload_json(workload));
  return json;
}

Result<LabState> LabState::from_json(const Json& json) {
  try {
    if (json.at("schema") != kSchema)
      return fail(Code::kDecode, "its schema is " + json.at("schema").dump() + ", this program knows " +
                                     std::to_string(kSchema));
    LabState state;
    json.at("bootId").get_to(state.boot_id);
    json.at("binDir").get_to(state.bin_dir);
    json.at("cniPath").get_to(state.cni_path);
    json.at("defaultNetwork").get_to(state.default_network);
    state.node_processes = processes_from(json.at("nodeProcesses"));
    for (const Json& workload : json.at("workloads")) state.workloads.push_back(workload_from(workload));
    return state;
  } catch (const Json::exception& error) {
    return fail(Code::kDecode, "it is not the state of a lab", error.what());
  }
}

Result<std::optional<LabState>> read_state(const LabPaths& paths) {
  VMLANE_ASSIGN(const auto text, read_file(paths.state_file()));
  if (!text) return std::nullopt;
  const std::string subject = "lab state " + paths.state_file().string();
  VMLANE_ASSIGN(const Json json, parse_json(*text, subject));
  auto state = LabState::from_json(json);
  if (!state) return fail(state.error().wrap(subject + " cannot be used"));
  return std::optional(std::move(*state));
}

Result<> write_state(const LabPaths& paths, const LabState& state) {
  return write_file_atomically(paths.state_file(), state.to_json().dump(2) + "\n", {.mode = 0644});
}

bool is_unused(const LabPaths& paths) {
  const std::string torn = "." + paths.state_file().filename().string() + ".";
  std::error_code error;
  std::vector<std::filesystem::path> left;
  for (std::filesystem::directory_iterator entries(paths.root, error);
       !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    if (!entries->path().filename().string().starts_with(torn)) return false;
    left.push_back(entries->path());
  }
  for (const auto& path : left) std::filesystem::remove(path, error);
  return !error;
}

Result<LabLock> LabLock::acquire(const LabPaths& paths, bool create) {
  while (true) {
    if (create) VMLANE_TRY(make_directory(paths.root, {.mode = 0755}));
    Fd fd(::open(paths.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd && errno == ENOENT && !create)
      return fail(Code::kNotFound, "there is no lab in " + paths.root.string(),
                  "start one with: vmlanectl lab up FILE...");
    if (!fd) return fail(io_error("cannot open " + paths.root.string(), errno));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      return fail(
          Code::kTryAgain,
          "the lab in " + paths.root.string() + " is being started or taken down by another vmlanectl",
          "wait for it to end");
    }
    // Between open and lock, a `down` may have removed the directory and another `up` made a new one.
    if (is_path_of(paths.root, fd.get())) return LabLock(std::move(fd));
  }
}

Result<const Workload*> find_workload(const LabState& state, std::string_view name) {
  std::vector<const Workload*> found;
  std::string all;
  for (const Workload& workload : state.workloads) {
    if (workload.id() == name || workload.name == name) found.push_back(&workload);
    all += (all.empty() ? "" : ", ") + workload.id();
  }
  if (found.size() == 1) return found[0];
  if (found.empty())
    return fail(Code::kNotFound, "the lab has no pod or VM \"" + std::string(name) + "\"", "it has " + all);
  return fail(Code::kConflict, "\"" + std::string(name) + "\" is in more than one namespace",
              "say " + found[0]->id() + " or " + found[1]->id());
}

}  // namespace vmlane::lab
