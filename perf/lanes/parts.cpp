// SPDX-License-Identifier: Apache-2.0
#include "perf/lanes/parts.h"

#include <unistd.h>

#include "core/exec.h"

namespace vmlane::perf {

Result<> have_plugin(const SiteOptions& site, const std::string& type) {
  std::string path = site.bin_dir.string();
  for (const auto& directory : site.cni_dirs) path += ":" + directory.string();
  for (const std::string& program : {type, std::string("host-local")}) {
    if (find_plugin(path, program)) continue;
    return fail(Code::kNotAvailable, program + " is not in " + path,
                program == type
                    ? "build it, or name its directory with --bin-dir"
                    : "install containernetworking-plugins, or name its directory with --cni-path");
  }
  return {};
}

Result<> have_qemu(const SiteOptions& site) {
  const bool with_path = site.qemu.find('/') != std::string::npos;
  bool found = with_path && ::access(site.qemu.c_str(), X_OK) == 0;
  if (!with_path) {
    for (const char* directory : {"/usr/local/bin/", "/usr/bin/", "/bin/"})
      found = found || ::access((directory + site.qemu).c_str(), X_OK) == 0;
  }
  if (!found)
    return fail(Code::kNotAvailable, site.qemu + " is not on this machine",
                "install qemu-system-x86, or name it with --qemu");
  for (const char* file : {"vmlinuz", "initramfs.gz"}) {
    const auto path = site.guest_dir / file;
    if (::access(path.c_str(), R_OK) != 0)
      return fail(Code::kNotAvailable, "the guest image " + path.string() + " cannot be read",
                  "build it with scripts/guest-image, or name its directory with --guest-dir");
  }
  return {};
}

}  // namespace vmlane::perf
