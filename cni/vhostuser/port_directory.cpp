// SPDX-License-Identifier: Apache-2.0
#include "cni/vhostuser/port_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/files.h"
#include "core/json.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

// The setgid bit hands the group on to the socket.
constexpr mode_t kMode = 02770;
constexpr const char* kSocketName = "port.sock";

// One that QEMU left; what is no socket is somebody's and stays.
Result<> remove_socket(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 && errno == ENOENT) return {};
  if (!S_ISSOCK(status.st_mode))
    return fail(Code::kConflict, path.string() + " is no socket, and QEMU could make none in its place",
                "remove it, or use another runDir in the node config");
  return remove_file(path);
}

}  // namespace

Result<PortDirectory> port_directory(const NodeConfig& config, const std::string& attachment_id,
                                     const std::string& device_id) {
  if (!device_id.empty()) VMLANE_TRY(names::check_identifier(device_id, "deviceID", Code::kInvalidConfig));
  PortDirectory directory{.path = config.ports_dir() / (device_id.empty() ? attachment_id : device_id),
                          .of_device_plugin = !device_id.empty()};
  directory.socket = directory.path / kSocketName;
  const std::size_t length = directory.socket.native().size();
  if (length > names::kMaxSocketPath) {
    return fail(Code::kInvalidConfig,
                "socket path " + directory.socket.string() + " is " + std::to_string(length) +
                    " bytes long, the limit is " + std::to_string(names::kMaxSocketPath),
                "choose a shorter runDir in the node config" +
                    std::string(device_id.empty() ? "" : " or a shorter deviceID"));
  }
  return directory;
}

Result<> make_port_directory(const PortDirectory& directory, uid_t owner, gid_t group) {
  const auto parent = directory.path.parent_path();
  // Anyone may pass: what lies below is its owners'.
  constexpr mode_t kParentMode = 0755;
  VMLANE_TRY(make_directory(parent, {.mode = kParentMode}));
  if (::chmod(parent.c_str(), kParentMode) != 0)
    return fail(io_error("cannot set the mode of " + parent.string(), errno));
  VMLANE_TRY(make_directory(directory.path));
  if (::chown(directory.path.c_str(), owner, group) != 0)
    return fail(io_error("cannot give " + directory.path.string() + " to " + std::to_string(owner) + ":" +
                             std::to_string(group),
                         errno));
  if (::chmod(directory.path.c_str(), kMode) != 0)
    return fail(io_error("cannot set the mode of " + directory.path.string(), errno));
  return remove_socket(directory.socket);
}

Result<> remove_port_directory(const PortDirectory& directory) {
  struct stat status {};
  if (::lstat(directory.path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return {};
  // What else somebody put there is not ours to remove, and goes with the boot.
  const auto removed = remove_socket(directory.socket);
  if (!removed && removed.error().code != Code::kConflict) return removed;
  if (directory.of_device_plugin) return {};
  if (::rmdir(directory.path.c_str()) == 0 || errno == ENOENT || errno == ENOTEMPTY) return {};
  return fail(io_error("cannot remove " + directory.path.string(), errno));
}

Result<> check_port_directory(const PortDirectory& directory, uid_t owner, gid_t group) {
  struct stat status {};
  if (::lstat(directory.path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    return fail(Code::kChanged, "port directory " + directory.path.string() + " is gone");
  if (status.st_uid == owner && status.st_gid == group) return {};
  return fail(Code::kChanged, "port directory " + directory.path.string() + " belongs to " +
                                  std::to_string(status.st_uid) + ":" + std::to_string(status.st_gid) +
                                  ", ADD gave it to " + std::to_string(owner) + ":" + std::to_string(group));
}

Result<> write_device_info(const std::filesystem::path& file, const std::filesystem::path& socket) {
  constexpr mode_t kInfoMode = 0644;
  const Json info{{"type", "vhost-user"},
                  {"version", "1.1.0"},
                  {"vhost-user", {{"mode", "server"}, {"path", socket.string()}}}};
  VMLANE_TRY(make_directory(file.parent_path(), {.mode = 0755}));
  return write_file_atomically(file, to_text(info) + "\n", {.mode = kInfoMode, .sync = Sync::kLater});
}

}  // namespace vmlane::cni
