// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What a loaded program of ours tells about itself, for checks.
namespace vmlane::ebpf {

// The constants (.rodata) of the loaded program with that id: the content of the one map it has. No value
// when the program is gone, has another name (15 bytes are kept of one) or more maps.
std::optional<std::vector<std::uint8_t>> read_constants(std::uint32_t program_id, std::string_view name);

// "link v0" for messages, or "link with index 7" when it is gone from the calling thread's namespace.
std::string link_text(int index);

}  // namespace vmlane::ebpf
