// SPDX-License-Identifier: Apache-2.0
#include "cni/directories.h"

#include "core/files.h"

namespace vmlane::cni {
namespace {

Result<> check_usable(const std::filesystem::path& directory, const FileMode& mode, const std::string& what,
                      const std::filesystem::path& root) {
  auto usable = make_directory(directory, mode);
  if (usable) usable = check_writable(directory);
  if (usable) return {};
  return fail(Code::kNotAvailable, "the " + what + " directory cannot be used: " + usable.error().message,
              "make " + root.string() + " writable");
}

}  // namespace

Result<> check_directories(const NodeConfig& config, const std::filesystem::path& state) {
  VMLANE_TRY(check_usable(state, {.mode = 0750, .group = config.vmlane_gid}, "state", config.state_dir));
  return check_usable(config.locks_dir(), {.mode = 0700}, "run", config.run_dir);
}

}  // namespace vmlane::cni
