// SPDX-License-Identifier: Apache-2.0
#include "agent/methods.h"

#include "policy/explain.h"

namespace vmlane::agent {
namespace {

Json networks(const NodeState& state) {
  Json objects = Json::array();
  for (const auto& [key, same] : state.cluster().objects()) {
    if (key.starts_with("NetworkAttachmentDefinition "))
      objects.push_back({{"object", same[0]->json()}, {"place", same[0]->place}});
  }
  return objects;
}

Result<Json> resolve_pod(const NodeState& state, const Json& params) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const std::string ns, reader.text("namespace"));
  VMLANE_ASSIGN(const std::string name, reader.text("name"));
  VMLANE_ASSIGN(const std::string uid, reader.text("uid"));
  const multus::Pod* pod = state.cluster().find_pod(ns, name, uid);
  if (pod == nullptr)
    return fail(Code::kTryAgain, "the agent knows no pod " + ns + "/" + name + " of this node" +
                                     (uid.empty() ? "" : " with uid " + uid));
  const ClusterObject* object = state.cluster().find("Pod " + pod->id());
  Json objects = networks(state);
  objects.push_back({{"object", object->json()}, {"place", object->place}});
  return Json{{"objects", std::move(objects)}};
}

Result<Json> explain(const NodeState& state, const Json& params) {
  VMLANE_ASSIGN(const policy::Probe probe, policy::parse_probe(params, "connection"));
  VMLANE_ASSIGN(const policy::Explanation explanation, state.explain(probe));
  return explanation.to_json();
}

Result<const Json*> list_at(const Json& params, const char* key) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* list, reader.array(key));
  if (list == nullptr) return reader.wrong(key, "a list");
  return list;
}

// Without probes it is about the living connections and the recent drops.
Result<Json> simulate(const NodeState& state, PolicyLedger& ledger, const Json& params) {
  VMLANE_ASSIGN(const Json* objects, list_at(params, "objects"));
  Json live;
  const Json* asked = &live;
  if (params.contains("probes")) {
    VMLANE_ASSIGN(asked, list_at(params, "probes"));
  } else {
    VMLANE_ASSIGN(live, ledger.probes());
  }
  std::vector<policy::Change> candidates;
  for (const Json& entry : *objects) {
    if (!entry.is_object()) return fail(Code::kInvalidConfig, "params.objects: a member is no object");
    const Json place = entry.value("place", Json());
    const ObjectPointer object = cluster_object(entry.value("object", Json()),
                                                place.is_string() ? place.get<std::string>() : "candidate");
    if (object->key.find(' ') == std::string::npos)
      return fail(Code::kInvalidConfig, object->place + ": an object has no kind or name");
    candidates.push_back(change_of(*object));
  }
  std::vector<policy::Probe> probes;
  for (std::size_t i = 0; i < asked->size(); i++) {
    VMLANE_ASSIGN(probes.emplace_back(), policy::parse_probe((*asked)[i], "probe " + std::to_string(i)));
  }
  VMLANE_ASSIGN(const policy::Simulation simulation, simulate(state.policy_objects(), candidates, probes));
  return simulation.to_json(*asked);
}

// The attachments that a call is about, by `attachment` (an id or the beginning of one) or `pod`; a single
// unset one for all of them.
Result<std::vector<std::optional<std::string>>> chosen(const NodeState& state, const Json& params) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const std::string id, reader.text("attachment"));
  VMLANE_ASSIGN(const std::string pod, reader.text("pod"));
  if (id.empty() && pod.empty()) return std::vector<std::optional<std::string>>{std::nullopt};
  std::vector<std::optional<std::string>> found;
  for (const auto& [its, attachment] : state.attachments()) {
    if (its.starts_with(id) && (pod.empty() || attachment.pod == pod)) found.emplace_back(its);
  }
  if (found.empty())
    return fail(Code::kNotFound, "there is no attachment " + id + (pod.empty() ? "" : " of pod " + pod),
                "list them with: vmlanectl agent status");
  return found;
}

Result<Json> connections(const NodeState& state, PolicyLedger& ledger, const Json& params) {
  VMLANE_ASSIGN(const auto which, chosen(state, params));
  Json all = Json::array();
  for (const auto& attachment : which) {
    VMLANE_ASSIGN(const Json rows, ledger.connections(attachment));
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

Result<Json> flush(const NodeState& state, PolicyLedger& ledger, const Json& params) {
  VMLANE_ASSIGN(const auto which, chosen(state, params));
  std::size_t flushed = 0;
  for (const auto& attachment : which) {
    VMLANE_ASSIGN(const std::size_t count, ledger.flush(attachment));
    flushed += count;
  }
  return Json{{"flushed", flushed}};
}

void add_policy_methods(json_rpc::Server::Methods& all, NodeState& state, PolicyLedger& ledger,
                        Followers& followers) {
  all["policy.explain"] = {
      [&state](const Json& params, const json_rpc::Caller&) { return explain(state, params); }};
  all["policy.simulate"] = {
      [&](const Json& params, const json_rpc::Caller&) { return simulate(state, ledger, params); }};
  all["policy.counters"] = {[&](const Json&, const json_rpc::Caller&) { return ledger.counters(); }};
  all["policy.drops"] = {[&](const Json& params, const json_rpc::Caller& caller) -> Result<Json> {
    ObjectReader reader(params, "params.", Code::kInvalidConfig);
    VMLANE_ASSIGN(const auto follow, reader.boolean("follow"));
    if (follow.value_or(false)) followers.insert(caller.connection);
    return ledger.recent_drops();
  }};
  all["policy.connections"] = {
      [&](const Json& params, const json_rpc::Caller&) { return connections(state, ledger, params); }};
  all["policy.flush"] = {
      [&](const Json& params, const json_rpc::Caller&) { return flush(state, ledger, params); }, true};
}

}  // namespace

json_rpc::Server::Methods methods(NodeState& state, PolicyLedger& ledger, Followers& followers) {
  json_rpc::Server::Methods all;
  all["status"] = {[&state](const Json&, const json_rpc::Caller&) -> Result<Json> { return state.status(); }};
  all["resync"] = {[&state](const Json&, const json_rpc::Caller&) -> Result<Json> {
                     state.resync(ObjectSource::Clock::now());
                     return state.status();
                   },
                   true};
  all["pod.resolve"] = {
      [&state](const Json& params, const json_rpc::Caller&) { return resolve_pod(state, params); }};
  all["networks"] = {[&state](const Json&, const json_rpc::Caller&) -> Result<Json> {
    return Json{{"objects", networks(state)}};
  }};
  all["attachment.pods"] = {
      [&state](const Json&, const json_rpc::Caller&) { return state.pods_of_attachments(); }};
  add_policy_methods(all, state, ledger, followers);
  return all;
}

}  // namespace vmlane::agent
