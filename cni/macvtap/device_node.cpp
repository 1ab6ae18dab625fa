// SPDX-License-Identifier: Apache-2.0
#include "cni/macvtap/device_node.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "core/files.h"

namespace vmlane::cni {
namespace {

constexpr mode_t kPermissions = 0660;

std::string shown(netlink::DeviceNumber number) {
  return std::to_string(number.major) + ":" + std::to_string(number.minor);
}

std::string shown(std::uint32_t owner, std::uint32_t group) {
  return std::to_string(owner) + ":" + std::to_string(group);
}

bool is_device(const struct stat& status, netlink::DeviceNumber number) {
  return S_ISCHR(status.st_mode) && major(status.st_rdev) == number.major &&
         minor(status.st_rdev) == number.minor;
}

}  // namespace

DeviceNode::DeviceNode(int index, netlink::DeviceNumber number)
    : path_("/dev/tap" + std::to_string(index)), number_(number) {}

Result<std::optional<ino_t>> DeviceNode::inode() const {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0) {
    if (errno == ENOENT) return std::nullopt;
    return fail(io_error("cannot look at " + path_.string(), errno));
  }
  if (is_device(status, number_)) return status.st_ino;
  return fail(Code::kConflict,
              path_.string() + " is there and is not device " + shown(number_) + " of the pod's macvtap",
              "a link of the same number in another network namespace has that name, or it was left behind");
}

Result<> DeviceNode::make() const {
  if (::mknod(path_.c_str(), S_IFCHR | S_IRUSR | S_IWUSR, makedev(number_.major, number_.minor)) == 0)
    return {};
  return fail(io_error("cannot make " + path_.string(), errno));
}

Result<> DeviceNode::give_to(std::uint32_t owner, std::uint32_t group) const {
  // By descriptor, so that what is changed is what was looked at. An O_PATH one does not open the device,
  // which would be one of its queues.
  const Fd node(::open(path_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!node || ::fstat(node.get(), &status) != 0)
    return fail(io_error("cannot look at " + path_.string(), errno));
  if (!is_device(status, number_))
    return fail(Code::kConflict, path_.string() + " is not device " + shown(number_) + " any more");
  const std::string itself = "/proc/self/fd/" + std::to_string(node.get());
  if (::chmod(itself.c_str(), kPermissions) != 0 ||
      ::fchownat(node.get(), "", owner, group, AT_EMPTY_PATH) != 0)
    return fail(io_error("cannot give " + path_.string() + " to " + shown(owner, group), errno));
  return {};
}

Result<> DeviceNode::check(std::uint32_t owner, std::uint32_t group) const {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0) {
    if (errno == ENOENT) return fail(Code::kChanged, "device node " + path_.string() + " is gone");
    return fail(io_error("cannot look at " + path_.string(), errno));
  }
  if (!is_device(status, number_))
    return fail(Code::kChanged, path_.string() + " is not device " + shown(number_) + " of the macvtap");
  if (status.st_uid != owner || status.st_gid != group) {
    return fail(Code::kChanged, "owner of " + path_.string() + " is " + shown(status.st_uid, status.st_gid) +
                                    ", ADD set " + shown(owner, group));
  }
  if ((status.st_mode & kPermissions) != kPermissions)
    return fail(Code::kChanged, "owner and group may not read and write " + path_.string());
  return {};
}

Result<> DeviceNode::remove(std::optional<ino_t> inode) const {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0 || !is_device(status, number_)) return {};
  if (inode && *inode != status.st_ino) return {};
  return remove_file(path_);
}

}  // namespace vmlane::cni
