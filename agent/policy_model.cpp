// SPDX-License-Identifier: Apache-2.0
#include "agent/policy_model.h"

#include <algorithm>

#include "policy/reader.h"

namespace vmlane::agent {
namespace {

void read_all(policy::Objects& objects, const std::vector<ObjectPointer>& same) {
  for (const ObjectPointer& object : same) policy::add_object(objects, object->json, object->place);
}

}  // namespace

policy::Change change_of(const std::string& key, const FileObject& object) {
  policy::Change change = policy::Change::of(object.json, object.place);
  const auto space = key.find(' ');
  const auto slash = key.find('/', space);
  change.ns = slash == std::string::npos ? std::string() : key.substr(space + 1, slash - space - 1);
  return change;
}

bool PolicyModel::update(const ObjectSet& objects) {
  bool changed = false;
  for (const auto& [key, same] : objects_) {
    const auto now = objects.find(key);
    if (now != objects.end() && now->second == same) continue;
    if (now == objects.end() || now->second.size() != 1 || same.size() != 1) remove(key, same);
    changed = true;
  }
  for (const auto& [key, same] : objects) {
    const auto before = objects_.find(key);
    if (before != objects_.end() && before->second == same) continue;
    if (same.size() == 1)
      store_.apply(change_of(key, *same[0]));
    else
      put(same);
    changed = true;
  }
  objects_ = objects;
  return changed;
}

void PolicyModel::remove(const std::string& key, const std::vector<ObjectPointer>& same) {
  policy::Change gone = change_of(key, *same[0]);
  gone.object.reset();
  for (std::size_t i = 0; i < same.size(); i++) {
    store_.apply(gone);
    gone.name += " (again)";  // what the reader calls a policy that is given twice
  }
}

// An object that is given twice: the reader closes what it is about.
void PolicyModel::put(const std::vector<ObjectPointer>& same) {
  policy::Objects read;
  read_all(read, same);
  store_.put(read);
}

policy::Objects PolicyModel::objects() const {
  policy::Objects read;
  for (const auto& [key, same] : objects_) read_all(read, same);
  return read;
}

Result<policy::Explanation> PolicyModel::explain(const policy::Probe& probe) const {
  VMLANE_ASSIGN(const policy::Verdict verdict, store_.ask(probe));
  return policy::explain(verdict, objects(), probe);
}

Result<policy::Simulation> PolicyModel::simulate(const std::vector<policy::Change>& candidates,
                                                 const std::vector<policy::Probe>& probes) const {
  std::vector<policy::Change> changes;
  for (const auto& [key, same] : objects_) {
    if (same.size() == 1) changes.push_back(change_of(key, *same[0]));
  }
  return policy::simulate(changes, candidates, probes);
}

std::vector<policy::PolicyName> PolicyModel::policy_names() const {
  const auto expected = static_cast<std::size_t>(std::ranges::count_if(
      objects_, [](const auto& entry) { return entry.first.find("NetworkPolicy ") != std::string::npos; }));
  std::vector<policy::PolicyName> names;
  constexpr std::uint32_t kEnd = 1U << 20;
  std::size_t found = 0;
  for (std::uint32_t number = 0; number < kEnd && found < expected; number++) {
    const policy::PolicyName* name = store_.policy(number);
    names.push_back(name == nullptr ? policy::PolicyName() : *name);
    if (name != nullptr) found++;
  }
  return names;
}

}  // namespace vmlane::agent
