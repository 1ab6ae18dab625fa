// SPDX-License-Identifier: Apache-2.0
#include "policy/reader.h"

#include <algorithm>

#include "manifests/documents.h"
#include "policy/decode.h"

namespace vmlane::policy {
namespace {

enum class Kind { kNamespace, kPod, kNode, kNetworkPolicy, kClusterPolicy, kOther };

Kind kind_of(std::string_view api_version, std::string_view kind) {
  if (api_version == "v1") {
    if (kind == "Namespace") return Kind::kNamespace;
    if (kind == "Pod") return Kind::kPod;
    if (kind == "Node") return Kind::kNode;
  }
  const std::string_view group = api_version.substr(0, api_version.find('/'));
  if (group == "networking.k8s.io" && kind == "NetworkPolicy") return Kind::kNetworkPolicy;
  if (group == "k8s.cni.cncf.io" && kind == "MultiNetworkPolicy") return Kind::kNetworkPolicy;
  if (group == "policy.networking.k8s.io" &&
      (kind == "ClusterNetworkPolicy" || kind == "AdminNetworkPolicy" ||
       kind == "BaselineAdminNetworkPolicy"))
    return Kind::kClusterPolicy;
  return Kind::kOther;
}

void report_twice(const Subject& subject, const std::string& other, const std::string& effect) {
  subject.report("metadata.name", "is given twice, also in " + other, effect);
}

void add_policy(Objects& objects, Policy policy, const Subject& subject) {
  const auto found = objects.policies.find(policy.key());
  if (found != objects.policies.end()) {
    report_twice(subject, found->second.source, "both are in force and allow nothing");
    close(found->second);
    close(policy);
    while (objects.policies.contains(policy.key())) policy.name += " (again)";
  }
  std::string key = policy.key();
  objects.policies.emplace(std::move(key), std::move(policy));
}

}  // namespace

void add_object(Objects& objects, const Json& object, const std::string& source) {
  const std::string kind = text_at(object, "kind");
  const Kind known = kind_of(text_at(object, "apiVersion"), kind);
  if (kind.empty() || !object.is_object()) {
    objects.problems.push_back({"object", "?", "kind", "is missing", "the object is left out", source});
    return;
  }
  if (known == Kind::kOther) {
    objects.ignored++;
    return;
  }
  Subject subject(object, kind, source, objects.problems);
  const bool of_namespace = known == Kind::kPod || known == Kind::kNetworkPolicy;
  if (of_namespace && subject.ns.empty()) subject.ns = "default";
  if (!of_namespace) subject.ns.clear();
  const auto add = [&](auto& into, auto item, const std::string& effect, const auto& clash) {
    item.source = source;
    const auto found = into.find(subject.id());
    if (found == into.end()) {
      into.emplace(subject.id(), std::move(item));
      return;
    }
    report_twice(subject, found->second.source, effect);
    clash(found->second);
  };
  switch (known) {
    case Kind::kNamespace: {
      Namespace ns = decode_namespace(object, subject);
      ns.labels[kNameLabel] = ns.name;
      return add(objects.namespaces, std::move(ns), "the pods of the namespace get and send nothing",
                 [](Namespace& first) { first.broken = true; });
    }
    case Kind::kPod:
      return add(objects.pods, decode_pod(object, subject), "the pod gets and sends nothing",
                 [](Pod& first) { first.broken = true; });
    case Kind::kNode:
      return add(objects.nodes, decode_node(object, subject), "no policy knows the node",
                 [](Node& first) { first.addresses.clear(); });
    case Kind::kNetworkPolicy:
    case Kind::kClusterPolicy: {
      Policy policy = known == Kind::kNetworkPolicy ? decode_network_policy(object, kind, subject)
                                                    : decode_cluster_policy(object, kind, subject);
      policy.source = source;
      policy.audit = decode_audit(subject).value_or(false);
      return add_policy(objects, std::move(policy), subject);
    }
    case Kind::kOther:
      return;
  }
}

Result<> add_text(Objects& objects, std::string_view text, const std::string& source) {
  return visit_manifest_text(text, source, [&](const Json& object, const std::string& place) {
    add_object(objects, object, place);
    return Result<>();
  });
}

Result<Objects> read_objects(const std::vector<std::filesystem::path>& paths) {
  Objects objects;
  for (const auto& path : paths) {
    VMLANE_TRY(visit_manifests(path, [&](const Json& object, const std::string& place) {
      add_object(objects, object, place);
      return Result<>();
    }));
  }
  return objects;
}

}  // namespace vmlane::policy
