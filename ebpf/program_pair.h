// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/node_config.h"

struct bpf_map;
struct bpf_program;

// Programs that are loaded once for a node and build, and shared by all links: one for what comes from a
// workload, one for what goes to it, and their maps. `<runDir>/programs/<kind>-<build>.json` has the ids of
// the kernel's objects, by which the next process finds them. Internal to this room.
namespace vmlane::ebpf {

// Held for as long as this object lives or a link has the programs.
struct ProgramPair {
  Fd from;
  Fd to;
  std::vector<Fd> maps;  // in the order of the kind's enumeration
  std::uint32_t from_id = 0;
  std::uint32_t to_id = 0;
  std::vector<std::uint32_t> map_ids;
};

struct ProgramKind {
  std::string_view name;       // "workload"
  std::string_view from_name;  // of the program `from`, as the kernel has it: 15 bytes
  std::size_t maps = 0;
  std::string_view object;  // the compiled programs, by which a build is told from another
  std::function<Result<ProgramPair>()> load;
};

// What a skeleton has loaded, by descriptors that outlive it. `what` is for the error.
Result<ProgramPair> take_pair(const bpf_program* from, const bpf_program* to,
                              std::span<const bpf_map* const> maps, std::string_view what);

// Those of this build that somebody on this node has, else freshly loaded ones, which an idle node keeps
// (keep_alive.h).
Result<ProgramPair> find_or_load(const NodeConfig& node, const ProgramKind& kind);

// Those of each build that somebody on this node has.
Result<std::vector<ProgramPair>> find_all(const std::filesystem::path& run_dir, const ProgramKind& kind);

}  // namespace vmlane::ebpf
