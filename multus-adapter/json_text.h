// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Help for people who write JSON by hand inside annotations and NADs: where a value stands, and what a
// misspelt key may have meant.
namespace vmlane::multus {

// "line 2, column 7" of a key or list element in a JSON text that parse_json has accepted; the path is made
// of keys and indexes ("plugins", "1", "mtu"). For a key it is the key's place, for an element the element's.
// The position of the deepest part that exists.
std::string position_of(std::string_view json, const std::vector<std::string>& path);

// The word that `word` is a likely misspelling of: the same but for case, '-' and '_', or at most two letters
// added, lost, changed or swapped (one in words of up to four letters).
std::optional<std::string_view> likely_meant(std::string_view word, std::span<const std::string_view> known);

// ", did you mean "x"?" or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> known);

}  // namespace vmlane::multus
