// SPDX-License-Identifier: Apache-2.0
#include "ebpf/program.h"

#include <bpf/bpf.h>
#include <net/if.h>

#include <array>

#include "core/files.h"

namespace vmlane::ebpf {
namespace {

std::optional<std::vector<std::uint8_t>> read_only_value(std::uint32_t map_id) {
  const Fd map(bpf_map_get_fd_by_id(map_id));
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  if (!map || bpf_map_get_info_by_fd(map.get(), &info, &size) != 0) return std::nullopt;
  if (info.type != BPF_MAP_TYPE_ARRAY || info.max_entries != 1) return std::nullopt;
  std::vector<std::uint8_t> value(info.value_size);
  const std::uint32_t key = 0;
  if (bpf_map_lookup_elem(map.get(), &key, value.data()) != 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::vector<std::uint8_t>> read_constants(std::uint32_t program_id, std::string_view name) {
  const Fd program(bpf_prog_get_fd_by_id(program_id));
  std::uint32_t map_id = 0;
  bpf_prog_info info{};
  info.nr_map_ids = 1;
  info.map_ids = reinterpret_cast<std::uintptr_t>(&map_id);
  std::uint32_t size = sizeof(info);
  if (!program || bpf_prog_get_info_by_fd(program.get(), &info, &size) != 0) return std::nullopt;
  if (info.name != name || info.nr_map_ids != 1) return std::nullopt;
  return read_only_value(map_id);
}

std::string link_text(int index) {
  std::array<char, IF_NAMESIZE> name{};
  if (if_indextoname(static_cast<unsigned>(index), name.data()) != nullptr)
    return "link " + std::string(name.data());
  return "link with index " + std::to_string(index);
}

}  // namespace vmlane::ebpf
