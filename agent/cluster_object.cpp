// SPDX-License-Identifier: Apache-2.0
#include "agent/cluster_object.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_set>

namespace vmlane::agent {
namespace {

// Much of an object's text, and of no meaning to anybody but the API server and kubectl.
void drop_noise(Json& object) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return;
  metadata->erase("managedFields");
  const auto annotations = metadata->find("annotations");
  if (annotations != metadata->end() && annotations->is_object())
    annotations->erase("kubectl.kubernetes.io/last-applied-configuration");
}

}  // namespace

bool is_of_interest(const Json& object) {
  const std::string kind = text_at(object, "kind");
  constexpr std::array<std::string_view, 5> kKinds = {"", "Pod", "Namespace", "Node",
                                                      "NetworkAttachmentDefinition"};
  return kind.ends_with("NetworkPolicy") || std::ranges::find(kKinds, kind) != kKinds.end();
}

std::string object_key(const Json& object) {
  constexpr std::array<std::string_view, 5> kNamespaceless = {
      "Namespace", "Node", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"};
  const std::string kind = text_at(object, "kind");
  const Json metadata = object.is_object() ? object.value("metadata", Json()) : Json();
  const std::string name = text_at(metadata, "name");
  if (kind.empty() || name.empty()) return {};
  if (std::ranges::find(kNamespaceless, kind) != kNamespaceless.end()) return kind + " " + name;
  const std::string ns = text_at(metadata, "namespace");
  return kind + " " + (ns.empty() ? "default" : ns) + "/" + name;
}

ObjectPointer cluster_object(Json object, std::string place, ClusterObject::Order order) {
  if (object.is_object()) drop_noise(object);
  std::string key = object_key(object);
  if (key.empty()) key = text_at(object, "kind");
  return std::make_shared<const ClusterObject>(std::move(key), to_text(object), std::move(place),
                                               std::move(order));
}

ObjectChanges settled(ObjectChanges changes) {
  const std::unordered_set<ObjectPointer> gone(changes.gone.begin(), changes.gone.end());
  std::unordered_set<ObjectPointer> passed;
  std::erase_if(changes.come, [&](const ObjectPointer& object) {
    if (!gone.contains(object)) return false;
    passed.insert(object);
    return true;
  });
  std::erase_if(changes.gone, [&](const ObjectPointer& object) { return passed.contains(object); });
  return changes;
}

}  // namespace vmlane::agent
