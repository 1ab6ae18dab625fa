// SPDX-License-Identifier: Apache-2.0
#include "agent/policy_model.h"

#include "policy/reader.h"

namespace vmlane::agent {
namespace {

void read_all(policy::Objects& objects, const std::vector<ObjectPointer>& same) {
  for (const ObjectPointer& object : same) policy::add_object(objects, object->json(), object->place);
}

std::string namespace_in(const std::string& key) {
  const auto space = key.find(' ');
  const auto slash = key.find('/', space);
  return slash == std::string::npos ? std::string() : key.substr(space + 1, slash - space - 1);
}

}  // namespace

policy::Change change_of(const ClusterObject& object) {
  policy::Change change = policy::Change::of(object.json(), object.place);
  change.ns = namespace_in(object.key);
  return change;
}

policy::Objects read_objects(const ObjectSet& objects) {
  policy::Objects read;
  for (const auto& [key, same] : objects) read_all(read, same);
  return read;
}

void PolicyModel::put(const std::string& key, const std::vector<ObjectPointer>& same) {
  const auto several = several_.find(key);
  const std::size_t before = several == several_.end() ? 1 : several->second;
  if (same.size() != 1 || before != 1) remove(key, before);
  if (several != several_.end()) several_.erase(several);
  if (same.size() == 1) store_.apply(change_of(*same[0]));
  if (same.size() <= 1) return;
  several_[key] = same.size();
  // The reader closes what they are about.
  policy::Objects read;
  read_all(read, same);
  store_.put(read);
}

void PolicyModel::remove(const std::string& key, std::size_t count) {
  const auto space = key.find(' ');
  policy::Change gone{
      .api_version = {},
      .kind = key.substr(0, space),
      .ns = namespace_in(key),
      .name = key.substr(key.find('/', space) == std::string::npos ? space + 1 : key.find('/', space) + 1),
      .object = {},
      .source = {}};
  for (std::size_t i = 0; i < count; i++) {
    store_.apply(gone);
    gone.name += " (again)";  // what the reader calls a policy that is given twice
  }
}

Result<policy::Explanation> PolicyModel::explain(const ObjectSet& objects, const policy::Probe& probe) const {
  VMLANE_ASSIGN(const policy::Verdict verdict, store_.ask(probe));
  return policy::explain(verdict, read_objects(objects), probe);
}

Result<policy::Simulation> simulate(const ObjectSet& objects, const std::vector<policy::Change>& candidates,
                                    const std::vector<policy::Probe>& probes) {
  std::vector<policy::Change> changes;
  for (const auto& [key, same] : objects) {
    if (same.size() == 1) changes.push_back(change_of(*same[0]));
  }
  return policy::simulate(changes, candidates, probes);
}

}  // namespace vmlane::agent
