// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <sstream>

#include "cloud-init/seed.h"
#include "cloud-init/seed_image.h"
#include "core/boot_id.h"
#include "core/exec.h"
#include "core/hash.h"
#include "core/names.h"
#include "lab/cni_call.h"
#include "lab/down.h"
#include "lab/guest_channel.h"
#include "lab/guest_network.h"
#include "lab/lab.h"
#include "lab/namespaces.h"
#include "lab/privileges.h"
#include "lab/switch_process.h"
#include "multus-adapter/kubevirt.h"
#include "netlink/netlink.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

GuestFiles guest_files(const LabOptions& options) {
  return {options.guest_dir / "vmlinuz", options.guest_dir / "initramfs.gz"};
}

Result<> check_guest(const LabOptions& options, const LabPlan& plan) {
  if (std::ranges::none_of(plan.workloads, [](const auto& workload) { return workload.vm.has_value(); }))
    return {};
  const GuestFiles guest = guest_files(options);
  for (const fs::path& file : {guest.kernel, guest.initramfs}) {
    if (::access(file.c_str(), R_OK) != 0)
      return fail(Code::kNotFound, "the guest image " + file.string() + " cannot be read",
                  "build it with scripts/guest-image, or name its directory with --guest");
  }
  return {};
}

Result<> check_programs(const LabOptions& options) {
  if (find_plugin(options.bin_dir.string(), "vmlane-multus")) return {};
  return fail(Code::kNotFound, "vmlane-multus is not in " + options.bin_dir.string(),
              "name its directory with --bin-dir");
}

Result<> check_free(const LabPaths& paths) {
  VMLANE_ASSIGN(const auto state, read_state(paths));
  if (state) {
    return fail(Code::kConflict,
                "there is a lab in " + paths.root.string() + " already, with " +
                    std::to_string(state->workloads.size()) + " pods and VMs",
                "take it down with: vmlanectl lab down --dir " + paths.root.string());
  }
  if (!is_unused(paths))
    return fail(Code::kConflict, "directory " + paths.root.string() + " is not empty and holds no lab",
                "name another with --dir");
  return {};
}

Json node_config_json(const LabPaths& paths) {
  return {{"stateDir", (paths.root / "state").string()},
          {"runDir", (paths.root / "run").string()},
          {"bpfDir", paths.bpf_dir().string()},
          {"logFile", (paths.log_dir() / "vmlane.log").string()},
          {"objectPaths", {paths.objects_file().parent_path().string()}}};
}

std::string join(const std::vector<fs::path>& paths) {
  std::string text;
  for (const fs::path& path : paths) text += (text.empty() ? "" : ":") + path.string();
  return text;
}

// The work of `up` once the plan is made: state on disk always names the next thing before it is made.
class Starter {
 public:
  Starter(const LabOptions& options, const LabPlan& plan, const Progress& progress,
          const Interrupted& interrupted)
      : options_(options),
        paths_(options.paths),
        plan_(plan),
        progress_(progress),
        interrupted_(interrupted) {}

  Result<> run(const multus::ObjectStore& objects);

 private:
  Result<> write_files(const multus::ObjectStore& objects);
  Result<> make_lower_devices();
  Result<> start_node_switch();
  Result<> attach(const PlannedWorkload& planned, Workload& workload);
  Result<> start_pod(const PlannedWorkload& planned, Workload& workload);
  Result<> start_vm(const PlannedWorkload& planned, Workload& workload);
  Result<> make_seed(const multus::VirtualMachineInstance& vm, const std::vector<AttachmentRecord>& records,
                     const Workload& workload) const;
  Result<> wait_for_guest(Workload& workload);
  Result<std::vector<AttachmentRecord>> records_of(const Workload& workload) const;
  Result<TapPort> tap_port(const Workload& workload, const AttachmentRecord& record, unsigned vcpus) const;
  Result<ProcessRef> launch_qemu(const QemuSpec& spec, const std::vector<TapPort>& taps,
                                 std::optional<gid_t> kvm_group, Workload& workload);
  // Adds a process to the workload, in memory and on disk.
  std::function<Result<>(const ProcessRef&)> recorder(Workload& workload);
  Result<> save() const { return write_state(paths_, state_); }
  Result<> go_on() const { return interrupted_() ? fail(Code::kTryAgain, "interrupted") : Result<>(); }

  const LabOptions& options_;
  const LabPaths& paths_;
  const LabPlan& plan_;
  const Progress& progress_;
  const Interrupted& interrupted_;
  LabState state_;
  NodeConfig config_;
};

Workload new_workload(const PlannedWorkload& planned, const LabPaths& paths) {
  Workload workload{.kind = planned.kind, .ns = planned.ns(), .name = planned.name()};
  workload.pod_name = planned.pod.name;
  workload.pod_uid = planned.pod.uid;
  workload.container_id = sha256_hex(paths.root.string() + '\0' + workload.ns + '/' + workload.pod_name);
  return workload;
}

Result<> Starter::run(const multus::ObjectStore& objects) {
  VMLANE_ASSIGN(state_.boot_id, read_boot_id(NodeConfig{}.boot_id_file));
  state_.bin_dir = options_.bin_dir;
  auto directories = options_.cni_dirs;
  directories.insert(directories.begin(), options_.bin_dir);
  state_.cni_path = join(directories);
  state_.default_network = options_.plan.default_network;
  for (const PlannedWorkload& planned : plan_.workloads)
    state_.workloads.push_back(new_workload(planned, paths_));
  VMLANE_TRY(save());
  VMLANE_TRY(write_files(objects));
  VMLANE_TRY(create_namespace(paths_.host_namespace()));
  progress_.line("node", "network namespace " + paths_.host_namespace().string());
  VMLANE_TRY(make_lower_devices());
  if (plan_.needs_switch) VMLANE_TRY(start_node_switch());
  for (std::size_t i = 0; i < state_.workloads.size(); i++)
    VMLANE_TRY(attach(plan_.workloads[i], state_.workloads[i]));
  for (std::size_t i = 0; i < state_.workloads.size(); i++) {
    VMLANE_TRY(go_on());
    const PlannedWorkload& planned = plan_.workloads[i];
    VMLANE_TRY(planned.vm ? start_vm(planned, state_.workloads[i]) : start_pod(planned, state_.workloads[i]));
  }
  for (Workload& workload : state_.workloads) {
    if (workload.kind == WorkloadKind::kVm) VMLANE_TRY(wait_for_guest(workload));
  }
  return {};
}

Result<> Starter::write_files(const multus::ObjectStore& objects) {
  for (const fs::path& directory :
       {paths_.namespaces_dir(), paths_.log_dir(), paths_.objects_file().parent_path(), paths_.root / "run"})
    VMLANE_TRY(make_directory(directory, {.mode = 0755}));
  VMLANE_TRY(write_file_atomically(paths_.objects_file(), objects_text(objects, plan_, paths_.ipam_dir()),
                                   {.mode = 0644}));
  VMLANE_TRY(
      write_file_atomically(paths_.node_config(), node_config_json(paths_).dump(2) + "\n", {.mode = 0644}));
  VMLANE_ASSIGN(config_, lab_node_config(paths_));
  return {};
}

// A lab's node has no NIC, so each lower device is the near end of a wire whose far end nothing is plugged
// into. They go with the node's namespace.
Result<> Starter::make_lower_devices() {
  if (plan_.lower_devices.empty()) return {};
  VMLANE_ASSIGN(const auto node, netlink::Namespace::open(paths_.host_namespace().string()));
  VMLANE_ASSIGN(const auto links, netlink::open_netlink(node));
  for (const std::string& name : plan_.lower_devices) {
    netlink::VethSpec wire{.name = name, .mac = MacAddress::derived("lower device\n" + name)};
    wire.peer_name = names::host_link(sha256_hex(name));
    wire.peer_mac = MacAddress::derived("far end\n" + name);
    VMLANE_TRY(links->create_veth(wire, node));
    for (const std::string& end : {wire.peer_name, wire.name}) {
      VMLANE_ASSIGN(const auto link, links->find_link(end));
      if (link) VMLANE_TRY(links->change_link(link->index, {.up = true, .no_ipv6_address_generation = true}));
    }
    progress_.line("node", "lower device " + name + " (far end " + wire.peer_name + ")");
  }
  return {};
}

Result<> Starter::start_node_switch() {
  const SwitchPlace place{.program = options_.bin_dir / "vmlane-keeper",
                          .network_namespace = paths_.host_namespace(),
                          .output = paths_.log_dir() / "switch.log"};
  VMLANE_ASSIGN(const ProcessRef started, start_switch(place, config_, [this](const ProcessRef& process) {
                  state_.node_processes.push_back(process);
                  return save();
                }));
  progress_.line("node", "vmlane-keeper runs (pid " + std::to_string(started.pid) + ")");
  return {};
}

Result<> Starter::attach(const PlannedWorkload& planned, Workload& workload) {
  VMLANE_TRY(go_on());
  VMLANE_TRY(create_namespace(workload.network_namespace(paths_)));
  workload.attached = true;
  VMLANE_TRY(save());
  const auto called = call_multus(paths_, state_, workload, "ADD");
  const std::string subject = std::string(to_string(workload.kind)) + " " + workload.id();
  if (!called)
    return fail(called.error().wrap("cannot attach " + subject + " (pod " + planned.pod.id() + ")"));
  VMLANE_ASSIGN(const auto records, records_of(workload));
  std::string networks;
  for (const AttachmentRecord& record : records)
    networks += (networks.empty() ? "" : ", ") + record.key.ifname + " on " +
                (record.nad.empty() ? record.key.network : record.nad);
  progress_.line(subject, networks.empty() ? "no networks" : "attached " + networks);
  return {};
}

Result<std::vector<AttachmentRecord>> Starter::records_of(const Workload& workload) const {
  VMLANE_ASSIGN(auto listing, RecordStore(config_).list());
  if (!listing.problems.empty()) return fail(listing.problems[0]);
  std::erase_if(listing.records,
                [&](const auto& record) { return record.key.container_id != workload.container_id; });
  return std::move(listing.records);
}

std::function<Result<>(const ProcessRef&)> Starter::recorder(Workload& workload) {
  return [this, &workload](const ProcessRef& process) {
    workload.processes.push_back(process);
    return save();
  };
}

Result<> Starter::start_pod(const PlannedWorkload& planned, Workload& workload) {
  const fs::path log = workload.output_log(paths_);
  const fs::path netns = workload.network_namespace(paths_);
  for (const multus::Container& container : planned.pod.containers) {
    const Fd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!output) return fail(io_error("cannot open " + log.string(), errno));
    Daemon daemon{.command = container.command, .output = output.get()};
    daemon.command.insert(daemon.command.end(), container.args.begin(), container.args.end());
    if (daemon.command.empty()) daemon.command = {"sleep", "infinity"};
    daemon.prepare = [&netns] { return enter_namespace(netns); };
    const auto started = start_daemon(daemon, recorder(workload));
    if (!started)
      return fail(started.error().wrap("cannot start container \"" + container.name + "\" of pod " +
                                       planned.pod.id()));
    progress_.line("pod " + workload.id(),
                   "container " + container.name + " runs (pid " + std::to_string(started->pid) + ")");
  }
  return {};
}

Result<TapPort> Starter::tap_port(const Workload& workload, const AttachmentRecord& record,
                                  unsigned vcpus) const {
  if (record.handles.contains("device")) {
    TapPort port{.name = record.key.ifname, .device = record.handles.value("device", "")};
    port.queues = std::clamp(record.handles.value("queues", 1U), 1U, std::max(1U, vcpus));
    return port;
  }
  TapPort port{.name = record.handles.value("tap", names::tap_link(record.key.ifname))};
  VMLANE_ASSIGN(const auto pod, netlink::Namespace::open(workload.network_namespace(paths_).string()));
  VMLANE_ASSIGN(const auto info, netlink::tap_info(pod, port.name));
  port.multi_queue = info.multi_queue;
  // A multi-queue tap takes no single-queue user, so even a guest with one vCPU opens two.
  if (info.multi_queue) port.queues = std::max(2U, vcpus);
  return port;
}

// As KubeVirt has it with networkInterfaceMultiqueue: as many queues as the network allows and the guest has
// CPUs for.
QemuNic vhost_nic(const AttachmentRecord& record, const GuestNic& nic, unsigned vcpus) {
  return {.mac = nic.mac,
          .mtu = nic.mtu,
          .queues = std::clamp(record.handles.value("queues", 1U), 1U, std::max(1U, vcpus)),
          .backend = VhostSocket{record.handles.value("socket", "")}};
}

Result<> Starter::start_vm(const PlannedWorkload& planned, Workload& workload) {
  const multus::VirtualMachineInstance& vm = *planned.vm;
  VMLANE_ASSIGN(const auto records, records_of(workload));
  QemuSpec spec{.program = options_.qemu,
                .name = workload.id(),
                .memory_mib = vm.memory_bytes >> 20,
                .vcpus = vm.vcpus};
  std::vector<TapPort> taps;
  std::vector<GuestNic> nics;
  for (const multus::VmInterface& interface : vm.interfaces) {
    const auto network = std::ranges::find(vm.networks, interface.name, &multus::VmNetwork::name);
    const std::string ifname = multus::pod_ifname(*network);
    const auto record =
        std::ranges::find_if(records, [&](const auto& candidate) { return candidate.key.ifname == ifname; });
    if (record == records.end())
      return fail(Code::kInternal, "VM " + vm.id() + ": vmlane-multus made no attachment for interface \"" +
                                       interface.name + "\" (" + ifname + ")");
    VMLANE_ASSIGN(const GuestNic nic, guest_nic(*record));
    nics.push_back(nic);
    if (record->handles.contains("socket")) {
      spec.nics.push_back(vhost_nic(*record, nic, vm.vcpus));
      continue;
    }
    VMLANE_ASSIGN(const TapPort tap, tap_port(workload, *record, vm.vcpus));
    taps.push_back(tap);
    spec.nics.push_back({nic.mac, nic.mtu, tap.queues});
  }
  spec.seed = options_.plan.cloud_init == CloudInit::kDrive;
  if (spec.seed) {
    VMLANE_TRY(make_seed(vm, records, workload));
    nics.clear();  // what cloud-init says must be all that the guest hears
  }
  VMLANE_ASSIGN(spec.kernel_arguments, kernel_command_line(vm.name, nics));
  const KvmAccess kvm = kvm_access(config_.owner_uid, config_.owner_gid);
  spec.kvm = kvm.usable;
  VMLANE_ASSIGN(const ProcessRef qemu, launch_qemu(spec, taps, kvm.group, workload));
  progress_.line("vm " + workload.id(), "QEMU runs (pid " + std::to_string(qemu.pid) +
                                            (spec.kvm ? ", KVM)" : ", no usable KVM: emulated)"));
  return {};
}

Result<> Starter::make_seed(const multus::VirtualMachineInstance& vm,
                            const std::vector<AttachmentRecord>& records, const Workload& workload) const {
  // Without netplan, cloud-init before 23.1 makes another route of ::/0.
  cloud_init::SeedOptions options{.gateway6 = true, .hostname = vm.name.substr(0, vm.name.find('.'))};
  if (!vm.user_data.empty()) options.user_data = vm.user_data;
  if (!vm.network_data.empty()) options.network_config = vm.network_data;
  auto seed = cloud_init::make_seed(records, options);
  if (!seed) return fail(seed.error().wrap("cannot tell VM " + vm.id() + " its network"));
  VMLANE_TRY(make_directory(paths_.seeds_dir(), {.mode = 0700}));
  return cloud_init::write_seed_image(workload.seed(paths_), *seed, options_.search_path);
}

Result<ProcessRef> Starter::launch_qemu(const QemuSpec& spec, const std::vector<TapPort>& taps,
                                        std::optional<gid_t> kvm_group, Workload& workload) {
  const QemuPlace place{.network_namespace = workload.network_namespace(paths_),
                        .directory = workload.vm_directory(paths_),
                        .console_log = workload.console_log(paths_),
                        .output = workload.output_log(paths_),
                        .uid = config_.owner_uid,
                        .gid = config_.owner_gid,
                        .kvm_group = kvm_group,
                        .guest = guest_files(options_),
                        .seed = workload.seed(paths_)};
  auto started = start_qemu(spec, taps, place, recorder(workload));
  if (!started) return fail(started.error().wrap("cannot start VM " + workload.id()));
  return started;
}

// The last line of a log that is not empty, on one line of its own; empty when there is none.
std::string last_line(const fs::path& file) {
  const auto text = read_file(file);
  std::string last;
  if (!text || !*text) return last;
  std::istringstream lines(**text);
  for (std::string line; std::getline(lines, line);) {
    std::erase_if(line, [](unsigned char c) { return std::iscntrl(c) != 0; });
    if (!line.empty()) last = line;
  }
  return last;
}

Result<> Starter::wait_for_guest(Workload& workload) {
  auto waited = GuestChannel::connect(workload.vm_directory(paths_), workload.processes.at(0));
  Result<> ready = waited ? waited->wait_ready(options_.ready_limit, interrupted_) : fail(waited.error());
  if (!ready) {
    Error error = ready.error().wrap("VM " + workload.id() + " did not start");
    const std::string last = last_line(workload.output_log(paths_)) + last_line(workload.console_log(paths_));
    error.details = last.empty() ? "" : "last words: " + last + "; ";
    error.details += "up --keep leaves its logs in " + paths_.log_dir().string();
    return fail(std::move(error));
  }
  workload.ready = true;
  VMLANE_TRY(save());
  progress_.line("vm " + workload.id(), "ready");
  return {};
}

}  // namespace

Result<> lab_up(const LabOptions& options, const Progress& progress, const Interrupted& interrupted) {
  VMLANE_TRY(check_root());
  VMLANE_ASSIGN(const multus::ObjectStore objects, multus::ObjectStore::load(options.files));
  VMLANE_ASSIGN(const LabPlan plan, plan_lab(objects, options.plan));
  VMLANE_TRY(check_programs(options));
  VMLANE_TRY(check_guest(options, plan));
  for (const std::string& warning : plan.warnings) progress.line("warning", warning);
  VMLANE_ASSIGN(const LabLock lock, LabLock::acquire(options.paths, true));
  VMLANE_TRY(check_free(options.paths));
  const auto started = Starter(options, plan, progress, interrupted).run(objects);
  if (started || options.keep) return started;
  progress.line("failed", "taking down what was made");
  const auto taken = take_down(options.paths, progress);
  if (!taken) progress.line("warning", taken.error().text());
  return started;
}

}  // namespace vmlane::lab
