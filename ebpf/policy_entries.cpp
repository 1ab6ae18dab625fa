// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_entries.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <ctime>
#include <vector>

#include "core/hex.h"
#include "ebpf/libbpf_error.h"
#include "ebpf/policy_maps.h"
#include "ebpf/workload_layout.bpf.h"
#include "policy/connection.h"

namespace vmlane::ebpf {

void write_attachment(std::string_view attachment_id, vmlane_policy_owner& owner) {
  constexpr int kHex = 16;
  for (std::size_t i = 0; i < sizeof(owner.attachment) && 2 * i + 1 < attachment_id.size(); i++) {
    const std::string_view digits = attachment_id.substr(2 * i, 2);
    std::from_chars(digits.data(), digits.data() + digits.size(), owner.attachment[i], kHex);
  }
}

std::string attachment_of(const vmlane_policy_owner& owner) {
  return to_hex(owner.attachment);
}

std::optional<vmlane_policy_owner> policy_owner(int owners_map, std::uint32_t key) {
  return read_value<vmlane_policy_owner>(owners_map, key);
}

std::map<std::string, std::uint32_t> policy_keys(int owners_map) {
  std::vector<std::uint32_t> keys;
  std::uint32_t key = 0;
  // A deletion under way makes the walk start anew: it ends all the same, at what the map can hold.
  while (keys.size() <= VMLANE_MAX_WORKLOADS &&
         bpf_map_get_next_key(owners_map, keys.empty() ? nullptr : &keys.back(), &key) == 0)
    keys.push_back(key);
  std::map<std::string, std::uint32_t> found;
  for (const std::uint32_t one : keys) {
    const auto owner = policy_owner(owners_map, one);
    if (owner) found[attachment_of(*owner)] = one;
  }
  return found;
}

// The owner's entry last: until then it tells whose the other one is.
Result<> remove_policy_entries(int subjects_map, int owners_map, std::uint32_t key,
                               const std::string& attachment_id) {
  const auto owner = policy_owner(owners_map, key);
  if (!owner || attachment_of(*owner) != attachment_id) return {};
  const std::vector<std::byte> nobody(value_size(subjects_map));
  if (bpf_map_update_elem(subjects_map, &key, nobody.data(), BPF_ANY) != 0 ||
      (bpf_map_delete_elem(owners_map, &key) != 0 && errno != ENOENT))
    return fail(libbpf_error("cannot remove a workload's policy entry", errno));
  return {};
}

Result<ObjectLock> lock_policy_links(const std::filesystem::path& run_dir) {
  return ObjectLock::acquire(run_dir / "locks", "policy", "links");
}

std::uint32_t now_in_ticks() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  constexpr std::uint64_t kNanoseconds = 1'000'000'000;
  const std::uint64_t all =
      static_cast<std::uint64_t>(now.tv_sec) * kNanoseconds + static_cast<std::uint64_t>(now.tv_nsec);
  return static_cast<std::uint32_t>(all >> VMLANE_CONNECTION_TICK_BITS);
}

}  // namespace vmlane::ebpf
