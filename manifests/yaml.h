// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace vmlane {

struct YamlDocument {
  Json value;
  std::size_t line = 1;  // where it begins, from 1
};

// Decodes a stream of YAML documents as Kubernetes' tools do: mapping keys are text, plain yes/no/on/off are
// booleans, plain numbers are numbers, quoted scalars are strings. Empty documents are left out. Refused:
// duplicate keys, merge keys, foreign tags, infinite numbers, more than 64 levels of nesting, and more than
// 200,000 values once aliases are expanded. The error (Code::kDecode) starts with `what` and has line and
// column.
Result<std::vector<YamlDocument>> parse_yaml(std::string_view text, std::string_view what);

// One YAML document, with a newline at its end. Strings are always quoted, so that "yes", "1e3" or a MAC stay
// strings.
std::string to_yaml(const Json& json);

}  // namespace vmlane
