// SPDX-License-Identifier: Apache-2.0
#include "manifests/documents.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/files.h"
#include "manifests/yaml.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;

Result<std::vector<fs::path>> files_of(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (is_manifest_file(it->path())) files.push_back(it->path());
  }
  if (error) return fail(io_error("cannot read directory " + directory.string(), error.value()));
  std::ranges::sort(files);
  return files;
}

Result<> visit_object(const Json& object, const std::string& source, const ManifestVisitor& visitor);

Result<> visit_list(const Json& list, const std::string& kind, const std::string& source,
                    const ManifestVisitor& visitor) {
  const Json& items = list["items"];
  if (!items.is_array())
    return fail(Code::kInvalidConfig, source + ": key \"items\" of " + kind + " is no list");
  for (std::size_t i = 0; i < items.size(); i++) {
    const std::string place = source + ", item " + std::to_string(i + 1);
    const bool unnamed = items[i].is_object() && kind != "List" && !items[i].contains("kind");
    if (!unnamed) {
      VMLANE_TRY(visit_object(items[i], place, visitor));
      continue;
    }
    // The items of a PodList and the like do not say again what they are.
    Json item = items[i];
    item["kind"] = kind.substr(0, kind.size() - std::string_view("List").size());
    item["apiVersion"] = text_at(list, "apiVersion");
    VMLANE_TRY(visit_object(item, place, visitor));
  }
  return {};
}

Result<> visit_object(const Json& object, const std::string& source, const ManifestVisitor& visitor) {
  if (object.is_object() && object.contains("items")) {
    const std::string kind = text_at(object, "kind");
    if (kind.ends_with("List")) return visit_list(object, kind, source, visitor);
  }
  return visitor(object, source);
}

}  // namespace

bool is_manifest_file(const fs::path& path) {
  constexpr std::array<std::string_view, 3> kExtensions = {".yaml", ".yml", ".json"};
  // A name that starts with a dot is an editor's or a ConfigMap volume's own.
  return std::ranges::find(kExtensions, path.extension().string()) != kExtensions.end() &&
         !path.filename().string().starts_with('.');
}

Result<> visit_manifest_file(const fs::path& file, const ManifestVisitor& visitor) {
  // A ConfigMap volume has symlinks for files; what they point to must be a regular file all the same.
  std::error_code error;
  const fs::path target = fs::canonical(file, error);
  if (error) return fail(io_error("cannot read " + file.string(), error.value()));
  VMLANE_ASSIGN(const auto text, read_file(target));
  if (!text) return fail(Code::kIo, "cannot read " + file.string() + ": it is gone");
  return visit_manifest_text(*text, file.string(), visitor);
}

Result<> visit_manifests(const fs::path& path, const ManifestVisitor& visitor) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return visit_manifest_file(path, visitor);
  VMLANE_ASSIGN(const auto files, files_of(path));
  for (const fs::path& file : files) VMLANE_TRY(visit_manifest_file(file, visitor));
  return {};
}

Result<> visit_manifest_text(std::string_view text, const std::string& source,
                             const ManifestVisitor& visitor) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  if (text[first] == '{' || text[first] == '[') {
    const auto json = parse_json(text, source);
    if (json) return visit_object(*json, source, visitor);
    // YAML may begin with a bracket too. If it is neither, what JSON said is the better answer.
    const auto documents = parse_yaml(text, source);
    if (!documents) return fail(json.error());
  }
  VMLANE_ASSIGN(const auto documents, parse_yaml(text, source));
  for (std::size_t i = 0; i < documents.size(); i++) {
    const std::string place = documents.size() == 1 ? source
                                                    : source + ", document " + std::to_string(i + 1) +
                                                          " (line " + std::to_string(documents[i].line) + ")";
    VMLANE_TRY(visit_object(documents[i].value, place, visitor));
  }
  return {};
}

}  // namespace vmlane
