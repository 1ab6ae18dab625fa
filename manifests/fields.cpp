// SPDX-License-Identifier: Apache-2.0
#include "manifests/fields.h"

#include <algorithm>

#include "core/hash.h"
#include "core/names.h"

namespace vmlane {
namespace {

constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxSubdomain = 253;

bool is_dns_label(std::string_view text) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && alnum(text.front()) && alnum(text.back()) &&
         std::ranges::all_of(text, [&](char c) { return alnum(c) || c == '-'; });
}

std::unexpected<Error> bad_name(std::string_view text, std::string_view what, std::string_view rule) {
  return fail(Code::kInvalidConfig,
              std::string(what) + " " + to_text(Json(text)) + " is not a name that Kubernetes allows",
              std::string(rule));
}

const Json& empty_object() {
  static const Json empty = Json::object();
  return empty;
}

const Json& empty_array() {
  static const Json empty = Json::array();
  return empty;
}

}  // namespace

Result<> check_dns_label(std::string_view text, std::string_view what) {
  if (text.size() <= kMaxLabel && is_dns_label(text)) return {};
  return bad_name(text, what, "a to z, 0 to 9 and '-', not at the ends, 63 characters at most");
}

Result<> check_dns_subdomain(std::string_view text, std::string_view what) {
  bool valid = text.size() <= kMaxSubdomain;
  for (std::string_view rest = text; valid;) {
    const auto dot = rest.find('.');
    valid = is_dns_label(rest.substr(0, dot));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  if (valid) return {};
  return bad_name(text, what,
                  "parts of a to z, 0 to 9 and '-' with '.' between them, 253 characters at most");
}

std::string derived_uid(std::string_view kind, std::string_view ns, std::string_view name) {
  std::string uid =
      sha256_hex(std::string(kind) + "/" + std::string(ns) + "/" + std::string(name)).substr(0, 32);
  for (const std::size_t at : {8U, 13U, 18U, 23U}) uid.insert(at, "-");
  return uid;
}

Result<const Json*> read_object(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const Json* value, reader.object(key));
  return value == nullptr ? &empty_object() : value;
}

Result<const Json*> read_array(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const Json* value, reader.array(key));
  return value == nullptr ? &empty_array() : value;
}

Result<std::string> read_string(ObjectReader& reader, std::string_view key, std::string_view fallback) {
  VMLANE_ASSIGN(auto value, reader.string(key));
  return value ? std::move(*value) : std::string(fallback);
}

Result<std::map<std::string, std::string>> read_string_map(ObjectReader& reader, std::string_view key,
                                                           const std::string& what) {
  std::map<std::string, std::string> map;
  VMLANE_ASSIGN(const Json* object, read_object(reader, key));
  for (const auto& [name, value] : object->items()) {
    if (!value.is_string()) {
      return fail(
          Code::kInvalidConfig,
          "key \"" + what + std::string(key) + "." + name + "\" is " + to_text(value) + ", expected a string",
          "put it in quotes: YAML reads plain yes, no, on, off and numbers as other types");
    }
    map.emplace(name, value.get<std::string>());
  }
  return map;
}

Result<Metadata> read_metadata(const Json& object, const std::string& kind) {
  ObjectReader top(object, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* json, top.object("metadata"));
  if (json == nullptr) return top.wrong("metadata", "an object with a name");
  ObjectReader reader(*json, "metadata.", Code::kInvalidConfig);
  Metadata metadata;
  VMLANE_ASSIGN(metadata.name, read_string(reader, "name"));
  if (metadata.name.empty()) return reader.wrong("name", "the object's name");
  VMLANE_TRY(check_dns_subdomain(metadata.name, "metadata.name"));
  VMLANE_ASSIGN(metadata.ns, read_string(reader, "namespace", "default"));
  VMLANE_TRY(check_dns_label(metadata.ns, "metadata.namespace"));
  VMLANE_ASSIGN(metadata.uid, read_string(reader, "uid"));
  if (metadata.uid.empty()) metadata.uid = derived_uid(kind, metadata.ns, metadata.name);
  // It becomes a file name.
  VMLANE_TRY(names::check_identifier(metadata.uid, "metadata.uid", Code::kInvalidConfig));
  VMLANE_ASSIGN(metadata.labels, read_string_map(reader, "labels", "metadata."));
  VMLANE_ASSIGN(metadata.annotations, read_string_map(reader, "annotations", "metadata."));
  return metadata;
}

}  // namespace vmlane
