// SPDX-License-Identifier: Apache-2.0
#include "agent/cluster.h"

#include <algorithm>

#include "manifests/fields.h"

namespace vmlane::agent {
namespace {

constexpr std::string_view kPod = "Pod ";
constexpr std::string_view kNetwork = "NetworkAttachmentDefinition ";

bool is_of(const Json& object, const char* version) {
  const auto found = object.find("apiVersion");
  return found != object.end() && found->is_string() && *found == version;
}

bool may_be_on(const Json& pod, const std::string& node) {
  const auto spec = pod.find("spec");
  if (spec == pod.end() || !spec->is_object()) return true;
  const auto bound = spec->find("nodeName");
  const auto* name = bound == spec->end() ? nullptr : bound->get_ptr<const std::string*>();
  return name == nullptr || name->empty() || *name == node;
}

// Without a name it is nobody's object, in a cluster too, and could not be told from others.
Error nameless(const ClusterObject& object) {
  const std::string what =
      object.key.empty() ? "an object has no kind" : "a " + object.key + " has no metadata.name";
  return {Code::kInvalidConfig, object.place + ": " + what, "it is left out", nullptr};
}

}  // namespace

std::set<std::string> Cluster::apply(const ObjectChanges& changes) {
  std::set<std::string> keys;
  const auto has_name = [](const ClusterObject& object) { return object.key.find(' ') != std::string::npos; };
  for (const ObjectPointer& object : changes.gone) {
    if (!has_name(*object)) {
      nameless_.erase(object);
      continue;
    }
    std::erase(objects_[object->key], object);
    keys.insert(object->key);
  }
  for (const ObjectPointer& object : changes.come) {
    if (!has_name(*object)) {
      nameless_.emplace(object, nameless(*object));
      continue;
    }
    auto& same = objects_[object->key];
    same.insert(std::ranges::upper_bound(same, object->order, {}, &ClusterObject::order), object);
    keys.insert(object->key);
  }
  for (const std::string& key : keys) read(key);
  return keys;
}

void Cluster::read(const std::string& key) {
  const auto found = objects_.find(key);
  const bool is_pod = key.starts_with(kPod);
  if (is_pod) pods_.erase(key.substr(kPod.size()));
  problems_.erase(key);
  if (found->second.empty()) {
    objects_.erase(found);
    return;
  }
  const auto& same = found->second;
  if (!is_pod && !key.starts_with(kNetwork)) return;
  const Json object = same[0]->json();
  if (is_pod ? !is_of(object, "v1") || !may_be_on(object, node_) : !is_of(object, "k8s.cni.cncf.io/v1"))
    return;
  std::vector<Error> problems;
  for (std::size_t i = 1; i < same.size(); i++) {
    problems.push_back({Code::kConflict, same[i]->place + ": " + key + " is given twice",
                        "for attachments the one in " + same[0]->place + " counts", nullptr});
  }
  multus::ObjectStore store;
  const auto added = store.add_object(object, same[0]->place);
  if (!added) problems.push_back(added.error());
  for (const multus::Pod& pod : store.pods()) pods_.emplace(pod.id(), pod);
  if (!problems.empty()) problems_[key] = std::move(problems);
}

std::vector<Error> Cluster::problems() const {
  std::vector<Error> all;
  for (const auto& [object, error] : nameless_) all.push_back(error);
  for (const auto& [key, errors] : problems_) all.insert(all.end(), errors.begin(), errors.end());
  return all;
}

const multus::Pod* Cluster::find_pod(const std::string& ns, const std::string& name,
                                     const std::string& uid) const {
  const auto found = pods_.find(ns + "/" + name);
  if (found == pods_.end()) return nullptr;
  const multus::Pod& pod = found->second;
  const bool given = pod.uid != derived_uid("Pod", ns, name);
  return given && !uid.empty() && uid != pod.uid ? nullptr : &pod;
}

const ClusterObject* Cluster::find(const std::string& key) const {
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second[0].get();
}

}  // namespace vmlane::agent
