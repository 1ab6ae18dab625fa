// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/json.h"

// manifests reads Kubernetes objects from files: YAML and JSON become Json (yaml.h), documents and lists
// become single objects (this header), and the parts that all objects share become types (fields.h). What an
// object means is for its user: multus-adapter/ for attachments, policy/ for policy.
namespace vmlane {

// Gets each object and where it stands ("nads.yaml, document 2 (line 14)"). An error ends the walk.
using ManifestVisitor = std::function<Result<>(const Json& object, const std::string& source)>;

// The objects of a file, whatever its name, or of a directory's *.yaml, *.yml and *.json files in order of
// name (not those below it). A List, and a list of one kind (PodList), stands for its items. Objects are not
// looked into: one may be no object at all. Errors: Code::kIo for what cannot be read, kDecode for broken
// text, kInvalidConfig for a list without items, and those of the visitor. A file may have 4 MiB.
Result<> visit_manifests(const std::filesystem::path& path, const ManifestVisitor& visitor);

// The objects of one file, whatever its name.
Result<> visit_manifest_file(const std::filesystem::path& file, const ManifestVisitor& visitor);

// Whether a directory's file counts: *.yaml, *.yml or *.json, and no dot at the start of its name.
bool is_manifest_file(const std::filesystem::path& path);

// The same for a text; `source` is its name.
Result<> visit_manifest_text(std::string_view text, const std::string& source,
                             const ManifestVisitor& visitor);

}  // namespace vmlane
