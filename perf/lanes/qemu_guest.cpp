// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/qemu_guest.h"

#include "core/files.h"
#include "lab/guest_channel.h"
#include "lab/guest_network.h"
#include "lab/guest_program.h"
#include "lab/interrupt.h"
#include "lab/privileges.h"
#include "lab/qemu.h"

namespace vmlane::perf {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMemoryMib = 256;
constexpr const char* kProgramInGuest = "opt/vmlane/vmlane-perf";

bool interrupted() {
  return lab::Interrupt::requested();
}

// The guest image with this program in it, made once for a site.
Result<fs::path> initramfs_with_responder(const Site& site) {
  fs::path made = site.file("initramfs");
  std::error_code error;
  if (!fs::exists(made, error))
    VMLANE_TRY(lab::add_guest_program(site.options().guest_dir / "initramfs.gz", "/proc/self/exe",
                                      kProgramInGuest, made));
  return made;
}

Result<> start_responder(const fs::path& directory, const lab::ProcessRef& qemu, const LaneOptions& options) {
  VMLANE_ASSIGN(auto channel, lab::GuestChannel::connect(directory, qemu));
  VMLANE_TRY(channel.wait_ready(options.boot_limit, interrupted));
  const std::string command =
      std::string("setsid /") + kProgramInGuest + " respond </dev/null >/dev/null 2>&1 &";
  const auto ignore = [](std::string_view) {};
  constexpr unsigned kLimit = 30;
  VMLANE_ASSIGN(const int status, channel.run(command, kLimit, ignore, ignore, interrupted));
  if (status == 0) return {};
  return fail(Code::kInternal,
              "the guest cannot start the responder (status " + std::to_string(status) + ")");
}

}  // namespace

Result<> start_qemu_guest(Site& site, const std::string& pod, const QemuGuestNic& nic,
                          const LaneOptions& options, Path& path) {
  const NodeConfig& config = site.config();
  const lab::KvmAccess kvm = lab::kvm_access(config.owner_uid, config.owner_gid);
  lab::QemuSpec spec{
      .program = site.options().qemu, .name = pod, .memory_mib = kMemoryMib, .kvm = kvm.usable};
  spec.nics.push_back({.mac = nic.mac, .mtu = nic.mtu, .backend = nic.backend});
  lab::GuestNic inside{.mac = nic.mac, .mtu = nic.mtu, .addresses = {nic.address}};
  if (nic.gateway) {
    VMLANE_ASSIGN(const IpPrefix everywhere, IpPrefix::parse("0.0.0.0/0"));
    inside.routes.push_back({everywhere, nic.gateway});
  }
  VMLANE_ASSIGN(spec.kernel_arguments, lab::kernel_command_line("perf", {inside}));
  std::vector<lab::TapPort> taps;
  if (nic.tap.starts_with('/')) {
    taps.push_back({.name = "eth0", .device = nic.tap});
  } else if (!nic.tap.empty()) {
    taps.push_back({.name = nic.tap});
  }
  const fs::path directory = site.file("vm-" + pod);
  std::error_code error;
  fs::remove_all(directory, error);  // an earlier guest's sockets
  VMLANE_ASSIGN(const fs::path initramfs, initramfs_with_responder(site));
  const lab::QemuPlace place{.network_namespace = site.namespace_path(pod),
                             .directory = directory,
                             .console_log = site.file("console.log"),
                             .output = site.file("qemu.log"),
                             .uid = config.owner_uid,
                             .gid = config.owner_gid,
                             .kvm_group = kvm.group,
                             .guest = {site.options().guest_dir / "vmlinuz", initramfs}};
  VMLANE_ASSIGN(const auto qemu, lab::start_qemu(spec, taps, place, [](const auto&) { return Result<>(); }));
  path.processes.push_back({"qemu", qemu});
  VMLANE_TRY(start_responder(directory, qemu, options));
  site.pin_guest(qemu);  // only now: a boot is faster on all CPUs
  return {};
}

}  // namespace vmlane::perf
