// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "netlink/netlink.h"

// /dev/tap<index>, by which QEMU opens a macvtap. The kernel makes and removes it where /dev is a devtmpfs;
// where it is not, as on a node that is a container itself, we do. The name alone proves nothing: a link of
// the same index in another namespace has the same. So each function is told the device's number, which is
// the link's own, and touches nothing else.
namespace vmlane::cni {

class DeviceNode {
 public:
  DeviceNode(int index, netlink::DeviceNumber number);

  const std::filesystem::path& path() const { return path_; }
  netlink::DeviceNumber number() const { return number_; }

  // The inode of the node, none when nothing is there. Code::kConflict when something else is.
  Result<std::optional<ino_t>> inode() const;
  // For root alone, until it is given to its owner.
  Result<> make() const;
  Result<> give_to(std::uint32_t owner, std::uint32_t group) const;
  // Code::kChanged when the node is gone, is not this device's or has another owner.
  Result<> check(std::uint32_t owner, std::uint32_t group) const;
  // With `inode` only that very node. What is gone, or is something else, is success.
  Result<> remove(std::optional<ino_t> inode = {}) const;

 private:
  std::filesystem::path path_;
  netlink::DeviceNumber number_;
};

}  // namespace vmlane::cni
