// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <policy.skel.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/json.h"
#include "core/lock.h"
#include "ebpf/libbpf_error.h"

namespace vmlane::ebpf {
namespace {

namespace fs = std::filesystem;

// With what is not of PolicyMap: the desk, and constants.
constexpr std::size_t kMaxMaps = 16;
// The kernel keeps 15 bytes of a program's name.
constexpr std::string_view kFromName = "vmlane_judge_fr";
constexpr std::string_view kFilePrefix = "policy-";

struct DestroySkeleton {
  void operator()(policy_bpf* skeleton) const { policy_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<policy_bpf, DestroySkeleton>;

// What is remembered of loaded programs. Ids are not used twice before 2^31 programs, and the time of loading
// tells a boot from another.
struct Remembered {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::array<std::uint32_t, kPolicyMaps> maps{};
  std::uint64_t loaded = 0;  // ns since boot, as the kernel has it
};

fs::path directory(const fs::path& run_dir) {
  return run_dir / "programs";
}

fs::path file_of_this_build(const fs::path& run_dir) {
  std::size_t size = 0;
  const auto* bytes = static_cast<const char*>(policy_bpf::elf_bytes(&size));
  const std::size_t build = std::hash<std::string_view>()(std::string_view(bytes, size));
  return directory(run_dir) / (std::string(kFilePrefix) + std::to_string(build) + ".json");
}

std::optional<Remembered> read_remembered(const fs::path& file) {
  const auto text = read_file(file);
  if (!text || !*text) return std::nullopt;
  const auto json = parse_json(**text, file.string());
  if (!json || !json->is_object()) return std::nullopt;
  const auto number = [](const Json& value) {
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
  };
  const Json maps = json->value("maps", Json::array());
  if (!maps.is_array() || maps.size() != kPolicyMaps) return std::nullopt;
  Remembered remembered{static_cast<std::uint32_t>(number(json->value("from", Json()))),
                        static_cast<std::uint32_t>(number(json->value("to", Json()))),
                        {},
                        number(json->value("loaded", Json()))};
  for (std::size_t i = 0; i < kPolicyMaps; i++)
    remembered.maps[i] = static_cast<std::uint32_t>(number(maps[i]));
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

std::optional<PolicyPrograms> find_loaded(const fs::path& file) {
  const auto remembered = read_remembered(file);
  if (!remembered) return std::nullopt;
  PolicyPrograms programs{Fd(bpf_prog_get_fd_by_id(remembered->from)),
                          Fd(bpf_prog_get_fd_by_id(remembered->to)),
                          {},
                          remembered->from,
                          remembered->to,
                          remembered->maps};
  std::array<std::uint32_t, kMaxMaps> maps{};
  const auto info = info_of(programs.from, maps);
  if (!programs.to || !info || info->name != kFromName || info->load_time != remembered->loaded)
    return std::nullopt;
  for (std::size_t i = 0; i < kPolicyMaps; i++) {
    if (std::ranges::find(maps, remembered->maps[i]) == maps.end()) return std::nullopt;
    programs.maps[i] = Fd(bpf_map_get_fd_by_id(remembered->maps[i]));
    if (!programs.maps[i]) return std::nullopt;
  }
  return programs;
}

Result<> remember(const fs::path& file, const PolicyPrograms& programs) {
  const auto info = info_of(programs.from);
  const Json json{{"from", programs.from_id},
                  {"to", programs.to_id},
                  {"maps", programs.map_ids},
                  {"loaded", info ? info->load_time : 0}};
  VMLANE_TRY(make_directory(file.parent_path()));
  return write_file_atomically(file, to_text(json) + "\n", {.sync = Sync::kLater});
}

// A descriptor that outlives the skeleton.
Fd copy_of(int fd) {
  return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

std::uint32_t id_of_map(const Fd& map) {
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  return map && bpf_map_get_info_by_fd(map.get(), &info, &size) == 0 ? info.id : 0;
}

Result<PolicyPrograms> load() {
  const Skeleton skeleton(policy_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the policy programs", errno));
  if (const int error = policy_bpf::load(skeleton.get()); error != 0)
    return fail(libbpf_error("cannot load the policy programs", -error));
  const auto& maps = skeleton->maps;
  // In the order of PolicyMap.
  const std::array<const bpf_map*, kPolicyMaps> all{
      maps.vmlane_subjects,    maps.vmlane_owners,   maps.vmlane_state, maps.vmlane_tables,
      maps.vmlane_connections, maps.vmlane_counters, maps.vmlane_events};
  PolicyPrograms programs{copy_of(bpf_program__fd(skeleton->progs.vmlane_judge_from)),
                          copy_of(bpf_program__fd(skeleton->progs.vmlane_judge_to))};
  for (std::size_t i = 0; i < kPolicyMaps; i++) {
    programs.maps[i] = copy_of(bpf_map__fd(all[i]));
    programs.map_ids[i] = id_of_map(programs.maps[i]);
  }
  const auto from = info_of(programs.from);
  const auto to = info_of(programs.to);
  if (!from || !to || std::ranges::find(programs.map_ids, 0U) != programs.map_ids.end())
    return fail(libbpf_error("cannot read back the policy programs", errno));
  programs.from_id = from->id;
  programs.to_id = to->id;
  return programs;
}

}  // namespace

Result<PolicyPrograms> policy_programs(const fs::path& run_dir) {
  const fs::path file = file_of_this_build(run_dir);
  if (auto loaded = find_loaded(file)) return std::move(*loaded);
  // One loads, the others wait and find.
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(run_dir / "locks", "programs", "policy"));
  if (auto loaded = find_loaded(file)) return std::move(*loaded);
  VMLANE_ASSIGN(PolicyPrograms programs, load());
  VMLANE_TRY(remember(file, programs));
  return programs;
}

Result<std::vector<PolicyPrograms>> all_policy_programs(const fs::path& run_dir) {
  std::vector<PolicyPrograms> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory(run_dir), error)) {
    if (!entry.path().filename().string().starts_with(kFilePrefix)) continue;
    if (auto programs = find_loaded(entry.path())) found.push_back(std::move(*programs));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(io_error("cannot list " + directory(run_dir).string(), error.value()));
  return found;
}

}  // namespace vmlane::ebpf
