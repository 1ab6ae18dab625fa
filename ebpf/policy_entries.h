// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/lock.h"
#include "ebpf/policy_layout.bpf.h"

// The entries that say whose a key of the policy stage is.
namespace vmlane::ebpf {

// An attachment id, 32 hexadecimal digits, as the 16 bytes of an entry, and back.
void write_attachment(std::string_view attachment_id, vmlane_policy_owner& owner);
std::string attachment_of(const vmlane_policy_owner& owner);

std::optional<vmlane_policy_owner> policy_owner(int owners_map, std::uint32_t key);

// Key of each workload, by attachment id.
std::map<std::string, std::uint32_t> policy_keys(int owners_map);

// Takes out what `key` says of an attachment, when it is that attachment's.
Result<> remove_policy_entries(int subjects_map, int owners_map, std::uint32_t key,
                               const std::string& attachment_id);

// Held by who takes entries out, and by who copies them from one build's maps to another's: what has gone
// must not come back.
Result<ObjectLock> lock_policy_links(const std::filesystem::path& run_dir);

// The clock of connections (policy/connection.h).
std::uint32_t now_in_ticks();

}  // namespace vmlane::ebpf
