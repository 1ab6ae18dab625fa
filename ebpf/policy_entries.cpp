// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_entries.h"

#include <bpf/bpf.h>

#include <charconv>
#include <vector>

#include "ebpf/workload_layout.bpf.h"

namespace vmlane::ebpf {

void write_attachment(std::string_view attachment_id, vmlane_policy_owner& owner) {
  constexpr int kHex = 16;
  for (std::size_t i = 0; i < sizeof(owner.attachment) && 2 * i + 1 < attachment_id.size(); i++) {
    const std::string_view digits = attachment_id.substr(2 * i, 2);
    std::from_chars(digits.data(), digits.data() + digits.size(), owner.attachment[i], kHex);
  }
}

std::string attachment_of(const vmlane_policy_owner& owner) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr unsigned kHalfByte = 4;
  constexpr unsigned kMask = 0xf;
  std::string id;
  for (const std::uint8_t byte : owner.attachment) {
    id += kDigits[byte >> kHalfByte];
    id += kDigits[byte & kMask];
  }
  return id;
}

std::optional<vmlane_policy_owner> policy_owner(int owners_map, std::uint32_t key) {
  vmlane_policy_owner owner{};
  if (bpf_map_lookup_elem(owners_map, &key, &owner) != 0) return std::nullopt;
  return owner;
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

}  // namespace vmlane::ebpf
