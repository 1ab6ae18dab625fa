// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "policy/objects.h"

namespace vmlane::policy {

// Adds one object. Kinds: Namespace, Pod, Node; NetworkPolicy, MultiNetworkPolicy, ClusterNetworkPolicy,
// AdminNetworkPolicy, BaselineAdminNetworkPolicy; others are counted and skipped. What cannot be read is a
// Problem and lets nobody through: a peer, port or rule of a policy matches nothing, a selector of its own
// pods counts as met with nothing allowed, a pod gets and sends nothing. An object that is given twice is
// such a case as well: of policies both count and allow nothing.
void add_object(Objects& objects, const Json& object, const std::string& source);

// Adds the objects of a text, YAML or JSON, lists included. An error (broken text) leaves those before it.
Result<> add_text(Objects& objects, std::string_view text, const std::string& source);

// The objects of files, and of the *.yaml, *.yml and *.json files of directories.
Result<Objects> read_objects(const std::vector<std::filesystem::path>& paths);

}  // namespace vmlane::policy
