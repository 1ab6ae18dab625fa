// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json.h"

// How every command of vmlanectl shows what it found: `-o table|json|yaml`.
namespace vmlane::cli {

enum class OutputFormat { kTable, kJson, kYaml };

// A column of a table: its title and the JSON pointer ("/handles/bridge") of its value in each row.
struct Column {
  std::string title;
  std::string pointer;
};

// `rows` is an array of objects. A table has a header and one line a row, columns as wide as their longest
// value, "-" for what is absent or empty, list elements joined by ","; JSON and YAML give the objects whole.
// Ends in a newline.
std::string render_rows(OutputFormat format, const std::vector<Column>& columns, const Json& rows);

// One object. As a table it is one "path: value" line for each leaf, in order of the paths
// ("netconf.ipam.type: host-local").
std::string render_object(OutputFormat format, const Json& object);

}  // namespace vmlane::cli
