// SPDX-License-Identifier: Apache-2.0
#include "agent/cluster.h"

#include <algorithm>
#include <array>

#include "manifests/fields.h"

namespace vmlane::agent {
namespace {

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto value = object.find(key);
  return value == object.end() ? nullptr : &*value;
}

std::string text_at(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool is_on(const Json& pod, const std::string& node) {
  const Json* spec = member(pod, "spec");
  const std::string bound = spec == nullptr ? std::string() : text_at(*spec, "nodeName");
  return bound.empty() || bound == node;
}

// Whether anybody here would read an object of this kind; a directory may have others.
bool matters(const std::string& kind) {
  constexpr std::array<std::string_view, 5> kKinds = {"", "Pod", "Namespace", "Node",
                                                      "NetworkAttachmentDefinition"};
  return kind.ends_with("NetworkPolicy") || std::ranges::find(kKinds, kind) != kKinds.end();
}

class Reader {
 public:
  explicit Reader(const std::string& node) : node_(node) {}

  void add(const ObjectPointer& object) {
    const std::string key = object_key(*object);
    const std::string kind = text_at(object->json, "kind");
    if (key.empty()) {
      if (matters(kind)) report_nameless(*object, kind);
      return;
    }
    auto& same = cluster_.objects[key];
    same.push_back(object);
    const std::string version = text_at(object->json, "apiVersion");
    const bool is_pod = kind == "Pod" && version == "v1" && is_on(object->json, node_);
    const bool is_nad = kind == "NetworkAttachmentDefinition" && version == "k8s.cni.cncf.io/v1";
    if (!is_pod && !is_nad) return;
    if (same.size() > 1) {
      cluster_.problems.push_back({Code::kConflict, object->place + ": " + key + " is given twice",
                                   "for attachments the one in " + same[0]->place + " counts", nullptr});
      return;
    }
    multus::ObjectStore store;
    const auto added = store.add_object(object->json, object->place);
    if (!added) cluster_.problems.push_back(added.error());
    for (const multus::Pod& pod : store.pods()) cluster_.pods.emplace(pod.id(), pod);
  }
  Cluster take() { return std::move(cluster_); }

 private:
  // Without a name it is nobody's object, in a cluster too, and could not be told from others.
  void report_nameless(const FileObject& object, const std::string& kind) {
    const std::string what = kind.empty() ? "an object has no kind" : "a " + kind + " has no metadata.name";
    cluster_.problems.push_back(
        {Code::kInvalidConfig, object.place + ": " + what, "it is left out", nullptr});
  }

  const std::string& node_;
  Cluster cluster_;
};

}  // namespace

std::string object_key(const FileObject& object) {
  constexpr std::array<std::string_view, 5> kNamespaceless = {
      "Namespace", "Node", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"};
  const std::string kind = text_at(object.json, "kind");
  const Json* metadata = member(object.json, "metadata");
  const std::string name = metadata == nullptr ? std::string() : text_at(*metadata, "name");
  if (kind.empty() || name.empty()) return {};
  if (std::ranges::find(kNamespaceless, kind) != kNamespaceless.end()) return kind + " " + name;
  const std::string ns = text_at(*metadata, "namespace");
  return kind + " " + (ns.empty() ? "default" : ns) + "/" + name;
}

const multus::Pod* Cluster::find_pod(const std::string& ns, const std::string& name,
                                     const std::string& uid) const {
  const auto found = pods.find(ns + "/" + name);
  if (found == pods.end()) return nullptr;
  const multus::Pod& pod = found->second;
  const bool given = pod.uid != derived_uid("Pod", ns, name);
  return given && !uid.empty() && uid != pod.uid ? nullptr : &pod;
}

const FileObject* Cluster::find(const std::string& key) const {
  const auto found = objects.find(key);
  return found == objects.end() ? nullptr : found->second[0].get();
}

Cluster read_cluster(const ObjectFiles& files, const std::string& node) {
  Reader reader(node);
  files.visit([&](const ObjectPointer& object) { reader.add(object); });
  return reader.take();
}

}  // namespace vmlane::agent
