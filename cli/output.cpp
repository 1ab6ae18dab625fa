// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <algorithm>

#include "manifests/yaml.h"

namespace vmlane::cli {
namespace {

constexpr std::string_view kAbsent = "-";

std::string cell(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  if (value.is_null()) return {};
  if (!value.is_array()) return to_text(value);
  std::string joined;
  for (const Json& item : value) joined += (joined.empty() ? "" : ",") + cell(item);
  return joined;
}

std::string cell_at(const Json& row, const std::string& pointer) {
  const Json::json_pointer at(pointer);
  std::string text = row.contains(at) ? cell(row.at(at)) : std::string();
  return text.empty() ? std::string(kAbsent) : text;
}

std::string table(const std::vector<Column>& columns, const Json& rows) {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : columns) lines[0].push_back(column.title);
  for (const Json& row : rows) {
    auto& line = lines.emplace_back();
    for (const Column& column : columns) line.push_back(cell_at(row, column.pointer));
  }
  std::vector<std::size_t> widths(columns.size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); i++) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); i++) {
      text += line[i];
      if (i + 1 < line.size()) text += std::string(widths[i] - line[i].size() + 2, ' ');
    }
    text += '\n';
  }
  return text;
}

void leaves(const Json& value, const std::string& path, std::string& text) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, member] : value.items())
      leaves(member, path.empty() ? key : path + "." + key, text);
  } else if (value.is_array() &&
             std::ranges::any_of(value, [](const Json& item) { return item.is_structured(); })) {
    for (std::size_t i = 0; i < value.size(); i++)
      leaves(value[i], path + "[" + std::to_string(i) + "]", text);
  } else {
    const std::string shown = cell(value);
    text += path + ": " + (shown.empty() ? std::string(kAbsent) : shown) + "\n";
  }
}

}  // namespace

std::string render_rows(OutputFormat format, const std::vector<Column>& columns, const Json& rows) {
  if (format == OutputFormat::kTable) return table(columns, rows);
  return render_object(format, rows);
}

std::string render_object(OutputFormat format, const Json& object) {
  if (format == OutputFormat::kYaml) return to_yaml(object);
  if (format == OutputFormat::kJson) return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  std::string text;
  leaves(object, "", text);
  return text;
}

}  // namespace vmlane::cli
