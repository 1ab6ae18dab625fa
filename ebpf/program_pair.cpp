// SPDX-License-Identifier: Apache-2.0
#include "ebpf/program_pair.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>

#include "core/json.h"
#include "core/lock.h"
#include "ebpf/keep_alive.h"
#include "ebpf/libbpf_error.h"

namespace vmlane::ebpf {
namespace {

namespace fs = std::filesystem;

// With those that no kind lists, such as constants.
constexpr std::size_t kMaxMaps = 16;

// What is remembered of loaded programs. Ids are not used twice before 2^31 programs, and the time of loading
// tells a boot from another.
struct Remembered {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::vector<std::uint32_t> maps;
  std::uint64_t loaded = 0;  // ns since boot, as the kernel has it
};

fs::path directory(const fs::path& run_dir) {
  return run_dir / "programs";
}

std::string file_prefix(const ProgramKind& kind) {
  return std::string(kind.name) + "-";
}

// One file for each build of the programs, so that a newer release does not take an older one's for its own.
fs::path file_of_this_build(const fs::path& run_dir, const ProgramKind& kind) {
  const std::size_t build = std::hash<std::string_view>()(kind.object);
  return directory(run_dir) / (file_prefix(kind) + std::to_string(build) + ".json");
}

std::optional<Remembered> read_remembered(const fs::path& file, const ProgramKind& kind) {
  const auto text = read_file(file);
  if (!text || !*text) return std::nullopt;
  const auto json = parse_json(**text, file.string());
  if (!json || !json->is_object()) return std::nullopt;
  const auto number = [](const Json& value) {
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
  };
  const Json maps = json->value("maps", Json());
  if (!maps.is_array() || maps.size() != kind.maps) return std::nullopt;
  Remembered remembered{static_cast<std::uint32_t>(number(json->value("from", Json()))),
                        static_cast<std::uint32_t>(number(json->value("to", Json()))),
                        {},
                        number(json->value("loaded", Json()))};
  for (const Json& map : maps) remembered.maps.push_back(static_cast<std::uint32_t>(number(map)));
  return remembered;
}

std::optional<bpf_prog_info> info_of(const Fd& program, std::span<std::uint32_t> map_ids = {}) {
  bpf_prog_info info{};
  info.nr_map_ids = static_cast<std::uint32_t>(map_ids.size());
  info.map_ids = reinterpret_cast<std::uintptr_t>(map_ids.data());
  std::uint32_t size = sizeof(info);
  if (!program || bpf_prog_get_info_by_fd(program.get(), &info, &size) != 0) return std::nullopt;
  return info;
}

std::optional<ProgramPair> find_loaded(const fs::path& file, const ProgramKind& kind) {
  const auto remembered = read_remembered(file, kind);
  if (!remembered) return std::nullopt;
  ProgramPair pair{.from = Fd(bpf_prog_get_fd_by_id(remembered->from)),
                   .to = Fd(bpf_prog_get_fd_by_id(remembered->to)),
                   .maps = {},
                   .from_id = remembered->from,
                   .to_id = remembered->to,
                   .map_ids = remembered->maps};
  std::array<std::uint32_t, kMaxMaps> maps{};
  const auto info = info_of(pair.from, maps);
  if (!pair.to || !info || info->name != kind.from_name || info->load_time != remembered->loaded)
    return std::nullopt;
  for (const std::uint32_t map : pair.map_ids) {
    if (std::ranges::find(maps, map) == maps.end()) return std::nullopt;
    pair.maps.emplace_back(bpf_map_get_fd_by_id(map));
    if (!pair.maps.back()) return std::nullopt;
  }
  return pair;
}

Result<> remember(const fs::path& file, const ProgramPair& pair) {
  const auto info = info_of(pair.from);
  const Json json{{"from", pair.from_id},
                  {"to", pair.to_id},
                  {"maps", pair.map_ids},
                  {"loaded", info ? info->load_time : 0}};
  VMLANE_TRY(make_directory(file.parent_path()));
  return write_file_atomically(file, to_text(json) + "\n", {.sync = Sync::kLater});
}

Fd copy_of(int fd) {
  return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

std::uint32_t id_of_map(const Fd& map) {
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  return map && bpf_map_get_info_by_fd(map.get(), &info, &size) == 0 ? info.id : 0;
}

}  // namespace

Result<ProgramPair> take_pair(const bpf_program* from, const bpf_program* to,
                              std::span<const bpf_map* const> maps, std::string_view what) {
  ProgramPair pair{
      .from = copy_of(bpf_program__fd(from)), .to = copy_of(bpf_program__fd(to)), .maps = {}, .map_ids = {}};
  for (const bpf_map* map : maps) {
    pair.maps.push_back(copy_of(bpf_map__fd(map)));
    pair.map_ids.push_back(id_of_map(pair.maps.back()));
  }
  const auto from_info = info_of(pair.from);
  const auto to_info = info_of(pair.to);
  if (!from_info || !to_info || std::ranges::find(pair.map_ids, 0U) != pair.map_ids.end())
    return fail(libbpf_error("cannot read back " + std::string(what), errno));
  pair.from_id = from_info->id;
  pair.to_id = to_info->id;
  return pair;
}

Result<ProgramPair> find_or_load(const NodeConfig& node, const ProgramKind& kind) {
  const auto kept = [&](ProgramPair pair) {
    const std::array programs{LoadedProgram{pair.from.get(), pair.from_id},
                              LoadedProgram{pair.to.get(), pair.to_id}};
    keep_alive(node.bpf_dir, kind.name, programs);
    return pair;
  };
  const fs::path file = file_of_this_build(node.run_dir, kind);
  if (auto loaded = find_loaded(file, kind)) return kept(std::move(*loaded));
  // One loads, the others wait and find.
  VMLANE_ASSIGN(const auto lock,
                ObjectLock::acquire(node.run_dir / "locks", "programs", std::string(kind.name)));
  if (auto loaded = find_loaded(file, kind)) return kept(std::move(*loaded));
  VMLANE_ASSIGN(ProgramPair pair, kind.load());
  VMLANE_TRY(remember(file, pair));
  return kept(std::move(pair));
}

Result<std::vector<ProgramPair>> find_all(const fs::path& run_dir, const ProgramKind& kind) {
  std::vector<ProgramPair> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory(run_dir), error)) {
    if (!entry.path().filename().string().starts_with(file_prefix(kind))) continue;
    if (auto pair = find_loaded(entry.path(), kind)) found.push_back(std::move(*pair));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(io_error("cannot list " + directory(run_dir).string(), error.value()));
  return found;
}

}  // namespace vmlane::ebpf
