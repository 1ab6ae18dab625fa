// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "kubernetes/resource.h"

// What the API server sends (Kubernetes API concepts: "Retrieving large results sets in chunks", "Efficient
// detection of changes"), decoded. There may be much of it, so this is the one place that uses simdjson.
namespace vmlane::kubernetes {

struct ListPage {
  std::vector<Object> objects;
  std::string version;       // of the list, where a watch goes on
  std::string continuation;  // of the next page; empty: this was the last
};

struct WatchEvent {
  enum class Type { kPut, kGone, kBookmark, kError };
  Type type = Type::kBookmark;
  Object object;   // of a bookmark only the version
  int status = 0;  // of an error: 410 when the watch is too old to go on
  std::string message;
};

// Both name the kind in errors, which are Code::kDecode. Items of a list do not say their kind and version,
// so they are given.
Result<ListPage> decode_list(std::string_view text, std::string_view kind, std::string_view api_version);
Result<WatchEvent> decode_event(std::string_view line, std::string_view kind, std::string_view api_version);

}  // namespace vmlane::kubernetes
