// SPDX-License-Identifier: Apache-2.0
#include "agent/api_objects.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace vmlane::agent {
namespace {

// Every kind that the agent reads, in the versions that it can read, the newest first.
std::vector<kubernetes::Resource> resources() {
  return {
      {"Namespace", "namespaces", {"v1"}},
      {"Node", "nodes", {"v1"}},
      {"Pod", "pods", {"v1"}},
      {"NetworkPolicy", "networkpolicies", {"networking.k8s.io/v1"}},
      {"MultiNetworkPolicy", "multi-networkpolicies", {"k8s.cni.cncf.io/v1beta2", "k8s.cni.cncf.io/v1beta1"}},
      {"ClusterNetworkPolicy", "clusternetworkpolicies", {"policy.networking.k8s.io/v1alpha2"}},
      {"AdminNetworkPolicy", "adminnetworkpolicies", {"policy.networking.k8s.io/v1alpha1"}},
      {"BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", {"policy.networking.k8s.io/v1alpha1"}},
      {"NetworkAttachmentDefinition", "network-attachment-definitions", {"k8s.cni.cncf.io/v1"}},
  };
}

template <class Keys>
void keep_only(Json& object, const Keys& keys) {
  if (!object.is_object()) return;
  for (auto it = object.begin(); it != object.end();)
    it = std::ranges::find(keys, it.key()) == keys.end() ? object.erase(it) : std::next(it);
}

// What policy reads of a pod (policy/decode_pod.cpp).
void keep_policys_part(Json& pod) {
  constexpr std::array<std::string_view, 6> kMetadata = {"namespace", "name",        "uid",
                                                         "labels",    "annotations", "deletionTimestamp"};
  constexpr std::array<std::string_view, 4> kSpec = {"nodeName", "hostNetwork", "containers",
                                                     "initContainers"};
  constexpr std::array<std::string_view, 3> kContainer = {"name", "ports", "restartPolicy"};
  constexpr std::array<std::string_view, 4> kStatus = {"phase", "podIP", "podIPs", "containerStatuses"};
  constexpr std::array<std::string_view, 1> kContainerStatus = {"state"};
  constexpr std::array<std::string_view, 1> kAnnotation = {"k8s.v1.cni.cncf.io/network-status"};
  if (pod.contains("metadata")) {
    keep_only(pod["metadata"], kMetadata);
    if (pod["metadata"].contains("annotations")) keep_only(pod["metadata"]["annotations"], kAnnotation);
  }
  if (pod.contains("spec")) {
    keep_only(pod["spec"], kSpec);
    for (const char* list : {"containers", "initContainers"})
      if (pod["spec"].contains(list) && pod["spec"][list].is_array())
        for (Json& container : pod["spec"][list]) keep_only(container, kContainer);
  }
  if (pod.contains("status")) {
    keep_only(pod["status"], kStatus);
    if (pod["status"].contains("containerStatuses") && pod["status"]["containerStatuses"].is_array())
      for (Json& container : pod["status"]["containerStatuses"]) keep_only(container, kContainerStatus);
  }
}

bool is_on(const Json& pod, const std::string& node) {
  const auto spec = pod.find("spec");
  return spec != pod.end() && spec->is_object() && spec->value("nodeName", Json()) == Json(node);
}

std::string_view text_of(kubernetes::Watch::State state) {
  using State = kubernetes::Watch::State;
  switch (state) {
    case State::kListing:
      return "listing";
    case State::kWatching:
      return "watching";
    case State::kAbsent:
      return "absent";
    case State::kWaiting:
      break;
  }
  return "waiting";
}

}  // namespace

Result<std::unique_ptr<ApiObjects>> ApiObjects::open(kubernetes::ClientConfig config, std::string node,
                                                     const std::filesystem::path& network_status_dir) {
  VMLANE_ASSIGN(auto client, kubernetes::HttpClient::open(std::move(config)));
  std::unique_ptr<ApiObjects> objects(new ApiObjects(std::move(client), std::move(node)));
  VMLANE_ASSIGN(objects->network_status_, NetworkStatus::open(network_status_dir, objects->client_));
  return objects;
}

ApiObjects::ApiObjects(kubernetes::HttpClient client, std::string node)
    : node_(std::move(node)), client_(std::move(client)) {
  // Nodes and resources wait for different times when a server comes back.
  auto seed = static_cast<unsigned>(std::hash<std::string>()(node_));
  for (kubernetes::Resource& resource : resources())
    watched_.push_back({std::make_unique<kubernetes::Watch>(client_, std::move(resource), ++seed), {}, {}});
}

ObjectSource::Clock::time_point ApiObjects::next() const {
  auto next = std::min(client_.next(), network_status_->next());
  for (const Watched& one : watched_) next = std::min(next, one.watch->next());
  return next;
}

bool ApiObjects::update(Clock::time_point now) {
  bool changed = false;
  const auto answers = [this] {
    std::uint64_t sum = 0;
    for (const Watched& one : watched_) sum += one.watch->answers();
    return sum;
  };
  const std::uint64_t before = answers();
  client_.run();
  // Who has reached the server again tells the others.
  if (answers() != before) {
    for (Watched& one : watched_) one.watch->hurry(now);
  }
  for (Watched& one : watched_) {
    one.watch->run(now);
    changed = take(one, one.watch->take_changes()) || changed;
    const auto& problem = one.watch->problem();
    const std::string text = problem ? problem->text() : "";
    changed = std::exchange(one.problem, text) != text || changed;
  }
  network_status_->run(now);
  const auto problem = network_status_->problem();
  const std::string text = problem ? problem->text() : "";
  return std::exchange(network_status_problem_, text) != text || changed;
}

bool ApiObjects::take(Watched& watched, kubernetes::Watch::Changes changes) {
  const bool pods = watched.watch->resource().kind == "Pod";
  for (const std::string& key : changes.gone) {
    if (pods) network_status_->forget(key);
    const auto known = watched.objects.find(key);
    if (known == watched.objects.end()) continue;
    changes_.gone.push_back(std::move(known->second));
    watched.objects.erase(known);
  }
  for (kubernetes::Object& put : changes.put) {
    if (pods && is_on(put.json, node_)) {
      network_status_->see(put.key, put.json);
    } else if (pods) {
      network_status_->forget(put.key);
      keep_policys_part(put.json);
    }
    ObjectPointer object = cluster_object(std::move(put.json), "the API server");
    ObjectPointer& known = watched.objects[put.key];
    if (known && known->text == object->text) continue;  // no more than what nobody here reads
    if (known) changes_.gone.push_back(known);
    known = std::move(object);
    changes_.come.push_back(known);
  }
  return !changes.gone.empty() || !changes.put.empty();
}

bool ApiObjects::complete() const {
  return std::ranges::all_of(watched_, [](const Watched& one) { return one.watch->synced(); });
}

std::optional<Error> ApiObjects::pods_in_doubt() const {
  for (const Watched& one : watched_) {
    if (one.watch->resource().kind != "Pod") continue;
    if (one.watch->problem()) return one.watch->problem();
    if (one.watch->state() != kubernetes::Watch::State::kWatching)
      return Error{Code::kTryAgain, "the pods are not all there yet", "", nullptr};
  }
  return std::nullopt;
}

std::map<std::string, Error> ApiObjects::problems() const {
  std::map<std::string, Error> problems;
  for (const Watched& one : watched_)
    if (one.watch->problem()) problems.emplace(one.watch->resource().plural, *one.watch->problem());
  if (const auto problem = network_status_->problem()) problems.emplace("network-status", *problem);
  return problems;
}

Json ApiObjects::status() const {
  Json rows = Json::array();
  for (const Watched& one : watched_)
    rows.push_back({{"resource", one.watch->resource().plural},
                    {"apiVersion", one.watch->api_version()},
                    {"state", text_of(one.watch->state())},
                    {"objects", one.watch->size()}});
  return {{"server", client_.config().server}, {"resources", std::move(rows)}};
}

}  // namespace vmlane::agent
