// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ebpf/policy_layout.bpf.h"

// The entries that say whose a key of the policy stage is.
namespace vmlane::ebpf {

// An attachment id, 32 hexadecimal digits, as the 16 bytes of an entry, and back.
void write_attachment(std::string_view attachment_id, vmlane_policy_owner& owner);
std::string attachment_of(const vmlane_policy_owner& owner);

std::optional<vmlane_policy_owner> policy_owner(int owners_map, std::uint32_t key);

// Key of each workload, by attachment id.
std::map<std::string, std::uint32_t> policy_keys(int owners_map);

}  // namespace vmlane::ebpf
