// SPDX-License-Identifier: Apache-2.0
#include "policy/store.h"

#include <algorithm>
#include <utility>

#include "policy/ask.h"
#include "policy/reader.h"
#include "policy/tables.h"

namespace vmlane::policy {

class Store::Contents {
 public:
  explicit Contents(std::size_t max_bytes) : tables(max_bytes) {}

  Tables tables;
  std::map<std::string, std::vector<Problem>> problems;  // by kind and id
};

Store::Store(std::size_t max_bytes) : contents_(std::make_unique<Contents>(max_bytes)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Change Change::of(Json object, std::string source) {
  const Json metadata =
      object.is_object() && object.contains("metadata") ? object["metadata"] : Json::object();
  Change change{.api_version = text_at(object, "apiVersion"),
                .kind = text_at(object, "kind"),
                .ns = text_at(metadata, "namespace"),
                .name = text_at(metadata, "name"),
                .object = {},
                .source = std::move(source)};
  change.object = std::move(object);
  return change;
}

void Store::apply(const Change& change) {
  Tables& tables = contents_->tables;
  const std::string id = change.ns.empty() ? change.name : change.ns + "/" + change.name;
  const std::string key = change.kind + " " + id;
  contents_->problems.erase(key);
  if (!change.object) {
    if (change.kind == "Pod") {
      tables.remove_pod(id);
    } else if (change.kind == "Namespace") {
      tables.remove_namespace(change.name);
    } else if (change.kind == "Node") {
      tables.remove_node(change.name);
    } else {
      tables.remove_policy(key);
    }
    return;
  }
  Objects one;
  add_object(one, *change.object, change.source);
  put(one);
}

void Store::put(const Objects& objects) {
  Tables& tables = contents_->tables;
  for (const auto& [name, ns] : objects.namespaces) tables.put(ns);
  for (const auto& [name, node] : objects.nodes) tables.put(node);
  for (const auto& [key, policy] : objects.policies) tables.put(policy);
  for (const auto& [id, pod] : objects.pods) tables.put(pod);
  for (const Problem& problem : objects.problems)
    contents_->problems[problem.kind + " " + problem.id].push_back(problem);
}

Publication Store::publish() {
  return contents_->tables.publish();
}

std::span<const std::uint64_t> Store::block() const {
  return contents_->tables.block();
}

std::vector<Problem> Store::problems() const {
  std::vector<Problem> all = contents_->tables.problems();
  for (const auto& [key, problems] : contents_->problems)
    all.insert(all.end(), problems.begin(), problems.end());
  std::ranges::sort(all);
  return all;
}

std::optional<std::uint32_t> Store::endpoint(const std::string& pod, const std::string& network) const {
  const auto view = contents_->tables.pod(pod, network);
  return view ? view->endpoint : std::nullopt;
}

std::optional<std::uint32_t> Store::network(const std::string& name) const {
  return contents_->tables.network(name);
}

const PolicyName* Store::policy(std::uint32_t number) const {
  return contents_->tables.policy(number);
}

std::vector<PolicyName> Store::policies() const {
  return contents_->tables.policies();
}

std::uint64_t Store::policies_version() const {
  return contents_->tables.policies_version();
}

Result<Verdict> Store::ask(const Probe& probe) const {
  return ask_block(contents_->tables, contents_->tables.tables(), probe);
}

Store compile(const Objects& objects) {
  Store store;
  store.put(objects);
  store.publish();
  return store;
}

}  // namespace vmlane::policy
