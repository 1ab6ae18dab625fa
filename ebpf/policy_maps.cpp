// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_maps.h"

#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "ebpf/libbpf_error.h"

namespace vmlane::ebpf {
namespace {

std::optional<bpf_map_info> info_of(int map) {
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  if (bpf_map_get_info_by_fd(map, &info, &size) != 0) return std::nullopt;
  return info;
}

}  // namespace

Mapping::~Mapping() {
  if (memory_ != nullptr) ::munmap(memory_, size_);
}

Result<Mapping> map_memory(int map, const std::string& what) {
  const auto info = info_of(map);
  if (!info) return fail(libbpf_error("cannot look at " + what, errno));
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t bytes = std::size_t{info->value_size} * info->max_entries;
  const std::size_t size = (bytes + page - 1) / page * page;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
  if (memory == MAP_FAILED) return fail(libbpf_error("cannot map " + what, errno));
  return Mapping(memory, size);
}

Result<Fd> make_map(bpf_map_type type, const char* name, std::uint32_t key, std::uint32_t value,
                    std::size_t entries, std::uint32_t flags) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
  Fd map(bpf_map_create(type, name, key, value, static_cast<std::uint32_t>(entries), &options));
  if (!map) return fail(libbpf_error(std::string("cannot make the map ") + name, errno));
  return map;
}

std::uint32_t inner_map_id(int outer, std::uint32_t slot) {
  std::uint32_t id = 0;
  return bpf_map_lookup_elem(outer, &slot, &id) == 0 ? id : 0;
}

Fd inner_map(int outer, std::uint32_t slot) {
  const std::uint32_t id = inner_map_id(outer, slot);
  return id == 0 ? Fd() : Fd(bpf_map_get_fd_by_id(id));
}

Result<> put_inner(int outer, std::uint32_t slot, const Fd& inner) {
  const int fd = inner.get();
  if (bpf_map_update_elem(outer, &slot, &fd, BPF_ANY) == 0) return {};
  return fail(libbpf_error("cannot put a map into its slot", errno));
}

std::size_t value_size(int map) {
  const auto info = info_of(map);
  return info ? info->value_size : 0;
}

}  // namespace vmlane::ebpf
