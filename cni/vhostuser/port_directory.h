// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/node_config.h"

// Where a VM's QEMU makes the socket of a vhost-user NIC, and what the pod is told of it.
namespace vmlane::cni {

struct PortDirectory {
  std::filesystem::path path;
  std::filesystem::path socket;  // that QEMU makes in it, and listens on
  // A device plugin made and mounts it; it outlives the attachment.
  bool of_device_plugin = false;
};

// `<runDir>/ports/<deviceID>`, or `<runDir>/ports/<attachment id>` without one. Code::kInvalidConfig when the
// socket's path would be longer than a socket's may be, naming what makes it long.
Result<PortDirectory> port_directory(const NodeConfig& config, const std::string& attachment_id,
                                     const std::string& device_id);

// Makes it if it is not there, for QEMU's user and group: whoever is of the group may connect to what QEMU
// makes in it. A stale socket is removed; something else in its place is Code::kConflict.
Result<> make_port_directory(const PortDirectory& directory, uid_t owner, gid_t group);
// Removes the socket, and the directory unless it is a device plugin's or has something else in it. Gone
// already is success.
Result<> remove_port_directory(const PortDirectory& directory);
// Code::kChanged when it is gone or not its user's.
Result<> check_port_directory(const PortDirectory& directory, uid_t owner, gid_t group);

// The device information that Multus hands to the pod (Network Plumbing Working Group, "Device Information
// Specification" 1.1.0): where the socket is, and that QEMU is its server.
Result<> write_device_info(const std::filesystem::path& file, const std::filesystem::path& socket);

}  // namespace vmlane::cni
