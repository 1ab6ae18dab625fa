// SPDX-License-Identifier: Apache-2.0
#include "lab/qemu.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/files.h"
#include "lab/privileges.h"
#include "netlink/namespace.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxQueues = kHandedOverLimit - QemuDescriptors::kFirstTap;

// Above the standard streams and the numbers that QEMU knows, whatever the caller has open.
Result<Fd> open_high(const fs::path& path, int flags, mode_t mode = 0) {
  const Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  const int high = fd ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, kHandedOverLimit) : -1;
  if (high < 0) return fail(io_error("cannot open " + path.string(), errno));
  return Fd(high);
}

Result<> attach_tap(const Fd& fd, const TapPort& tap, const QemuPlace& place) {
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (tap.multi_queue) request.ifr_flags |= IFF_MULTI_QUEUE;
  tap.name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  if (::ioctl(fd.get(), TUNSETIFF, &request) == 0) return {};
  Error error = kernel_error("cannot open tap " + tap.name + " as uid " + std::to_string(place.uid) +
                                 ", gid " + std::to_string(place.gid),
                             errno);
  error.details = "the tap must exist, belong to them and be free";
  return fail(std::move(error));
}

// A queue of a macvtap, opened as the user: its device node must be his.
Result<Fd> open_macvtap(const TapPort& port, const QemuPlace& place) {
  auto queue = open_high(port.device, O_RDWR);
  if (queue) return queue;
  Error error = queue.error().wrap("cannot open macvtap " + port.name + " as uid " +
                                   std::to_string(place.uid) + ", gid " + std::to_string(place.gid));
  error.details = "its device node must exist and belong to them";
  return fail(std::move(error));
}

// Makes `queue`, as open_queues left it, one of the port.
Result<> open_queue(const TapPort& port, const QemuPlace& place, const Fd& queue) {
  if (port.device.empty()) return attach_tap(queue, port, place);
  VMLANE_ASSIGN(const Fd opened, open_macvtap(port, place));
  if (::dup3(opened.get(), queue.get(), O_CLOEXEC) < 0)
    return fail(io_error("cannot pass macvtap " + port.name + " on", errno));
  return {};
}

struct OpenFiles {
  Fd kernel;
  Fd initramfs;
  Fd console_log;
  Fd seed;
};

Result<OpenFiles> open_files(const QemuSpec& spec, const QemuPlace& place) {
  OpenFiles files;
  if (spec.seed) {
    VMLANE_ASSIGN(files.seed, open_high(place.seed, O_RDONLY));
  }
  VMLANE_ASSIGN(files.kernel, open_high(place.guest.kernel, O_RDONLY));
  VMLANE_ASSIGN(files.initramfs, open_high(place.guest.initramfs, O_RDONLY));
  VMLANE_ASSIGN(files.console_log,
                open_high(place.console_log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640));
  return files;
}

// A descriptor for each queue of the ports, in order: of the tun device in the pod's namespace, attached to
// nothing yet, and opened as root, since the user need not be able to. A macvtap's node must be opened by the
// user: its place is kept by another file.
Result<std::vector<Fd>> open_queues(const std::vector<TapPort>& taps, const QemuPlace& place) {
  std::vector<Fd> queues;
  VMLANE_ASSIGN(const auto pod, netlink::Namespace::open(place.network_namespace.string()));
  for (const TapPort& tap : taps) {
    for (unsigned i = 0; i < tap.queues; i++) {
      const char* device = tap.device.empty() ? "/dev/net/tun" : "/dev/null";
      VMLANE_ASSIGN(Fd queue, pod.run<Fd>([&] { return open_high(device, O_RDWR); }));
      queues.push_back(std::move(queue));
    }
  }
  return queues;
}

// In the new process: enters namespace and directory, becomes the user, attaches the taps.
Result<> prepare_process(const std::vector<TapPort>& taps, const QemuPlace& place,
                         const std::vector<Fd>& queues) {
  VMLANE_ASSIGN(const auto pod, netlink::Namespace::open(place.network_namespace.string()));
  if (::setns(pod.fd(), CLONE_NEWNET) != 0)
    return fail(kernel_error("cannot enter " + place.network_namespace.string(), errno));
  if (::chdir(place.directory.c_str()) != 0)
    return fail(io_error("cannot enter directory " + place.directory.string(), errno));
  ::umask(0002);  // the group may connect to the sockets
  VMLANE_TRY(drop_privileges(place.uid, place.gid, place.kvm_group));
  auto queue = queues.begin();
  for (const TapPort& tap : taps) {
    for (unsigned i = 0; i < tap.queues; i++) VMLANE_TRY(open_queue(tap, place, *queue++));
  }
  return {};
}

std::vector<HandedOver> handed_over(const OpenFiles& files, const std::vector<Fd>& queues) {
  std::vector<HandedOver> handed = {{files.kernel.get(), QemuDescriptors::kKernel},
                                    {files.initramfs.get(), QemuDescriptors::kInitramfs},
                                    {files.console_log.get(), QemuDescriptors::kConsoleLog}};
  if (files.seed) handed.push_back({files.seed.get(), QemuDescriptors::kSeed});
  int number = QemuDescriptors::kFirstTap;
  for (const Fd& queue : queues) handed.push_back({queue.get(), number++});
  return handed;
}

}  // namespace

Result<ProcessRef> start_qemu(const QemuSpec& spec, const std::vector<TapPort>& taps, const QemuPlace& place,
                              const std::function<Result<>(const ProcessRef&)>& record) {
  std::size_t count = 0;
  for (const TapPort& tap : taps) count += tap.queues;
  if (count > kMaxQueues) {
    return fail(Code::kInvalidConfig, spec.name + " needs " + std::to_string(count) +
                                          " tap queues, the limit is " + std::to_string(kMaxQueues) +
                                          " over all its NICs");
  }
  VMLANE_TRY(make_directory(place.directory, {.mode = 0750}));
  if (::chown(place.directory.c_str(), place.uid, place.gid) != 0)
    return fail(
        io_error("cannot give " + place.directory.string() + " to uid " + std::to_string(place.uid), errno));
  VMLANE_ASSIGN(const OpenFiles files, open_files(spec, place));
  VMLANE_ASSIGN(const std::vector<Fd> queues, open_queues(taps, place));
  VMLANE_ASSIGN(const Fd output, open_high(place.output, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640));
  Daemon qemu;
  qemu.command = qemu_command(spec);
  qemu.output = output.get();
  qemu.prepare = [&] { return prepare_process(taps, place, queues); };
  qemu.descriptors = handed_over(files, queues);
  return start_daemon(qemu, record);
}

}  // namespace vmlane::lab
