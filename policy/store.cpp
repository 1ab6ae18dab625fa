// SPDX-License-Identifier: Apache-2.0
#include "policy/store.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include "policy/compiler.h"
#include "policy/reader.h"

namespace vmlane::policy {

class Store::Contents {
 public:
  Objects objects;
  Compiled compiled;
  std::uint64_t generation = 0;
  bool changed = true;
};

Store::Store() : contents_(std::make_unique<Contents>()) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

namespace {

std::string text_at(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_string()) return {};
  return object[key].get<std::string>();
}

}  // namespace

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
  Objects& objects = contents_->objects;
  const std::string id = change.ns.empty() ? change.name : change.ns + "/" + change.name;
  if (change.kind == "Pod") {
    objects.pods.erase(id);
  } else if (change.kind == "Namespace") {
    objects.namespaces.erase(id);
  } else if (change.kind == "Node") {
    objects.nodes.erase(id);
  } else {
    objects.policies.erase(change.kind + " " + id);
  }
  std::erase_if(objects.problems,
                [&](const Problem& problem) { return problem.kind == change.kind && problem.id == id; });
  if (change.object) add_object(objects, *change.object, change.source);
  contents_->changed = true;
}

void Store::put(const Objects& objects) {
  contents_->objects = objects;
  contents_->changed = true;
}

Publication Store::publish() {
  Publication publication{.generation = contents_->generation, .phases = {}, .block = {}};
  if (contents_->changed) {
    contents_->compiled = compile(contents_->objects);
    contents_->changed = false;
    publication.generation = ++contents_->generation;
    publication.whole = true;
  }
  publication.block = contents_->compiled.words;
  return publication;
}

std::vector<Problem> Store::problems() const {
  std::vector<Problem> all = contents_->objects.problems;
  const auto& found = contents_->compiled.problems;
  all.insert(all.end(), found.begin(), found.end());
  std::ranges::sort(all);
  return all;
}

std::optional<std::uint32_t> Store::endpoint(const std::string& pod, const std::string& network) const {
  const auto& endpoints = contents_->compiled.endpoints;
  const auto found = endpoints.find({pod, network});
  return found == endpoints.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::uint32_t> Store::network(const std::string& name) const {
  const auto& networks = contents_->compiled.networks;
  const auto found = networks.find(name);
  return found == networks.end() ? std::nullopt : std::optional(found->second);
}

const PolicyName* Store::policy(std::uint32_t number) const {
  const auto& policies = contents_->compiled.policies;
  return number < policies.size() ? &policies[number] : nullptr;
}

Result<Verdict> Store::ask(const Probe& probe) const {
  return ask_tables(contents_->compiled, contents_->objects, probe);
}

void write_phase(std::span<std::uint64_t> block, const Phase& phase) {
  for (const Line& line : phase) {
    const std::size_t first = line.offset / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < line.words.size(); i++) {
      std::atomic_ref<std::uint64_t> word(block[first + i]);
      if (word.load(std::memory_order_relaxed) != line.words[i])
        word.store(line.words[i], std::memory_order_release);
    }
  }
}

}  // namespace vmlane::policy
