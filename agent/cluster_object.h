// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"

namespace vmlane::agent {

// An object as its source has it. There may be many, so it is kept as text.
struct ClusterObject {
  // Where an object stands among all: which of two of the same name comes first.
  struct Order {
    std::size_t directory = 0;
    std::string file;
    std::size_t index = 0;
    auto operator<=>(const Order&) const = default;
  };
  std::string key;    // "Kind ns/name" or "Kind name"; "Kind" or "" for one without a name or kind
  std::string text;   // JSON, without what only the API server reads
  std::string place;  // "nads.yaml, document 2 (line 14)", or "the API server"
  Order order;

  Json json() const { return Json::parse(text, nullptr, false); }
};
// The same object is the same pointer for as long as it stands in its place.
using ObjectPointer = std::shared_ptr<const ClusterObject>;

ObjectPointer cluster_object(Json object, std::string place, ClusterObject::Order order = {});
// "Kind ns/name"; empty for an object without kind or name.
std::string object_key(const Json& object);
// Whether anybody here reads objects of its kind; a directory may have others.
bool is_of_interest(const Json& object);

// What differs between two states of a source. An object that changes has gone and come.
struct ObjectChanges {
  std::vector<ObjectPointer> gone;
  std::vector<ObjectPointer> come;
  bool empty() const { return gone.empty() && come.empty(); }
};
// Without what has come and gone again in between, such as the first change of an object that changes twice:
// whoever lets go what is gone, then takes what has come, would have it for good.
ObjectChanges settled(ObjectChanges changes);

}  // namespace vmlane::agent
