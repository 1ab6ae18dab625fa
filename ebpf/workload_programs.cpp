// SPDX-License-Identifier: Apache-2.0
#include "ebpf/workload_programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <workload.skel.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/lock.h"
#include "ebpf/keep_alive.h"
#include "ebpf/libbpf_error.h"

namespace vmlane::ebpf {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxMaps = 8;
// The kernel keeps 15 bytes of a program's name.
constexpr std::string_view kFromName = "vmlane_from_wor";

struct DestroySkeleton {
  void operator()(workload_bpf* skeleton) const { workload_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<workload_bpf, DestroySkeleton>;

// What is remembered of loaded programs. Ids are not used twice before 2^31 programs, and the time of loading
// tells a boot from another.
struct Remembered {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::uint32_t guards = 0;
  std::uint32_t answers = 0;
  std::uint32_t plains = 0;
  std::uint32_t claims = 0;
  std::uint64_t loaded = 0;  // ns since boot, as the kernel has it
};

fs::path directory(const fs::path& run_dir) {
  return run_dir / "programs";
}

// One file for each build of the programs, so that a newer release does not take an older one's for its own.
fs::path file_of_this_build(const fs::path& run_dir) {
  std::size_t size = 0;
  const auto* bytes = static_cast<const char*>(workload_bpf::elf_bytes(&size));
  const std::size_t build = std::hash<std::string_view>()(std::string_view(bytes, size));
  return directory(run_dir) / ("workload-" + std::to_string(build) + ".json");
}

std::optional<Remembered> read_remembered(const fs::path& file) {
  const auto text = read_file(file);
  if (!text || !*text) return std::nullopt;
  const auto json = parse_json(**text, file.string());
  if (!json || !json->is_object()) return std::nullopt;
  const auto number = [&](const char* key) {
    const auto found = json->find(key);
    return found != json->end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  return Remembered{static_cast<std::uint32_t>(number("from")),
                    static_cast<std::uint32_t>(number("to")),
                    static_cast<std::uint32_t>(number("guards")),
                    static_cast<std::uint32_t>(number("answers")),
                    static_cast<std::uint32_t>(number("plains")),
                    static_cast<std::uint32_t>(number("claims")),
                    number("loaded")};
}

std::optional<bpf_prog_info> info_of(const Fd& program, std::span<std::uint32_t> map_ids = {}) {
  bpf_prog_info info{};
  info.nr_map_ids = static_cast<std::uint32_t>(map_ids.size());
  info.map_ids = reinterpret_cast<std::uintptr_t>(map_ids.data());
  std::uint32_t size = sizeof(info);
  if (!program || bpf_prog_get_info_by_fd(program.get(), &info, &size) != 0) return std::nullopt;
  return info;
}

std::optional<WorkloadPrograms> find_loaded(const fs::path& file) {
  const auto remembered = read_remembered(file);
  if (!remembered) return std::nullopt;
  WorkloadPrograms programs{Fd(bpf_prog_get_fd_by_id(remembered->from)),
                            Fd(bpf_prog_get_fd_by_id(remembered->to)),
                            Fd(bpf_map_get_fd_by_id(remembered->guards)),
                            Fd(bpf_map_get_fd_by_id(remembered->answers)),
                            Fd(bpf_map_get_fd_by_id(remembered->plains)),
                            Fd(bpf_map_get_fd_by_id(remembered->claims)),
                            remembered->from,
                            remembered->to,
                            remembered->guards,
                            remembered->answers,
                            remembered->plains,
                            remembered->claims};
  if (!programs.to || !programs.guards || !programs.answers || !programs.plains || !programs.claims)
    return std::nullopt;
  std::array<std::uint32_t, kMaxMaps> maps{};
  const auto info = info_of(programs.from, maps);
  if (!info || info->name != kFromName || info->load_time != remembered->loaded) return std::nullopt;
  for (const std::uint32_t map :
       {remembered->guards, remembered->answers, remembered->plains, remembered->claims}) {
    if (std::ranges::find(maps, map) == maps.end()) return std::nullopt;
  }
  return programs;
}

Result<> remember(const fs::path& file, const WorkloadPrograms& programs) {
  const auto info = info_of(programs.from);
  const Json json{{"from", programs.from_id},
                  {"to", programs.to_id},
                  {"guards", programs.guards_id},
                  {"answers", programs.answers_id},
                  {"plains", programs.plains_id},
                  {"claims", programs.claims_id},
                  {"loaded", info ? info->load_time : 0}};
  VMLANE_TRY(make_directory(file.parent_path()));
  return write_file_atomically(file, to_text(json) + "\n", {.sync = Sync::kLater});
}

// A descriptor that outlives the skeleton.
Fd copy_of(int fd) {
  return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

std::uint32_t map_id(const Fd& map) {
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  return map && bpf_map_get_info_by_fd(map.get(), &info, &size) == 0 ? info.id : 0;
}

Result<WorkloadPrograms> load() {
  const Skeleton skeleton(workload_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the programs for workloads' links", errno));
  if (const int error = workload_bpf::load(skeleton.get()); error != 0) {
    return fail(libbpf_error("cannot load the programs for workloads' links", -error));
  }
  WorkloadPrograms programs{copy_of(bpf_program__fd(skeleton->progs.vmlane_from_workload)),
                            copy_of(bpf_program__fd(skeleton->progs.vmlane_to_workload)),
                            copy_of(bpf_map__fd(skeleton->maps.vmlane_guards)),
                            copy_of(bpf_map__fd(skeleton->maps.vmlane_answers)),
                            copy_of(bpf_map__fd(skeleton->maps.vmlane_plains)),
                            copy_of(bpf_map__fd(skeleton->maps.vmlane_claims))};
  const auto from = info_of(programs.from);
  const auto to = info_of(programs.to);
  if (!from || !to || !programs.guards || !programs.answers || !programs.plains || !programs.claims)
    return fail(libbpf_error("cannot read back the programs for workloads' links", errno));
  programs.from_id = from->id;
  programs.to_id = to->id;
  programs.guards_id = map_id(programs.guards);
  programs.answers_id = map_id(programs.answers);
  programs.plains_id = map_id(programs.plains);
  programs.claims_id = map_id(programs.claims);
  return programs;
}

Result<WorkloadPrograms> find_or_load(const NodeConfig& node) {
  const fs::path file = file_of_this_build(node.run_dir);
  if (auto loaded = find_loaded(file)) return std::move(*loaded);
  // One loads, the others wait and find.
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(node.locks_dir(), "programs", "workload"));
  if (auto loaded = find_loaded(file)) return std::move(*loaded);
  VMLANE_ASSIGN(WorkloadPrograms programs, load());
  VMLANE_TRY(remember(file, programs));
  return programs;
}

}  // namespace

Result<WorkloadPrograms> workload_programs(const NodeConfig& node) {
  VMLANE_ASSIGN(WorkloadPrograms programs, find_or_load(node));
  const std::array kept{LoadedProgram{programs.from.get(), programs.from_id},
                        LoadedProgram{programs.to.get(), programs.to_id}};
  keep_alive(node.bpf_dir, "workload", kept);
  return programs;
}

Result<std::vector<WorkloadPrograms>> all_workload_programs(const fs::path& run_dir) {
  std::vector<WorkloadPrograms> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory(run_dir), error)) {
    if (auto programs = find_loaded(entry.path())) found.push_back(std::move(*programs));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(io_error("cannot list " + directory(run_dir).string(), error.value()));
  return found;
}

}  // namespace vmlane::ebpf
