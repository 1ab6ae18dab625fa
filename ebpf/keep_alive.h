// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace vmlane::ebpf {

// A loaded program.
struct LoadedProgram {
  int fd = -1;
  std::uint32_t id = 0;  // the kernel's
};

// Keeps programs and the maps that they use in the kernel while no link has them, by one pin each,
// `<bpf_dir>/<name>_<id>`, in place of all other pins of that name. It spares the next ADD of an idle node
// the loading, and no more: nobody opens a pin, so one that is missing, foreign or left half made costs that
// loading and nothing else. For the same reason nothing is reported, as when `bpf_dir` is in no bpffs, and a
// bpffs of a private mount namespace will do: its pins end with it.
void keep_alive(const std::filesystem::path& bpf_dir, std::string_view name,
                std::span<const LoadedProgram> programs);

}  // namespace vmlane::ebpf
