// SPDX-License-Identifier: Apache-2.0
#include "lab/namespaces.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <thread>
#include <utility>

#include "core/files.h"
#include "netlink/netlink.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

// In a thread of its own, so that the caller's namespace never changes.
Result<> unshare_and_mount(const fs::path& path) {
  int error = 0;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0 ||
        ::mount("/proc/thread-self/ns/net", path.c_str(), nullptr, MS_BIND, nullptr) != 0)
      error = errno;
  }).join();
  if (error != 0) return fail(kernel_error("cannot make network namespace " + path.string(), error));
  return {};
}

Result<> bring_up_loopback(const fs::path& path) {
  VMLANE_ASSIGN(const auto inside, netlink::Namespace::open(path.string()));
  VMLANE_ASSIGN(const auto netlink, netlink::open_netlink(inside));
  VMLANE_ASSIGN(const auto loopback, netlink->find_link("lo"));
  if (!loopback) return fail(Code::kKernel, "network namespace " + path.string() + " has no loopback link");
  return netlink->change_link(loopback->index, {.up = true});
}

}  // namespace

Result<> create_namespace(const fs::path& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file) return fail(io_error("cannot make " + path.string(), errno));
  auto made = unshare_and_mount(path);
  if (made) made = bring_up_loopback(path);
  if (!made) {
    VMLANE_TRY(remove_namespace(path));
    return made;
  }
  return {};
}

Result<> remove_namespace(const fs::path& path) {
  // Lazily, because a process that is still inside must not keep the mount.
  while (is_namespace(path)) {
    if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
      return fail(io_error("cannot unmount " + path.string(), errno));
  }
  return remove_file(path);
}

bool is_namespace(const fs::path& path) {
  struct statfs info {};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == NSFS_MAGIC;
}

Result<> enter_namespace(const fs::path& path) {
  const Fd target(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!target || ::setns(target.get(), CLONE_NEWNET) != 0)
    return fail(kernel_error("cannot enter network namespace " + path.string(), errno));
  // sysfs shows the links of the namespace it was mounted in.
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
      ::umount2("/sys", MNT_DETACH) != 0 || ::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0)
    return fail(kernel_error("cannot mount /sys for network namespace " + path.string(), errno));
  return {};
}

std::vector<ProcessRef> processes_inside(const std::vector<fs::path>& paths) {
  std::vector<std::pair<dev_t, ino_t>> ours;
  for (const fs::path& path : paths) {
    struct stat info {};
    if (is_namespace(path) && ::stat(path.c_str(), &info) == 0) ours.emplace_back(info.st_dev, info.st_ino);
  }
  std::vector<ProcessRef> found;
  std::error_code error;  // processes end while we look
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    struct stat info {};
    if (parsed.ptr != name.data() + name.size() || pid == ::getpid() ||
        ::stat((entry->path() / "ns/net").c_str(), &info) != 0 ||
        std::ranges::find(ours, std::pair(info.st_dev, info.st_ino)) == ours.end())
      continue;
    if (const auto process = find_process(pid)) found.push_back(*process);
  }
  return found;
}

}  // namespace vmlane::lab
