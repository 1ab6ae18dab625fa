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

// Our own descriptors stay above those that QEMU knows by number.
constexpr int kAboveQemus = 512;
constexpr std::size_t kMaxQueues = kAboveQemus - QemuDescriptors::kFirstTap;

Result<Fd> open_high(const fs::path& path, int flags, mode_t mode = 0) {
  const Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  const int high = fd ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, kAboveQemus) : -1;
  if (high < 0) return fail(io_error("cannot open " + path.string(), errno));
  return Fd(high);
}

// A copy of `fd` under the number QEMU knows, kept open over exec.
Result<> hand_over(const Fd& fd, int number) {
  if (::dup2(fd.get(), number) < 0) return fail(io_error("cannot pass a descriptor to QEMU", errno));
  return {};
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

struct OpenFiles {
  Fd kernel;
  Fd initramfs;
  Fd console_log;
};

Result<OpenFiles> open_files(const QemuPlace& place) {
  OpenFiles files;
  VMLANE_ASSIGN(files.kernel, open_high(place.guest.kernel, O_RDONLY));
  VMLANE_ASSIGN(files.initramfs, open_high(place.guest.initramfs, O_RDONLY));
  VMLANE_ASSIGN(files.console_log,
                open_high(place.console_log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640));
  return files;
}

// In the new process: enters namespace and directory, opens as root what only root can open, becomes the
// user, attaches the taps.
Result<> prepare_process(const std::vector<TapPort>& taps, const QemuPlace& place, const OpenFiles& files) {
  VMLANE_ASSIGN(const auto pod, netlink::Namespace::open(place.network_namespace.string()));
  if (::setns(pod.fd(), CLONE_NEWNET) != 0)
    return fail(kernel_error("cannot enter " + place.network_namespace.string(), errno));
  if (::chdir(place.directory.c_str()) != 0)
    return fail(io_error("cannot enter directory " + place.directory.string(), errno));
  ::umask(0002);  // the group may connect to the sockets
  std::vector<Fd> queues;
  for (const TapPort& tap : taps) {
    for (unsigned i = 0; i < tap.queues; i++) {
      VMLANE_ASSIGN(Fd queue, open_high("/dev/net/tun", O_RDWR));
      queues.push_back(std::move(queue));
    }
  }
  VMLANE_TRY(drop_privileges(place.uid, place.gid, place.kvm_group));
  VMLANE_TRY(hand_over(files.kernel, QemuDescriptors::kKernel));
  VMLANE_TRY(hand_over(files.initramfs, QemuDescriptors::kInitramfs));
  VMLANE_TRY(hand_over(files.console_log, QemuDescriptors::kConsoleLog));
  std::size_t next = 0;
  for (const TapPort& tap : taps) {
    for (unsigned i = 0; i < tap.queues; i++, next++) {
      VMLANE_TRY(attach_tap(queues[next], tap, place));
      VMLANE_TRY(hand_over(queues[next], QemuDescriptors::kFirstTap + static_cast<int>(next)));
    }
  }
  return {};
}

}  // namespace

Result<ProcessRef> start_qemu(const QemuSpec& spec, const std::vector<TapPort>& taps, const QemuPlace& place,
                              const std::function<Result<>(const ProcessRef&)>& record) {
  std::size_t queues = 0;
  for (const TapPort& tap : taps) queues += tap.queues;
  if (queues > kMaxQueues) {
    return fail(Code::kInvalidConfig, spec.name + " needs " + std::to_string(queues) +
                                          " tap queues, the limit is " + std::to_string(kMaxQueues) +
                                          " over all its NICs");
  }
  VMLANE_TRY(make_directory(place.directory, {.mode = 0750}));
  if (::chown(place.directory.c_str(), place.uid, place.gid) != 0)
    return fail(
        io_error("cannot give " + place.directory.string() + " to uid " + std::to_string(place.uid), errno));
  VMLANE_ASSIGN(const OpenFiles files, open_files(place));
  VMLANE_ASSIGN(const Fd output, open_high(place.output, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640));
  Daemon qemu;
  qemu.command = qemu_command(spec);
  qemu.output = output.get();
  qemu.prepare = [&] { return prepare_process(taps, place, files); };
  return start_daemon(qemu, record);
}

}  // namespace vmlane::lab
