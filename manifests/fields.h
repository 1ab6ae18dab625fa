// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json.h"

// Readers for the parts that Kubernetes objects have in common.
namespace vmlane {

// metadata of an object, with defaults filled in and names checked.
struct Metadata {
  std::string ns;
  std::string name;
  std::string uid;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
};

// `kind` is part of the seed of a uid that is not given. Errors are Code::kInvalidConfig and name the key.
Result<Metadata> read_metadata(const Json& object, const std::string& kind);

// An object of strings at `key`, empty when absent. A value that is no string (a plain yes or 1 in YAML) is
// an error that says to quote it.
Result<std::map<std::string, std::string>> read_string_map(ObjectReader& reader, std::string_view key,
                                                           const std::string& what);

// The object at `key`, an empty one when absent: absent and empty mean the same in Kubernetes.
Result<const Json*> read_object(ObjectReader& reader, std::string_view key);
// The same for a list.
Result<const Json*> read_array(ObjectReader& reader, std::string_view key);
// A string, or `fallback` when absent.
Result<std::string> read_string(ObjectReader& reader, std::string_view key, std::string_view fallback = {});

// A DNS name of Kubernetes: labels of a-z, 0-9 and '-' (RFC 1123), with dots between them if it is a
// subdomain.
Result<> check_dns_label(std::string_view text, std::string_view what);
Result<> check_dns_subdomain(std::string_view text, std::string_view what);

// Stable uid for an object without one: the first 128 bits of sha256("kind/ns/name") in UUID form.
std::string derived_uid(std::string_view kind, std::string_view ns, std::string_view name);

}  // namespace vmlane
