// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace vmlane::kubernetes {

// A kind of objects that the API server may have.
struct Resource {
  std::string kind;                   // "NetworkPolicy"
  std::string plural;                 // "networkpolicies"
  std::vector<std::string> versions;  // "networking.k8s.io/v1", "v1"; the one that is wanted most first
};

// An object of a list, or of an event of a watch.
struct Object {
  std::string key;      // "ns/name", or "name" of what is in no namespace
  std::string version;  // metadata.resourceVersion
  Json json;            // with apiVersion and kind, without managedFields
};

}  // namespace vmlane::kubernetes
