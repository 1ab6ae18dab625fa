// SPDX-License-Identifier: Apache-2.0
#include "ebpf/keep_alive.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

#include "core/files.h"

namespace vmlane::ebpf {
namespace {

namespace fs = std::filesystem;

bool is_in_bpffs(const fs::path& path) {
  fs::path existing = path;
  std::error_code error;
  while (existing.has_relative_path() && !fs::exists(existing, error)) existing = existing.parent_path();
  struct statfs found {};
  return ::statfs(existing.c_str(), &found) == 0 && found.f_type == BPF_FS_MAGIC;
}

void remove_pins(const fs::path& bpf_dir, const std::string& prefix) {
  std::error_code error;
  std::vector<fs::path> pins;
  for (const auto& entry : fs::directory_iterator(bpf_dir, error)) {
    if (entry.path().filename().string().starts_with(prefix)) pins.push_back(entry.path());
  }
  for (const fs::path& pin : pins) fs::remove(pin, error);
}

}  // namespace

void keep_alive(const fs::path& bpf_dir, std::string_view name, std::span<const LoadedProgram> programs) {
  const std::string prefix = std::string(name) + "_";
  const auto pin_of = [&](const LoadedProgram& program) {
    return bpf_dir / (prefix + std::to_string(program.id));
  };
  std::error_code error;
  if (std::ranges::all_of(programs, [&](const auto& program) { return fs::exists(pin_of(program), error); }))
    return;
  if (!is_in_bpffs(bpf_dir) || !make_directory(bpf_dir, {.mode = 0700})) return;
  remove_pins(bpf_dir, prefix);
  for (const LoadedProgram& program : programs) bpf_obj_pin(program.fd, pin_of(program).c_str());
}

}  // namespace vmlane::ebpf
